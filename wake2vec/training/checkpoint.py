"""Checkpoints: the state of a training on disk, whole or not at all, and noticed where it is damaged."""

import hashlib
import json
import logging
import os
import shutil
import threading
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from wake2vec.errors import StorageError
from wake2vec.workfolder import MANIFEST, UNREADABLE, private_folder, set_aside, sync

KEPT = 2
STATE_FORMAT = 1
"""Of a checkpoint's files. One of another format isn't used: training starts over, and says so."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class State:
    """What a training depends on beside its configuration; tensors are on the CPU."""

    step: int
    """Updates done."""
    loss_scale: float
    micro_batch_blocks: int
    optimizer: dict[str, Any]
    """The optimizer's numbers, by its own names: the same for both matrices."""
    tensors: dict[str, Tensor]
    """`rows`: the trained rows; `optimizer.<name>`: the optimizer's tensors. `head_rows` and `head_optimizer.<name>`
    are those of a head of its own; `best.<name>` are the trained rows of the best evaluation."""
    threads: int | None = None
    """That computed it on a CPU: with others the next step's last digits may differ. None: it isn't known."""
    best_step: int | None = None
    """Updates done at the best evaluation; None: its rows aren't kept."""
    best_cost: float | None = None
    """The figure that decided, turned so that less is better."""


SCALARS = {field.name for field in fields(State)} - {"tensors"}
NEEDED = SCALARS - {"threads", "best_step", "best_cost"}


def write_checkpoint(folder: Path, state: State) -> Path:
    """Write the state to `folder/step-<step>`, and keep only the newest two checkpoints.

    It is written beside: files, then a manifest with the SHA-256 of each, all synced to disk; then renamed.

    Raises:
        StorageError: the disk doesn't take it; the checkpoints before stand.
    """
    target = folder / f"step-{state.step:08d}"
    beside = folder / f".{target.name}.{os.getpid()}.part"
    needed = sum(tensor.nbytes for tensor in state.tensors.values())
    try:
        private_folder(folder)
        _discard(*folder.glob(".*"))  # what a crash left
        if (free := shutil.disk_usage(folder).free) < needed * 1.01:
            raise OSError(f"{free:,} bytes are free")
        beside.mkdir(mode=0o700)
        save_file(state.tensors, beside / "state.safetensors")
        scalars = {name: getattr(state, name) for name in sorted(SCALARS)}
        scalars["format"] = STATE_FORMAT
        (beside / "state.json").write_text(json.dumps(scalars, indent=2) + "\n", encoding="utf-8")
        hashes = {path.name: _sha256(path) for path in sorted(beside.iterdir())}
        (beside / MANIFEST).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
        for path in beside.iterdir():
            sync(path)
        sync(beside)
        if target.exists():  # a damaged one was moved aside, so this is the same state
            _discard(target)
        beside.rename(target)
        sync(folder)
        _discard(*_by_age(folder)[KEPT:])
    except (OSError, SafetensorError) as fault:  # it tells faults of the disk as its own
        shutil.rmtree(beside, ignore_errors=True)
        raise StorageError(
            f"a checkpoint needs {needed:,} bytes in {folder}: {fault}; free some space, and the same command continues"
        ) from None
    return target


def newest_checkpoint(folder: Path, most_steps: int) -> State | None:
    """The newest checkpoint of at most that many steps that is whole; None where there is none.

    One that is damaged, or of another format, is moved aside as `bad-*`, never deleted, and the one before it is taken.
    """
    if folder.exists() and not folder.is_dir():
        logger.warning("%s must be a folder: it lies aside as %s", folder, set_aside(folder).name)
    for path in _by_age(folder):
        fault = _fault_of(path)
        if fault is None:
            state = _read(path)
            if state.step <= most_steps:
                return state
            continue
        aside = path.with_name(f"bad-{path.name}")
        if os.path.lexists(aside):
            set_aside(aside)
        path.rename(aside)
        logger.warning("a checkpoint can't be used: %s: %s; it was moved to %s", path, fault, aside.name)
    return None


class CheckpointWriter:
    """Writes checkpoints beside training, one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread: threading.Thread | None = None
        self._fault: StorageError | None = None

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def write(self, state: State) -> None:
        """Begin to write; waits for the one before. Raises StorageError: that one failed."""
        self.wait()
        # Not a daemon: an interpreter that ends waits for a checkpoint that was begun.
        self._thread = threading.Thread(target=self._write, args=(state,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Until the last checkpoint is on disk. Raises StorageError: it isn't."""
        self.settle()
        if self._fault is not None:
            raise self._fault

    def settle(self) -> None:
        """Until nothing is being written, whether that succeeded or not."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, state: State) -> None:
        try:
            write_checkpoint(self._folder, state)
        except StorageError as fault:
            self._fault = fault


def discard_checkpoints(folder: Path) -> None:
    """Delete all checkpoints, to be called where no writer is at work: the trial has ended."""
    if folder.exists():
        _discard(folder)


def _by_age(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def _fault_of(path: Path) -> str | None:
    """What is wrong with a checkpoint; None where it is whole."""
    try:
        hashes = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name in ("state.safetensors", "state.json"):
            if _sha256(path / name) != hashes[name]:
                return f"{name} isn't what was written"
        scalars = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if scalars.pop("format", 1) != STATE_FORMAT or not NEEDED <= scalars.keys() <= SCALARS:
            return f"it is of another version than format {STATE_FORMAT}, so training starts over"
    except UNREADABLE as fault:
        return f"its manifest can't be followed: {fault!r}"
    return None


def _read(path: Path) -> State:
    scalars = json.loads((path / "state.json").read_text(encoding="utf-8"))
    scalars.pop("format", None)  # the first ones had none
    return State(**scalars, tensors=load_file(path / "state.safetensors"))


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _discard(*paths: Path) -> None:
    """Delete folders so that a crash half-way leaves none that looks whole."""
    for path in paths:
        hidden = path if path.name.startswith(".") else path.with_name(f".{path.name}.gone")
        if path.exists():
            path.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
