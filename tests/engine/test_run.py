import json
from collections.abc import Callable
from pathlib import Path

import pytest

from wake2vec import METRICS, RunConfig, Wake2VecError, WorkFolder, run
from wake2vec.workfolder import Progress, write_atomic

Vary = Callable[..., RunConfig]


def test_a_trial_gives_every_figure_and_leaves_one_record(config: RunConfig, tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = run(config, tmp_path, seen.append)
    assert set(result.numbers) == set(METRICS)
    work = WorkFolder(tmp_path / result.digest)
    assert work.progress() == seen
    assert [record.step for record in seen if "validation.loss" in record.numbers] == [0, 3, 6]
    assert [record.step for record in seen if "training.loss" in record.numbers] == [1, 2, 3, 4, 5, 6]
    stored = json.loads(work.result_path.read_text())
    assert stored["numbers"]["validation.loss"] == result.numbers["validation.loss"]
    assert [text.startswith("Enter the King") for text in result.samples] == [True, True]
    assert oct(work.result_path.stat().st_mode)[-3:] == "600"


def test_the_same_configuration_gives_the_same_numbers_and_another_seed_does_not(
    config: RunConfig, vary: Vary, tmp_path: Path
) -> None:
    first, second = run(config, tmp_path / "a"), run(config, tmp_path / "b")
    assert (first.digest, first.numbers, first.samples) == (second.digest, second.numbers, second.samples)
    other = run(vary(seed=1), tmp_path / "a")
    assert other.digest != first.digest
    assert other.numbers != first.numbers


def test_a_finished_trial_is_read_not_trained(config: RunConfig, tmp_path: Path) -> None:
    first = run(config, tmp_path)
    again = run(config, tmp_path, lambda record: pytest.fail("it was trained again"))
    assert again == first


def test_a_trial_cut_off_in_training_runs_again_without_doubled_records(config: RunConfig, tmp_path: Path) -> None:
    def die(record: Progress) -> None:
        if record.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", die)
    (folder,) = (tmp_path / "cut").iterdir()
    before = WorkFolder(folder).progress()
    with (folder / "progress.jsonl").open("a") as log:
        log.write('{"step": 5, "numb')  # what a crash leaves of a line
    result = run(config, tmp_path / "cut")
    whole = run(config, tmp_path / "whole")
    records = WorkFolder(folder).progress()
    assert result.numbers == whole.numbers
    assert records[: len(before)] == before
    uncut = WorkFolder(tmp_path / "whole" / whole.digest).progress()
    assert [(record.step, record.numbers) for record in records] == [(r.step, r.numbers) for r in uncut]


def test_the_digest_follows_contents_not_paths(config: RunConfig, vary: Vary, inputs: Path, tmp_path: Path) -> None:
    from wake2vec import fingerprint_inputs

    moved = tmp_path / "moved.txt"
    moved.write_bytes((inputs / "lexicon.txt").read_bytes())
    same = vary(vocabulary={"lexicon": str(moved)})
    assert same.digest(fingerprint_inputs(same)) == config.digest(fingerprint_inputs(config))
    moved.write_text("haue\n")
    assert same.digest(fingerprint_inputs(same)) != config.digest(fingerprint_inputs(config))


def test_what_cannot_be_used_is_refused_before_anything_is_made(vary: Vary, tmp_path: Path) -> None:
    with pytest.raises(Wake2VecError, match=r"the corpus must be a text file: nowhere\.txt does not exist"):
        run(vary(corpus={"path": "nowhere.txt"}), tmp_path / "trials")
    assert not (tmp_path / "trials").exists()


def test_a_write_that_fails_leaves_what_stood_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_atomic(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
