"""Corpus, validation and training, against the stock model and brute force."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
import torch
from transformers import Adafactor, get_linear_schedule_with_warmup

from wake2vec.config import RunConfig
from wake2vec.data.forms import FORMS
from wake2vec.errors import CorpusError, TrainingDivergedError
from wake2vec.inputs import Material, prepare
from wake2vec.metrics.measure import measure
from wake2vec.metrics.validation import target_counts, validate
from wake2vec.recipe import initialise, start_training
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.loss import PART_ELEMENTS
from wake2vec.training.model import load_model, merged_model
from wake2vec.training.optimizer import batch_at
from wake2vec.training.train import Stopwatch, Training, train
from wake2vec.trial import run

Vary = Callable[..., RunConfig]


def material_of(config: RunConfig) -> Material:
    return prepare(config)


def model_of(config: RunConfig, material: Material) -> EmbeddingModel:
    return start_training(config, material).model


def losses_of(training: Training) -> list[float]:
    records = train(training, dict, lambda: None, Stopwatch())
    return [numbers["training.loss"] for _, numbers in records if "training.loss" in numbers]


def stock_losses(config: RunConfig, material: Material, matrix: torch.Tensor) -> list[float]:
    """Phase 1's loop in plain transformers: stock model, full logits, stock Adafactor and schedule."""
    model = merged_model(material.base.folder, matrix)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    rows = model.get_input_embeddings().weight.requires_grad_(True)
    optimizer = Adafactor([rows], lr=config.train.lr, scale_parameter=False, relative_step=False, warmup_init=False)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(0.1 * config.train.steps), config.train.steps)
    size = config.train.batch_blocks
    losses = []
    for step in range(config.train.steps):
        indices = batch_at(step, blocks=len(material.corpus.train), batch_blocks=size, seed=config.seed)
        ids = torch.stack([material.corpus.train[index]["input_ids"] for index in indices])
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([rows], 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("micro_batch_blocks", [1, 3, 4])
def test_20_steps_agree_with_a_plain_transformers_loop(vary: Vary, micro_batch_blocks: int) -> None:
    config = vary(train={"steps": 20}, machine={"micro_batch_blocks": micro_batch_blocks})
    material = material_of(config)
    training = start_training(config, material)
    assert training.micro_batch_blocks == {1: 1, 3: 2, 4: 4}[micro_batch_blocks]
    expected = stock_losses(config, material, training.model.matrix.clone())
    assert losses_of(training) == pytest.approx(expected, rel=1e-5)
    # The control: another batch order gives other losses.
    other = Training(model_of(config, material), material.corpus, config.model_copy(update={"seed": 1}), 4)
    assert losses_of(other) != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("rows", ["all", "new"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_base_rows_that_arent_trained_lie_on_the_device_in_the_bodys_type_alone(
    rows: Literal["all", "new"], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU: operations that mix the CPU and the device `meta` fail, as they would."""

    class Body(torch.nn.Linear):
        def forward(self, inputs_embeds: torch.Tensor, **given: bool) -> SimpleNamespace:  # type: ignore[override]
            return SimpleNamespace(last_hidden_state=super().forward(inputs_embeds))

    monkeypatch.setitem(PART_ELEMENTS, "meta", PART_ELEMENTS["cuda"])
    body = Body(4, 4, device="meta", dtype=dtype)
    base, new = torch.empty(20, 4), torch.empty(3, 4, device="meta")
    model = EmbeddingModel(body, base, new, rows)
    model.gradients_of_pass(torch.zeros(2, 8, dtype=torch.long, device="meta"), 1.0)
    model.refresh()
    assert {model.device.type, model.matrix.device.type, model.trained_rows.device.type} == {"meta"}
    assert (model.matrix.dtype, model.operand.dtype) == (torch.float32, dtype)
    assert len(model.matrix) == len(model.operand) == 23
    trained = 4 * 4 * (3 if rows == "new" else 23)
    assert model.input.bytes_beside_operand == (0 if dtype == torch.float32 else trained)
    with pytest.raises(RuntimeError, match="meta"):  # the control
        EmbeddingModel(body, base, torch.empty(3, 4), rows).gradients_of_pass(torch.zeros(2, 8, dtype=torch.long), 1.0)


def test_with_rows_new_the_base_rows_stay_bit_equal_and_new_rows_move(vary: Vary) -> None:
    config = vary(train={"rows": "new"})
    material = material_of(config)
    training = start_training(config, material)
    model = training.model
    before = model.matrix.clone()
    losses_of(training)
    size = material.vocabulary.base_size
    assert torch.equal(model.matrix[:size], before[:size])
    assert torch.equal(model.matrix[:size], load_model(material.base.folder).get_input_embeddings().weight)
    assert (model.matrix[size:] != before[size:]).any(dim=1).all()
    # The control: with rows=all they move.
    trained = start_training(vary(), material)
    losses_of(trained)
    assert not torch.equal(trained.model.matrix[:size], before[:size])


def test_the_body_never_moves(config: RunConfig) -> None:
    material = material_of(config)
    body = material.base.body
    before = {name: weight.clone() for name, weight in body.state_dict().items()}
    losses_of(start_training(config, material))
    assert all(torch.equal(weight, before[name]) for name, weight in body.state_dict().items())


def test_a_loss_that_is_not_finite_ends_the_trial(config: RunConfig) -> None:
    material = material_of(config)
    training = start_training(config, material)
    training.model.matrix[0, 0] = math.inf
    with pytest.raises(TrainingDivergedError, match=r"loss nan.* lower train\.lr"):
        losses_of(training)


def test_a_trial_that_diverged_ends_well_at_a_lower_rate_or_in_a_wider_type(
    vary: Vary, inputs: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingDivergedError, match=r"at learning rate .*; lower train\.lr$"):
        run(vary(train={"lr": 1e30}), tmp_path)
    with pytest.raises(
        TrainingDivergedError, match=r"validation loss nan, step 1; lower train\.lr$"
    ):  # no step follows
        run(vary(train={"lr": 1e38, "steps": 1, "warmup_share": 0}), tmp_path)
    run(vary(train={"lr": 3e-3}), tmp_path)
    model = load_model(inputs / "model")
    with torch.no_grad():
        for layer in model.model.layers:  # what a layer computes is beyond float16's 65,504
            layer.mlp.up_proj.weight *= 3000
            layer.mlp.down_proj.weight *= 3000
    shutil.copytree(inputs / "model", tmp_path / "wide")
    model.save_pretrained(tmp_path / "wide")
    wide = {"path": str(tmp_path / "wide")}
    with pytest.raises(TrainingDivergedError, match=r"; lower init\.noise_scale, or give train\.precision=float32$"):
        run(vary(model=wide, train={"precision": "float16"}), tmp_path)
    run(vary(model=wide, train={"precision": "float32"}), tmp_path)


def test_validation_is_the_stock_models_loss_split_by_kind(config: RunConfig) -> None:
    material = material_of(config)
    model = model_of(config, material)
    numbers = validate(model, material.corpus, material.vocabulary.base_size, blocks_at_once=7)
    ids = material.corpus.validation["input_ids"][:]
    stock = merged_model(material.base.folder, model.matrix)
    logits = stock(input_ids=ids).logits[:, :-1].double()
    losses = -logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    targets = ids[:, 1:]
    assert numbers["validation.loss"] == pytest.approx(losses.mean().item(), rel=1e-6)
    is_base = targets < material.vocabulary.base_size
    assert numbers["validation.loss_base_targets"] == pytest.approx(losses[is_base].mean().item(), rel=1e-6)
    seen = set(material.corpus.train["input_ids"][:].flatten().tolist())
    is_seen = torch.tensor([[target in seen for target in row] for row in targets.tolist()])
    assert numbers["validation.loss_new_seen_targets"] == pytest.approx(
        losses[~is_base & is_seen].mean().item(), rel=1e-6
    )
    train = material.corpus.train["input_ids"][:].flatten().tolist()
    counts = torch.tensor([[train.count(target) for target in row] for row in targets.tolist()])
    sizes = target_counts(material.corpus, material.vocabulary.base_size)
    assert sizes.pop("validation.targets_base") == int(is_base.sum())
    limits = {"unseen": (0, 0), "seen_1": (1, 1), "seen_2_4": (2, 4), "seen_5_up": (5, 10**9)}
    for name, (fewest, most) in limits.items():
        members = ~is_base & (counts >= fewest) & (counts <= most)
        assert sizes[f"validation.targets_{name}"] == int(members.sum())
        address = f"validation.loss_{'new_unseen' if name == 'unseen' else name}_targets"
        expected = losses[members].mean().item() if members.any() else None
        assert numbers[address] == (expected and pytest.approx(expected, rel=1e-6))


@pytest.mark.parametrize("form", FORMS)
def test_bits_per_byte_counts_the_bytes_of_the_targets(vary: Vary, form: str) -> None:
    config = vary(vocabulary={"form": form})
    material = material_of(config)
    tokenizer = material.vocabulary.tokenizer
    for row in material.corpus.validation:
        whole, first = tokenizer.decode(row["input_ids"]), tokenizer.decode(row["input_ids"][:1])
        # A block that begins with a space loses it in decoding, on both sides alike.
        assert abs(len(whole.encode()) - len(first.encode()) - int(row["target_bytes"])) <= 3
    uniform = EmbeddingModel(material.base.body, 0 * material.base_rows, 0 * initialise(config, material), "all")
    numbers = validate(uniform, material.corpus, material.vocabulary.base_size, blocks_at_once=64)
    targets = material.corpus.validation["input_ids"][:][:, 1:].numel()
    total = int(material.corpus.validation["target_bytes"][:].sum())
    assert numbers["validation.loss"] == pytest.approx(math.log(material.vocabulary.size))
    assert numbers["validation.bits_per_byte"] == pytest.approx(math.log2(material.vocabulary.size) * targets / total)


def test_all_forms_are_validated_on_the_same_text(vary: Vary) -> None:
    parts = {}
    for form in FORMS:
        material = material_of(vary(vocabulary={"form": form}))
        ids = torch.cat([material.corpus.train["input_ids"][:], material.corpus.validation["input_ids"][:1]])
        parts[form] = material.vocabulary.tokenizer.decode(ids[-1])[:10]
        counts = material.corpus.new_counts_train
        flat = material.corpus.train["input_ids"][:].flatten().tolist()
        base = material.vocabulary.base_size
        assert counts.tolist() == [flat.count(base + index) for index in range(len(counts))]
    assert len(set(parts.values())) == 1


def test_a_corpus_without_the_lexicons_words_is_refused(vary: Vary, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("other")
    (folder / "lexicon.txt").write_text("riverrun\n")
    with pytest.raises(CorpusError, match="no word of the lexicon occurs in the training text"):
        material_of(vary(vocabulary={"lexicon": str(folder / "lexicon.txt")}))
    (folder / "short.txt").write_text("haue a word\n")
    with pytest.raises(CorpusError, match="must fill a block of 32 tokens: it has"):
        material_of(vary(corpus={"path": str(folder / "short.txt")}))


def test_without_byte_rows_byte_collapse_is_undefined_and_the_rest_is_measured(config: RunConfig) -> None:
    material = material_of(config)
    matrix = model_of(config, material).matrix
    numbers = measure(replace(material.subject(matrix), reference_ids=[])).numbers
    assert numbers["geometry.byte_collapse_share"] is None
    assert numbers["geometry.reference_coherence"] is None
    assert numbers["geometry.collapse_share"] == numbers["geometry.mutual_collapse_share"]


def test_capitals_are_rows_of_their_own_and_cached_apart(vary: Vary, tmp_path: Path) -> None:
    exact, added = (
        prepare(vary(vocabulary={"form": "word", "capitals": capitals}), tmp_path / "cache")
        for capitals in ("exact", "added")
    )
    words = exact.vocabulary.words
    assert added.vocabulary.words[: len(words)] == words
    spellings = added.vocabulary.words[len(words) :]
    assert {"Haue", "Loue"} <= set(spellings)
    assert (exact.audit.words_capitalised, added.audit.words_capitalised) == (0, len(spellings))
    assert exact.audit.words_read == added.audit.words_read
    assert len(list((tmp_path / "cache").iterdir())) == 2
