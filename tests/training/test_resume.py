"""A trial that is killed, stopped or squeezed comes out as if nothing had happened."""

import dataclasses
import json
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import build_base
from transformers import PreTrainedModel

from bench.kills import CONTROLS, differs, every_step, killed_at_every_point, outcome, random_kills
from wake2vec import RunConfig, StorageError, TrialStopped, WorkFolder, prepare, run, trial
from wake2vec.errors import MemoryExhaustedError
from wake2vec.recipe import start_training
from wake2vec.training.checkpoint import State, newest_checkpoint, write_checkpoint
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.workfolder import Progress

Vary = Callable[..., RunConfig]

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_killed_at_any_time_a_trial_comes_out_bit_identical(config: RunConfig, tmp_path: Path) -> None:
    prepare(config)
    kills, trials, identical = random_kills(every_step(config), tmp_path, 6, random.Random(0))
    assert kills >= 6
    assert identical == trials


def test_killed_at_any_file_operation_a_trial_comes_out_bit_identical(vary: Vary, tmp_path: Path) -> None:
    quick = {"sample": {"new_tokens": 1, "count": 1}, "corpus": {"validation_share": 0.02}}  # it runs forty times
    config = every_step(vary(train={"steps": 2}, **quick))
    prepare(config)
    outcomes = list(killed_at_every_point(config, tmp_path))
    assert len(outcomes) > 30
    assert all(outcomes)


@pytest.mark.parametrize("name", CONTROLS)
def test_the_comparison_sees_a_faulty_resume(config: RunConfig, tmp_path: Path, name: str) -> None:
    assert differs(every_step(config), tmp_path, CONTROLS[name])


@pytest.mark.parametrize(
    "train", [{}, {"optimizer": "adamw"}, {"rows": "new"}, {"precision": "float16"}, {"precision": "bfloat16"}]
)
def test_stopped_a_trial_leaves_a_checkpoint_and_goes_on_from_it(
    vary: Vary, train: dict[str, str], tmp_path: Path
) -> None:
    config = vary(train=train)
    expected = outcome(run(config, tmp_path / "whole"), tmp_path / "whole")
    seen: list[Progress] = []
    with pytest.raises(TrialStopped):
        run(config, tmp_path / "cut", seen.append, stop=lambda: seen[-1].step == 4)
    (folder,) = (tmp_path / "cut").iterdir()
    assert [path.name for path in WorkFolder(folder).checkpoints_path.iterdir()] == ["step-00000004"]
    seen.clear()
    result = run(config, tmp_path / "cut", seen.append)
    assert [record.step for record in seen if "training.loss" in record.numbers] == [5, 6]
    assert outcome(result, tmp_path / "cut") == expected
    assert not WorkFolder(folder).checkpoints_path.exists()


def state_of(step: int) -> State:
    tensors = {"rows": torch.full((8, 4), float(step)), "optimizer.exp_avg": torch.ones(8)}
    return State(step=step, loss_scale=2.0, micro_batch_blocks=3, optimizer={"step": step}, tensors=tensors)


def test_a_checkpoint_is_read_as_it_was_written_and_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, state_of(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    read, wrote = newest_checkpoint(tmp_path, most_steps=9), state_of(3)
    assert read is not None
    assert (read.step, read.loss_scale, read.micro_batch_blocks, read.optimizer) == (3, 2.0, 3, {"step": 3})
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in wrote.tensors.items())
    assert read.tensors.keys() == wrote.tensors.keys()


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a bit of the data": lambda folder: flip(folder / "state.safetensors", -1),
    "a bit of the header": lambda folder: flip(folder / "state.safetensors", 12),
    "cut off": lambda folder: os.truncate(folder / "state.safetensors", 40),
    "zeros": lambda folder: (folder / "state.json").write_bytes(bytes(40)) and None,
    "garbage in the manifest": lambda folder: (folder / "manifest.json").write_text("{") and None,
    "another manifest": lambda folder: (folder / "manifest.json").write_text("[]") and None,
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "no data": lambda folder: (folder / "state.safetensors").unlink(),
    "nothing": lambda folder: [path.unlink() for path in folder.iterdir()] and None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_moved_aside_and_the_one_before_is_taken(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_checkpoint(tmp_path, state_of(1))
    DAMAGES[damage](write_checkpoint(tmp_path, state_of(2)))
    state = newest_checkpoint(tmp_path, most_steps=9)
    assert state is not None
    assert state.step == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad-step-00000002", "step-00000001"]
    assert "a checkpoint can't be used" in caplog.text


def test_a_checkpoint_newer_than_its_record_is_not_used(config: RunConfig, tmp_path: Path) -> None:
    expected = outcome(run(config, tmp_path / "whole"), tmp_path / "whole")
    with pytest.raises(TrialStopped):
        run(every_step(config), tmp_path / "cut", stop=iter([False] * 4 + [True]).__next__)
    (folder,) = (tmp_path / "cut").iterdir()
    log = folder / "progress.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if json.loads(line)["step"] <= 2))
    assert outcome(run(config, tmp_path / "cut"), tmp_path / "cut") == expected


def test_a_disk_that_is_full_is_one_line_and_the_checkpoint_before_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, state_of(1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match=r"a checkpoint needs \d+ bytes in .*No space left.*the same command"):
        write_checkpoint(tmp_path, state_of(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_when_the_disk_has_room_again_the_same_trial_goes_on_to_the_same_end(config: RunConfig, tmp_path: Path) -> None:
    expected = outcome(run(config, tmp_path / "whole"), tmp_path / "whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    seen: list[Progress] = []
    with pytest.raises(TrialStopped):
        run(config, tmp_path / "cut", seen.append, stop=lambda: seen[-1].step == 2)

    def fill(record: Progress) -> None:
        if record.step == 3:  # smaller than a checkpoint, larger than all that was written
            resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))

    try:
        with pytest.raises(
            StorageError, match=r"a checkpoint needs .*; free some space, and the same command continues"
        ):
            run(every_step(config), tmp_path / "cut", fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    seen.clear()
    assert outcome(run(every_step(config), tmp_path / "cut", seen.append), tmp_path / "cut") == expected
    assert min(record.step for record in seen) > 1, "the checkpoint before stands"


def test_without_memory_the_micro_batch_is_halved_and_the_mathematics_stays(
    vary: Vary, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = vary()
    training, small = start_training(config, prepare(config)), start_training(config, prepare(config))
    expected = [training.update() for _ in range(4)]
    whole = EmbeddingModel.add_gradients

    def short_of_memory(self: EmbeddingModel, ids: torch.Tensor, scale: float) -> torch.Tensor:
        if len(ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.\nmore")
        return whole(self, ids, scale)

    monkeypatch.setattr(EmbeddingModel, "add_gradients", short_of_memory)
    for numbers in expected:
        assert small.update() == pytest.approx(numbers, rel=1e-5)
    assert (training.micro_batch_blocks, small.micro_batch_blocks) == (4, 1)

    def none(self: EmbeddingModel, ids: torch.Tensor, scale: float) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.\nmore")

    monkeypatch.setattr(EmbeddingModel, "add_gradients", none)
    with pytest.raises(MemoryExhaustedError, match=r"one block at a time must fit.*CUDA out of memory\. more; lower"):
        small.update()


def test_memory_that_is_exhausted_elsewhere_is_told_in_one_line_and_what_was_trained_stays(
    vary: Vary, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_base(tmp_path / "smaller", text, hidden_size=16)
    config, sampled = every_step(vary()), trial.sample_texts

    def short_of_memory(model: PreTrainedModel, *given: Any, **options: Any) -> list[str]:
        if model.config.hidden_size > 16:
            raise torch.OutOfMemoryError("CUDA out of memory.\nmore")
        return sampled(model, *given, **options)

    with monkeypatch.context() as short:
        short.setattr(trial, "sample_texts", short_of_memory)
        with pytest.raises(
            MemoryExhaustedError,
            match=r"^a trial must fit .*CUDA out of memory\. more; free the memory.* smaller model$",
        ):
            run(config, tmp_path / "trials")
        run(vary(model={"path": str(tmp_path / "smaller")}), tmp_path / "trials")
    seen: list[Progress] = []
    run(config, tmp_path / "trials", seen.append)  # what other programs took is free
    assert min(record.step for record in seen) > 0


def test_where_no_block_fits_shorter_ones_do_or_a_smaller_model(
    vary: Vary, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device that holds a pass of so many numbers."""
    build_base(tmp_path / "smaller", text, hidden_size=16)
    whole = EmbeddingModel.add_gradients

    def short_of_memory(self: EmbeddingModel, ids: torch.Tensor, scale: float) -> torch.Tensor:
        if ids.numel() * self.operand.shape[1] > 32 * 16:
            raise torch.OutOfMemoryError("CUDA out of memory.\nmore")
        return whole(self, ids, scale)

    monkeypatch.setattr(EmbeddingModel, "add_gradients", short_of_memory)
    with pytest.raises(MemoryExhaustedError, match=r"; lower corpus\.block_tokens, or choose a smaller model$"):
        run(vary(), tmp_path / "trials")
    run(vary(corpus={"block_tokens": 16}), tmp_path / "trials")
    run(vary(model={"path": str(tmp_path / "smaller")}), tmp_path / "trials")


def test_a_trial_goes_on_with_the_threads_that_it_began_with(config: RunConfig) -> None:
    """In bfloat16 another number of threads gives other last digits."""
    training = start_training(config, prepare(config))
    try:
        torch.set_num_threads(2)
        state = training.state()
        torch.set_num_threads(1)
        training.restore(dataclasses.replace(state, threads=None))  # the control: a checkpoint that doesn't tell
        assert torch.get_num_threads() == 1
        training.restore(state)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
