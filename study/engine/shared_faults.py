"""What would fail every trial of a study: foreseen before the first one, or noticed when it isn't one trial's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from study.config import GPU_MEMORY, StudyConfig
from wake2vec import (
    HEAD_METRICS,
    ConfigError,
    CorpusError,
    LexiconError,
    MemoryExhaustedError,
    ModelError,
    RunConfig,
    TrainingDivergedError,
    TrialFailedError,
    Wake2VecError,
    WorkFolder,
    check_lessons,
    find_digest,
    fingerprint_inputs,
    prepare,
    undefined_figures,
)

MEMORY_KNOBS = ("model.", "corpus.", "vocabulary.", "train.rows", "train.precision", "train.optimizer")
"""Beginnings of the knobs that decide whether one block at a time fits into the memory."""
MATERIAL_KNOBS = ("corpus.", "vocabulary.", "init.name", "train.finish_steps")
"""Beginnings of those that decide which text, new words and lessons there are."""


def check_figures(config: StudyConfig, folder: Path) -> None:
    """Refuse what no trial can be judged by; a study whose baseline has its result has nothing left to foresee.

    Raises:
        ConfigError: an objective or a bounded figure is undefined from the first step on; the message says why.
        LexiconError: a lexicon of the study can't be added in one of its token forms.
        CorpusError: a text can't be used with these, or trials are to be taught words that it has nowhere whole.
        ModelError: the base's tokenizer can't have one of the forms.
    """
    baseline = config.run_config(config.study.baseline)
    inputs = fingerprint_inputs(baseline)
    digest = find_digest(baseline, inputs, folder / "trials")
    if WorkFolder(folder / "trials" / digest).result_path.exists():
        return
    judged = dict(_judged(config))
    undefined = undefined_figures(prepare(baseline, folder / "cache", keep=False), judged, baseline.head(inputs))
    if undefined:
        faults = "; ".join(f"{judged[address]} names {address}: {reason}" for address, reason in undefined.items())
        where = " and ".join(dict.fromkeys(judged[address] for address in undefined))
        raise ConfigError(
            f"what trials are judged by must be defined from the first step on: {faults}; leave it out of {where}"
            + "".join(f", or {other}" for other in _others(undefined))
        )
    for where, recipe in _recipes(config):
        try:
            material = prepare(recipe, folder / "cache", keep=False)
            if recipe.init.name == "distilled" or recipe.train.finish_steps:
                check_lessons(recipe, material)
        except (LexiconError, CorpusError, ModelError) as fault:
            raise type(fault)(f"{where}{fault}") from None


def _recipes(config: StudyConfig) -> Iterator[tuple[str, RunConfig]]:
    """Baseline, anchors, and of `MATERIAL_KNOBS` in the space each outermost value by itself; before each where it is
    from."""
    study = config.study
    beside: list[tuple[str, dict[str, Any]]] = [("", {})]
    beside += [(f"study.anchors.{name}: ", values) for name, values in study.anchors.items()]
    knobs = [key for key in study.space if key.startswith(MATERIAL_KNOBS)]
    beside += [(f"study.space.{key}: ", {key: value}) for key in knobs for value in config.outermost(key)]
    for where, values in beside:
        yield where, config.run_config({**study.baseline, **values})


class Faults:
    """The trials that failed while one driver ran. A trial that diverged failed by its own knobs, and is none."""

    def __init__(self, config: StudyConfig) -> None:
        self._config = config
        self._seen: set[type[TrialFailedError]] = set()

    def check_cause(self, fault: TrialFailedError) -> None:
        """Raises Wake2VecError: no knob of the space could have helped; the trial is left open for another try."""
        knobs = [key for key in self._config.study.space if key.startswith(MEMORY_KNOBS)]
        if isinstance(fault, MemoryExhaustedError) and not knobs:
            raise Wake2VecError(
                f"every trial of the study {self._config.study.name} would fail like this one: {fault}, with "
                "study.name=<another name>; or free the memory that others take, and the same command continues"
            )

    def check_repeat(self, fault: TrialFailedError, has_result: bool) -> None:
        """Raises Wake2VecError: a second trial failed for the same reason, and none has a result yet."""
        if has_result or isinstance(fault, TrainingDivergedError):
            return
        if type(fault) in self._seen:
            raise Wake2VecError(
                f"two trials of the study {self._config.study.name} failed for the same reason, and none has a "
                f"result: {fault}; put that right and give study.name=<another name>; or let the same command try the "
                "trials that are left, study.trials=<more> more of them"
            )
        self._seen.add(type(fault))


def _judged(config: StudyConfig) -> Iterator[tuple[str, str]]:
    """Each figure that trials or their evaluations are judged by, and the setting that names it."""
    train = config.run_config(config.study.baseline).train
    if train.keep == "best" or "train.keep" in config.study.space:
        yield train.keep_by, "train.keep_by"
    for where, bounds in (("study.choice.bars", config.study.choice.bars), ("study.bounds", config.study.bounds)):
        named = (address for bound in bounds for address in (bound.result, bound.from_result) if address)
        yield from ((address, where) for address in named if address != GPU_MEMORY)
    yield from ((objective.result, "study.objectives") for objective in config.study.objectives)


def _others(undefined: dict[str, str]) -> Iterator[str]:
    """Ways out that aren't leaving the figure out."""
    if any(address in HEAD_METRICS for address in undefined):
        yield "take the same figure of the input, without `head.`"
    elif any("byte_collapse" in address or "reference" in address for address in undefined):
        yield "take geometry.collapse_share, which every model defines"
        yield "a model with unused rows that lie in one place"
    else:
        yield "take another text or lexicon"
