"""Families of models: what each is like, what works with it, and that nothing of the model is lost on the way.

`docs/models.md` has the table; a change that is meant: `GOLDEN=write .venv/bin/pytest tests/training/test_families.py`.
"""

import difflib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from families import FAMILIES, Build, Family, gpt2, learn, llama2
from kinds import lexicon_of
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from wake2vec.checkpoints.export import export_folder
from wake2vec.config import (
    CorpusConfig,
    MachineConfig,
    ModelConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
    VocabularyConfig,
)
from wake2vec.data.forms import FORMS, WORD_FORMS, extend
from wake2vec.data.pieces import learn_pieces
from wake2vec.errors import ModelError, Wake2VecError
from wake2vec.inputs import Material, prepare
from wake2vec.training.device import LOSS_TOLERANCE
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.model import load_base, load_tokenizer
from wake2vec.training.probe import PLAIN, Scales
from wake2vec.trial import run
from wake2vec.workfolder import WorkFolder

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
HEADER = (
    "| family | architecture | head | inputs x | logits x | cap | rows - tokens | begins with | forms |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
)
WORDS = ["neuer", "enemie", "downe", "vertue", "selues", "zephyrous"]
OLD_WORDS = "What is he that did make it? See, my good lord, what is become of him."
Measured = Callable[[Family], "Facts"]


@dataclass(frozen=True)
class Facts:
    """What was found of a family. Differences are the largest of all tokens' or rows'."""

    tied: bool
    scales: Scales
    spare_rows: int
    begins_with: str
    forms: tuple[str, ...]
    loss_difference: float
    """Nats of a token on text without new words, from plain transformers."""
    unscaled_loss_difference: float
    """The same where factors and cap are left out."""
    tied_loss_difference: float
    """The same where the input's rows are the head."""
    gradient_difference: float
    """Of each matrix, from a stock backward pass; in shares of its largest."""
    half_difference: float
    """Of the mean loss where the body is in bfloat16, in shares of it."""
    export_faults: tuple[str, ...]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, text: str) -> Measured:
    """Facts of a family; each is measured once."""
    folder = tmp_path_factory.mktemp("families")
    short = text[:12_000]
    learned = learn(short)
    (folder / "corpus.txt").write_text(short, encoding="utf-8")
    (folder / "lexicon.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")

    @cache
    def measure(family: Family) -> Facts:
        home = folder / re.sub(r"\W+", "-", family.name)
        family.build(home / "model", learned)
        return facts_of(config_of(home / "model", folder), home)

    return measure


def config_of(model: Path, inputs: Path) -> RunConfig:
    return RunConfig(
        model=ModelConfig(path=str(model)),
        corpus=CorpusConfig(path=str(inputs / "corpus.txt"), block_tokens=32),
        vocabulary=VocabularyConfig(lexicon=str(inputs / "lexicon.txt")),
        train=TrainConfig(steps=2, lr=3e-3, batch_blocks=4, precision="float32", evaluate_every_steps=2),
        sample=SampleConfig(prompt="Enter the King", count=1, new_tokens=2),
        machine=MachineConfig(threads=1, micro_batch_blocks=4),
    )


def facts_of(config: RunConfig, home: Path) -> Facts:
    material = prepare(config)
    base, tokenizer = material.base, material.vocabulary.base_tokenizer
    plain = AutoModelForCausalLM.from_pretrained(base.folder)
    stored = len(plain.get_input_embeddings().weight)
    ids = tokenizer(OLD_WORDS, return_tensors="pt")["input_ids"]
    assert material.vocabulary.tokenizer(OLD_WORDS)["input_ids"] == ids[0].tolist()
    losses, gradients = plain_losses(plain, ids, len(tokenizer))
    rows, head = (None if given is None else given[:stored] for given in (material.base_rows, material.head_rows))
    assert rows is not None
    two = None if head is None else (head, head[:0])
    model, unscaled = (EmbeddingModel(base.body, rows, rows[:0], "all", given, two) for given in (base.scales, PLAIN))
    model.add_gradients(ids, scale=1.0)
    assert model.trained.keys() == gradients.keys()
    of_rows = {
        name: (matrix.gradient - gradients[name][: len(rows)]).abs().max() / gradients[name].abs().max()
        for name, matrix in model.trained.items()
    }
    begins = [] if material.vocabulary.bos_id is None else [material.vocabulary.bos_id]
    return Facts(
        head is None,
        base.scales,
        stored - len(tokenizer),
        "".join(tokenizer.convert_ids_to_tokens(begins)),
        tuple(form for form in FORMS if can_be_had(config, form)),
        (model.losses(ids) - losses).abs().max().item(),
        (unscaled.losses(ids) - losses).abs().max().item(),
        (model.with_head(model.input).losses(ids) - losses).abs().max().item(),
        max(of_rows.values()).item(),
        abs(mean_in_half(base.folder, ids, stored) / losses.mean().item() - 1),
        tuple(export_faults(config, material, home)),
    )


def mean_in_half(folder: Path, ids: Tensor, stored: int) -> float:
    """Mean loss of a body in bfloat16, after a pass back through it."""
    base = load_base(folder, "", "bfloat16")
    tokens = min(stored, len(load_tokenizer(folder)))
    rows, head = base.rows[:tokens], None if base.head_rows is None else base.head_rows[:tokens]
    model = EmbeddingModel(base.body, rows, rows[:0], "all", base.scales, None if head is None else (head, head[:0]))
    loss = model.add_gradients(ids, scale=1.0) / (ids.numel() - 1)
    assert all(matrix.gradient.isfinite().all() for matrix in model.trained.values())
    return loss.item()


def plain_losses(model: PreTrainedModel, ids: Tensor, tokens: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Of plain transformers: each token's loss among the tokens that there are, and the gradients of their sum."""
    logits = model(input_ids=ids).logits[0, :-1, :tokens]
    losses = F.cross_entropy(logits, ids[0, 1:], reduction="none")
    losses.sum().backward()
    matrices = {"rows": model.get_input_embeddings().weight, "head_rows": model.get_output_embeddings().weight}
    if matrices["head_rows"] is matrices["rows"]:
        del matrices["head_rows"]
    return losses.detach(), {name: matrix.grad for name, matrix in matrices.items()}


def can_be_had(config: RunConfig, form: str) -> bool:
    vocabulary = config.vocabulary.model_copy(update={"form": form})
    if form not in WORD_FORMS:
        text = Path(config.corpus.path).read_text(encoding="utf-8")
        pieces = learn_pieces(text, load_tokenizer(Path(config.model.path)), 9).words
        path = Path(vocabulary.lexicon).with_name("pieces.txt")
        path.write_text("\n".join(pieces), encoding="utf-8")
        vocabulary = vocabulary.model_copy(update={"lexicon": str(path)})
    try:
        prepare(config.model_copy(update={"vocabulary": vocabulary}))
    except Wake2VecError:
        return False
    return True


def export_faults(config: RunConfig, material: Material, home: Path) -> list[str]:
    """Train two steps, export (which loads the folder again and compares the loss), and look at ids and rows."""
    result = run(config, home / "trials")
    work = WorkFolder(home / "trials" / result.digest)
    exported = export_folder(result, work, home / "export", "card")
    model, tokenizer = (kind.from_pretrained(home / "export") for kind in (AutoModelForCausalLM, AutoTokenizer))
    base = material.vocabulary.base_tokenizer
    before, now = base.get_vocab(), tokenizer.get_vocab()
    trained = work.read_arrays("rows")
    ids = [now[word] for word in material.vocabulary.words]
    matrices = {"rows": model.get_input_embeddings().weight, "head_rows": model.get_output_embeddings().weight}
    said = {
        "the loss isn't the logged one": abs(exported.loss - (result.numbers["validation.loss"] or 0.0)) > 1e-4,
        "a base token moved": any(now[token] != id_ for token, id_ in before.items()),
        "new ids don't follow the last token": ids != list(range(len(before), len(before) + len(ids))),
        "a new id has another's row": any(
            not torch.equal(matrices[name][ids], torch.from_numpy(rows[-len(ids) :])) for name, rows in trained.items()
        ),
        "there are rows without a token": any(len(matrix) != len(now) for matrix in matrices.values()),
        "a head was tied or untied": (len(trained) == 1) != (matrices["rows"] is matrices["head_rows"]),
        "texts begin in another way": tokenizer("x")["input_ids"] != base("x")["input_ids"],
    }
    return [fault for fault, is_so in said.items() if is_so]


@pytest.mark.parametrize("family", [one for one in FAMILIES if not one.refusal], ids=lambda family: family.name)
def test_what_plain_transformers_computes_is_what_is_trained_and_exported(family: Family, measured: Measured) -> None:
    facts = measured(family)
    assert facts.loss_difference <= 1e-5 and facts.gradient_difference <= 1e-5
    assert facts.half_difference <= LOSS_TOLERANCE[torch.bfloat16]
    assert (facts.unscaled_loss_difference > 0.01) == (facts.scales != PLAIN)  # the controls
    assert (facts.tied_loss_difference > 0.01) == (not facts.tied)
    assert facts.export_faults == ()
    assert (facts.tied, facts.spare_rows) == (family.tied, family.padding)


@pytest.mark.parametrize("family", [one for one in FAMILIES if one.refusal], ids=lambda family: family.name)
def test_what_cannot_be_trained_as_it_computes_is_refused_with_its_own_reason(
    family: Family, measured: Measured
) -> None:
    with pytest.raises(ModelError, match=family.refusal):
        measured(family)


@pytest.mark.parametrize("build", [llama2, gpt2])
@pytest.mark.parametrize("form", FORMS)
def test_new_ids_follow_the_last_token_where_the_bases_ids_have_a_gap(form: str, build: Build, text: str) -> None:
    """Counting tokens, as `add_tokens` does by itself, would number the words over the last ones."""
    state = json.loads(build(learn(text[:12_000])).backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    state["model"]["vocab"] = {token: id_ if id_ < 300 else id_ + 5 for token, id_ in vocabulary.items()}
    state["added_tokens"] = [
        token | {"id": state["model"]["vocab"][token["content"]]} for token in state["added_tokens"]
    ]
    base = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))
    before, extended = base.get_vocab(), extend(base, lexicon_of(form, base, WORDS, text), form)
    assert extended.base_size == 1 + max(before.values()) > len(before)
    new = {id_ for token, id_ in extended.tokenizer.get_vocab().items() if token not in before}
    assert new == set(range(extended.base_size, extended.size))
    assert before.items() <= extended.tokenizer.get_vocab().items()


def test_the_table_says_what_was_measured(measured: Measured) -> None:
    table = HEADER + "".join(row_of(family, measured) for family in FAMILIES)
    before = DOCS.read_text(encoding="utf-8")
    begin, end = "<!-- families -->\n\n", "\n<!-- end of families -->"
    now = before[: before.index(begin) + len(begin)] + table + before[before.index(end) :]
    if os.environ.get("GOLDEN") == "write":
        DOCS.write_text(now, encoding="utf-8")
        return
    assert now == before, "".join(difflib.unified_diff(before.splitlines(True), now.splitlines(True), "before", "now"))


def row_of(family: Family, measured: Measured) -> str:
    if family.refusal:
        return f"| {family.name} | `{family.model_type}` | refused: it must {family.refusal} | | | | | | |\n"
    facts = measured(family)
    scales = facts.scales
    cells = [
        "tied" if facts.tied else "its own",
        "" if scales.inputs == 1 else f"{scales.inputs:g}",
        "" if scales.logits == 1 else f"{scales.logits:g}",
        "" if scales.cap is None else f"{scales.cap:g}",
        str(facts.spare_rows or ""),
        f"`{facts.begins_with}`".replace("|", r"\|") if facts.begins_with else "",
        ", ".join(facts.forms),
    ]
    return f"| {family.name} | `{family.model_type}` | {' | '.join(cells)} |\n".replace("  ", " ")
