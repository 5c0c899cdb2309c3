"""`python -m bench.forms`: the token forms on the profile `tiny`, three seeds each, and Phase 1's kind of tokenizer.

Llama 2's tokenizer file puts the space before a word in its *normaliser*, which an added token goes through as
well: `next` matches as `▁next`, so the token carries the space. tokenizers up to 0.22 decode it to the bare word. Here
the same tokens are decoded both ways, so that what decoding loses and what the model wrote are told apart.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch
from tokenizers import Tokenizer
from torch import Tensor

from bench.figures import Figure, publish
from study.config import load_config
from wake2vec import RunConfig, RunResult, WorkFolder, prepare, run
from wake2vec.config import DEFAULT_FOLDER
from wake2vec.data.audit import boundary_faults
from wake2vec.data.corpus import split_text
from wake2vec.data.forms import ExtendedVocabulary
from wake2vec.inputs import Material
from wake2vec.metrics.spacing import SpacingCensus, count_spacing
from wake2vec.training.generate import sample_ids

SEEDS = (0, 1, 2)
SETTING: dict[str, float | int | str | bool] = {"init.noise_scale": 1.0, "train.lr": 5e-3, "train.steps": 120}
SAMPLES = 48
"""Texts a trial: some 4,000 words."""
Decoder = Callable[[list[int]], str]
MEANS = (
    ("vocabulary.words_cut_share", "words cut inside"),
    ("vocabulary.known_words_cut_share", "words known whole, cut"),
    ("vocabulary.round_trip", "decode(encode(text)) == text"),
    ("vocabulary.tokens", "tokens of the text"),
    ("validation.bits_per_byte", "bits per byte, mean"),
    ("validation.loss", "loss per token, mean"),
)


@dataclass(frozen=True)
class Written:
    """One trial, and what it wrote in either decoding."""

    result: RunResult
    now: list[str]
    before: list[str]
    unpenalised: list[str]
    """With a repetition penalty of 1: the penalty also falls on the lone `▁` of the forms `phase1` and `word`."""


def main() -> None:
    torch.set_num_threads(1)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for form, base in (("phase1", None), ("word", None), ("space", None), ("phase1", legacy_base(folder / "base"))):
            figures += form_figures(form, base, folder)
    publish("forms", "python -m bench.forms", figures)


def form_figures(form: str, base: Path | None, folder: Path) -> list[Figure]:
    shown = f"form {form}" + (", tokenizer as in Phase 1" if base else "")
    trials = [write(config_of(form, seed, base), folder / "trials") for seed in SEEDS]
    material = prepare(config_of(form, SEEDS[0], base))
    numbers = [trial.result.numbers for trial in trials]
    figures = [
        Figure(f"{shown}: {meaning}", mean(row[address] or 0.0 for row in numbers), "") for address, meaning in MEANS
    ]
    bits = sorted(row["validation.bits_per_byte"] or 0.0 for row in numbers)
    figures.append(Figure(f"{shown}: bits per byte, seeds {SEEDS}", f"{bits[0]:.4f} to {bits[-1]:.4f}", ""))
    held_out = split_text(Path(config_of(form, 0, base).corpus.path).read_text(encoding="utf-8"), 0.1)[1]
    ids = material.vocabulary.tokenizer(held_out, add_special_tokens=False)["input_ids"]
    lost, _ = boundary_faults(held_out, decoder_before(material.vocabulary)(ids))
    figures.append(Figure(f"{shown}: spaces of the held-out text lost, decoded before 0.23", lost, ""))
    written = {
        "samples": [text for trial in trials for text in trial.now],
        "samples, decoded before 0.23": [text for trial in trials for text in trial.before],
        "samples, no repetition penalty": [text for trial in trials for text in trial.unpenalised],
    }
    for name, texts in written.items():
        figures += spacing_figures(f"{shown}: {name}", count_spacing(texts, material.words))
    return [
        *figures,
        Figure(f"{shown}: held-out text: spacing rate", material.spacing.rate or 0.0, ""),
        Figure(f"{shown}: held-out text: fusions found, were all fused", material.fused_recall or 0.0, ""),
    ]


def spacing_figures(shown: str, census: SpacingCensus) -> list[Figure]:
    low, high = census.interval or (0.0, 0.0)
    counts = f"{census.fused} + {census.split} of {census.boundaries:,}"
    return [
        Figure(f"{shown}: spacing rate", census.rate or 0.0, ""),
        Figure(f"{shown}: its 95 % interval", f"{low:.5f} to {high:.5f}", ""),
        Figure(f"{shown}: boundaries fused + split", counts, ""),
    ]


def config_of(form: str, seed: int, base: Path | None) -> RunConfig:
    tree = load_config("tiny").run_config(SETTING).model_dump()
    tree["vocabulary"]["form"] = form
    tree["seed"] = seed
    if base is not None:
        tree["model"]["path"] = str(base)
    return RunConfig.model_validate(tree)


def write(config: RunConfig, trials_folder: Path) -> Written:
    """Train, or read what was trained, and write more than a trial does."""
    result = run(config, trials_folder)
    material = prepare(config)
    matrix = torch.from_numpy(WorkFolder(trials_folder / result.digest).read_arrays("rows")["rows"])
    ids = written_ids(config, material, matrix, config.sample.repetition_penalty)
    free = written_ids(config, material, matrix, 1.0)
    now, before = decoder_now(material.vocabulary), decoder_before(material.vocabulary)
    return Written(result, [now(text) for text in ids], [before(text) for text in ids], [now(text) for text in free])


def written_ids(config: RunConfig, material: Material, matrix: Tensor, penalty: float) -> list[list[int]]:
    """Tokens of the texts, without the prompt's."""
    sampling = config.sample.model_copy(update={"count": SAMPLES, "repetition_penalty": penalty})
    prompt = material.vocabulary.tokenizer(config.sample.prompt, add_special_tokens=False)["input_ids"]
    with material.base.with_matrix(matrix) as model:
        texts: list[list[int]] = sample_ids(model, material.vocabulary, sampling, config.seed).tolist()
    before = len(prompt) + (material.vocabulary.bos_id is not None)
    return [text[before:] for text in texts]


def decoder_now(vocabulary: ExtendedVocabulary) -> Decoder:
    tokenizer = vocabulary.tokenizer
    return lambda ids: str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def decoder_before(vocabulary: ExtendedVocabulary) -> Decoder:
    """As tokenizers 0.19 to 0.22: an added token is its bare word, whatever it matched."""
    tokenizer: Tokenizer = vocabulary.tokenizer.backend_tokenizer
    added = {id_: token.content for id_, token in tokenizer.get_added_tokens_decoder().items()}

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decoder.decode([added.get(id_) or str(tokenizer.id_to_token(id_)) for id_ in ids]))

    return decode


def legacy_base(folder: Path) -> Path:
    """The embedded base model with a tokenizer that prepends `▁` in its normaliser, as TinyLlama's file does."""
    shutil.copytree(DEFAULT_FOLDER / "base_model", folder)
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    state["pre_tokenizer"] = None
    state["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    path.write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    # A model family's own class would build its normaliser anew.
    path.write_text(json.dumps({**settings, "tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8")
    return folder


if __name__ == "__main__":
    main()
