"""What would fail every trial is said before the hours: real studies that must not begin, or must end."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Silent
from safetensors.torch import load_file, save_file

from study.config import StudyConfig, check_config
from study.engine.drive import drive
from study.runs.run import State
from wake2vec import (
    METRICS,
    ConfigError,
    CorpusError,
    LexiconError,
    RunConfig,
    Wake2VecError,
    prepare,
    run,
    undefined_figures,
)
from wake2vec.metrics.validation import losses_without_targets
from wake2vec.training.embedding_model import EmbeddingModel

BYTES = "geometry.byte_collapse_share"
SPACING = "sample.spacing_rate"
JUDGED_BY_BYTES = {"objectives": [{"result": BYTES, "goal": "minimize"}], "bounds": [f"{BYTES} <= 0.1"]}


def study(tree: dict[str, Any], settings: dict[str, Any] | None = None, **run: Any) -> StudyConfig:
    return check_config({**tree, "study": {**tree["study"], **(settings or {})}, **run})


def judged_by(tree: dict[str, Any], result: str) -> list[dict[str, str]]:
    return [*tree["study"]["objectives"], {"result": result, "goal": "minimize"}]


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"objectives": JUDGED_BY_BYTES["objectives"]}, "objectives"),
        ({"bounds": JUDGED_BY_BYTES["bounds"]}, "bounds"),
    ],
)
def test_an_undefined_figure_is_refused_at_once(
    settings: dict[str, Any], where: str, tree: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        drive(study(tree, settings), tmp_path / "mlruns", Silent())
    assert re.fullmatch(
        rf"what trials are judged by must be defined from the first step on: study\.{where} names {BYTES}: "
        rf"the reference rows don't lie in one place: mean cosine -?0\.\d+, under 0\.5; "
        rf"leave it out of study\.{where}, or "
        "take geometry.collapse_share, which every model defines, or a model with unused rows that lie in one place",
        str(refused.value),
    )
    assert not (tmp_path / "mlruns").exists()


def test_the_remedies_of_an_undefined_figure_help(tree: dict[str, Any], inputs: Path, tmp_path: Path) -> None:
    """In the folder of a study that was refused."""
    with pytest.raises(ConfigError):
        drive(study(tree, JUDGED_BY_BYTES), tmp_path / "mlruns", Silent())
    few = {"trials": 1}
    other = [{"result": "geometry.collapse_share", "goal": "minimize"}]
    drive(study(tree, {**few, "objectives": other}), tmp_path / "mlruns", Silent())
    model = {**tree["model"], "path": str(with_coherent_bytes(inputs / "model", tmp_path / "model"))}
    coherent = study(tree, {**JUDGED_BY_BYTES, **few, "name": "coherent"}, model=model)
    drive(coherent, tmp_path / "mlruns", Silent())


TAUGHT: dict[str, dict[str, Any]] = {
    "itself": {"init": {"name": "distilled"}},
    "the finish": {"train": {"finish_steps": 2}},
    "a range": {"study": {"space": {"train.finish_steps": {"low": 0, "high": 30}}}},
    "the space": {"study": {"space": {"init.name": {"choices": ["piece_mean", "distilled"]}}}},
    "an anchor": {"study": {"anchors": {"taught": {"init.name": "distilled"}}}},
}


@pytest.mark.parametrize("where", TAUGHT)
def test_lessons_that_the_text_lacks_are_refused_at_once_and_without_them_it_runs(
    where: str, tree: dict[str, Any], inputs: Path, tmp_path: Path
) -> None:
    text = (inputs / "corpus.txt").read_text("utf-8")
    (tmp_path / "joined.txt").write_text(re.sub(r"\b(?=\w)", "_", text), "utf-8")  # no word stands alone
    corpus = {**tree["corpus"], "path": str(tmp_path / "joined.txt")}
    few = {**tree["study"], "trials": 1, "startup_trials": 1}

    def with_(changes: dict[str, Any]) -> StudyConfig:
        sections = {name: {**tree[name], **values} for name, values in changes.items() if name != "study"}
        own = changes.get("study", {})
        space = {**few["space"], **own.get("space", {})}
        without = {"init.name": "piece_mean", "train.finish_steps": 0}
        baseline = {**few["baseline"], **{key: without[key] for key in own.get("space", {})}}
        return check_config(
            {**tree, "corpus": corpus, **sections, "study": {**few, **own, "space": space, "baseline": baseline}}
        )

    with pytest.raises(CorpusError, match=r"give init\.name=piece_mean and train\.finish_steps=0"):
        drive(with_(TAUGHT[where]), tmp_path / "mlruns", Silent())
    assert not (tmp_path / "mlruns").exists()
    if where in ("itself", "the finish"):
        drive(with_({"init": {"name": "piece_mean"}, "train": {"finish_steps": 0}}), tmp_path / "mlruns", Silent())


def test_a_form_that_the_lexicon_is_not_for_is_refused_at_once_and_with_its_own_list_it_runs(
    tree: dict[str, Any], pieces: Path, tmp_path: Path
) -> None:
    form = "vocabulary.form"
    mixed = {"space": {**tree["study"]["space"], form: {"choices": ["phase1", "pieces"]}}}
    baseline = {**tree["study"]["baseline"], form: "phase1"}
    with pytest.raises(LexiconError, match=rf"^study\.space\.{form}: the form `pieces` takes a list of pieces"):
        drive(study(tree, {**mixed, "baseline": baseline}), tmp_path / "mlruns", Silent())
    assert not (tmp_path / "mlruns").exists()
    own = {**tree["vocabulary"], "form": "pieces", "lexicon": str(pieces)}
    outcome = drive(study(tree, {"trials": 1, "startup_trials": 1}, vocabulary=own), tmp_path / "mlruns", Silent())
    assert len(outcome.trials) == 1


def test_a_block_that_the_text_cannot_fill_is_refused_at_once(tree: dict[str, Any], tmp_path: Path) -> None:
    space = {**tree["study"]["space"], "corpus.block_tokens": {"low": 32, "high": 8192}}
    baseline = {**tree["study"]["baseline"], "corpus.block_tokens": 32}
    with pytest.raises(CorpusError, match=r"^study\.space\.corpus\.block_tokens: the .* must fill a block"):
        drive(study(tree, {"space": space, "baseline": baseline}), tmp_path / "mlruns", Silent())
    assert not (tmp_path / "mlruns").exists()


def with_coherent_bytes(model: Path, to: Path) -> Path:
    """The same model, the rows of its bytes in one place, as those of a trained one."""
    to.mkdir()
    for path in model.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    weights = load_file(model / "model.safetensors")
    matrix = weights["model.embed_tokens.weight"]
    matrix[3:259] = matrix[3] + 0.1 * matrix[3:259]
    save_file(weights, to / "model.safetensors", {"format": "pt"})
    return to


def test_what_is_foreseen_is_what_a_result_leaves_undefined(config: RunConfig, tmp_path: Path) -> None:
    """For every figure: none is refused wrongly; only samples, which nothing foretells, may be undefined besides."""
    result, material = run(config, tmp_path), prepare(config)
    undefined = {address for address, value in result.numbers.items() if value is None}
    foreseen = set(undefined_figures(material, list(result.numbers)))
    assert foreseen == {address for address in undefined if not address.startswith("sample.")}
    losses = losses_without_targets(material.corpus, material.vocabulary.base_size)
    assert losses
    assert {BYTES, *losses} < foreseen < set(METRICS)


def test_a_figure_that_two_trials_lack_ends_the_study(tree: dict[str, Any], tmp_path: Path) -> None:
    """One token is at most one word: no sample has a boundary, and nothing foretold it."""
    sample = {**tree["sample"], "new_tokens": 1, "count": 1}
    config = study(tree, {"objectives": judged_by(tree, SPACING)}, sample=sample)
    watcher = Silent()
    with pytest.raises(Wake2VecError, match=f"two trials of the study small failed .*{SPACING} is undefined"):
        drive(config, tmp_path, watcher)
    assert [run.reason for run in watcher.ended] == [f"the objective {SPACING} is undefined for this trial"] * 2
    renamed = study(tree, {"trials": 1, "name": "other"}, sample=sample)
    assert drive(renamed, tmp_path, Silent()).failed == 0


def test_too_little_memory_ends_the_study_and_the_same_command_goes_on(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, watcher = study(tree, {"trials": 2}), Silent()
    with monkeypatch.context() as patched:
        patched.setattr(EmbeddingModel, "add_gradients", out_of_memory)
        with pytest.raises(Wake2VecError, match=r"every trial .* would fail like this one: .*CUDA out of memory.*free"):
            drive(config, tmp_path, watcher)
    assert watcher.ended == []
    outcome = drive(config, tmp_path, watcher)
    assert [run.state for run in watcher.ended] == [State.FINISHED] * 2
    assert (outcome.trials[0].number, outcome.failed) == (0, 0)


def test_memory_that_a_knob_decides_fails_one_trial_after_another_only_twice(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {**tree["study"]["space"], "train.rows": {"choices": ["all", "new"]}}
    baseline = {**tree["study"]["baseline"], "train.rows": "all"}
    config, watcher = study(tree, {"space": space, "baseline": baseline}), Silent()
    with monkeypatch.context() as patched:
        patched.setattr(EmbeddingModel, "add_gradients", out_of_memory)
        for count in (2, 4):  # the trials that are left fail for the same reason
            with pytest.raises(Wake2VecError, match="two trials of the study small failed for the same reason"):
                drive(config, tmp_path, watcher)
            assert len(watcher.ended) == count
        with pytest.raises(Wake2VecError, match="all failed; see their reasons in MLflow"):
            drive(config, tmp_path, watcher)
    more = study(tree, {"space": space, "baseline": baseline, "trials": 5})
    outcome = drive(more, tmp_path, watcher)
    assert (outcome.added, outcome.failed, len(outcome.trials)) == (1, 4, 1)


def test_memory_that_a_knob_decides_is_one_trials_own_where_another_has_a_result(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {**tree["study"]["space"], "train.rows": {"choices": ["all", "new"]}}
    baseline = {**tree["study"]["baseline"], "train.rows": "all"}
    drive(study(tree, {"space": space, "baseline": baseline, "trials": 1}), tmp_path, Silent())
    monkeypatch.setattr(EmbeddingModel, "add_gradients", out_of_memory)
    outcome = drive(study(tree, {"space": space, "baseline": baseline, "trials": 4}), tmp_path, Silent())
    assert outcome.failed == 3


def out_of_memory(self: EmbeddingModel, ids: torch.Tensor, scale: float) -> torch.Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory.\nmore")
