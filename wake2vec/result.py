"""What a trial gives: `RunResult`, the one record that study, tracking, report and export read."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wake2vec.config import ADDED_KNOBS, HeadKind, RunConfig, flatten, head_kind, unflatten
from wake2vec.data.audit_record import Audit
from wake2vec.data.lexicon import read_bytes
from wake2vec.errors import ConfigError, CorpusError, DamagedError, in_one_line
from wake2vec.metrics.registry import ALL_METRICS, HEAD_METRICS, METRICS, Metric, When
from wake2vec.workfolder import ARRAYS_REMEDY, REMEDY, UNREADABLE, Numbers, Progress, WorkFolder, write_atomic

RESULT_FORMAT = 6
"""Of the file `result.json`; raised where its configuration has knobs that earlier versions can't read. Format 4, which
knew no versions of metrics, is the oldest that is read."""
OLDEST_FORMAT = 4
STARTS = {"validation.loss": "validation.start_loss", "retention.bits_per_byte": "retention.start_bits_per_byte"}
"""Figures whose value at step 0 is a figure too."""
RETENTION = "retention.path"
KEPT_STEP = "training.kept_step"
ARRAY_FILES = ("rows.safetensors", "geometry.safetensors")
"""Of a finished trial: what its figures were measured on, and what exports and pictures are made of."""
NEXT = ".next"
"""Of the name of an array file, in `hashes`: what it will be when measuring again is done, or was killed."""
SEAL = "sha256"
"""The last key of the file: the SHA-256 of the file itself, with nothing between these quotes."""


class Neighbours(BaseModel):
    """The base tokens nearest to one new token, nearest first."""

    model_config = ConfigDict(frozen=True)

    word: str
    seen: int | None
    """Times that the word's token occurs in the training blocks; None where the text isn't known."""
    tokens: list[str]
    cosines: list[float]


class Computed(BaseModel):
    """How a trial was computed, in the run that finished it."""

    model_config = ConfigDict(frozen=True)

    device: str
    precision: str
    """Of the frozen body and the head's products."""
    micro_batch_blocks: int
    """Sequences in one forward pass."""
    peak_memory_gb: float | None
    """Most memory that tensors took on a GPU at once, in 10^9 bytes; None on a CPU."""


class RunResult(BaseModel):
    """One finished trial."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    digest: str
    """Of configuration and inputs: the name of the work folder."""
    config: RunConfig
    fingerprints: dict[str, str]
    """Hashes of the base model, corpus and lexicon, and of the retention text, under their addresses."""
    numbers: Numbers
    """Figures of the kept rows, under the addresses of `wake2vec.metrics`; None: undefined, or never measured."""
    start: Numbers = Field({}, exclude=True)
    """What was measured at step 0; it stands in the record of progress."""
    measured: dict[str, int] = {}
    """The versions of the metrics that these figures are of; 1 where none is given."""
    remeasured_s: float | None = None
    """When a newer version last measured some of it, in seconds since 1970; None: all is of the end of training."""
    audit: Audit
    references: str
    """What the rows are that byte collapse is counted against, or why there are none."""
    neighbours: list[Neighbours]
    samples: list[str]
    """Each begins with the prompt."""
    versions: dict[str, str]
    """Of Python and the libraries that make the numbers."""
    computed: Computed
    seconds: dict[str, float]
    """Wall time by part, of the run that finished the trial: see `wake2vec.trial`."""
    hashes: dict[str, str] = {}
    """SHA-256 of the files with the trial's arrays, under their names; none of a version that named none."""

    @property
    def head(self) -> HeadKind:
        """What the trial's head was."""
        return self.config.head(self.fingerprints)

    @property
    def kept_step(self) -> int:
        """Updates done when the rows were as they are kept: figures, arrays and samples are of these."""
        return int(self.numbers[KEPT_STEP] or 0)

    @property
    def figures(self) -> dict[str, Metric]:
        """The figures that such a result has, under their addresses."""
        return _figures_of(self.head)


def write_result(work: WorkFolder, content: dict[str, Any]) -> None:
    """Write what `RunResult` dumps, sealed: a change of any byte is noticed when it is read."""
    open_ = json.dumps({**content, SEAL: ""}, indent=2, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(open_.encode()).hexdigest()
    write_atomic(work.result_path, _with_seal(open_, "", digest).encode())


def _with_seal(text: str, old: str, new: str) -> str:
    """`old` and `new` stand between the quotes."""
    before, key, after = text.rpartition(f'"{SEAL}": "{old}"')
    return f'{before}"{SEAL}": "{new}"{after}' if key else text


def stored_content(work: WorkFolder) -> dict[str, Any]:
    """What stands in the file `result.json`, of any version, without its seal.

    Raises:
        DamagedError: it isn't what was written, or can't be read.
    """
    try:
        content = _unsealed(work.result_path.read_bytes())
        if type(content["format"]) is not int:
            raise TypeError("its format is no number")
        return content
    except UNREADABLE as fault:
        raise damaged(work, fault) from None


def _unsealed(data: bytes) -> dict[str, Any]:
    """Raises one of `UNREADABLE`."""
    text = data.decode()
    content: dict[str, Any] = json.loads(text)
    seal = content.pop(SEAL, None)
    if seal is not None and hashlib.sha256(_with_seal(text, seal, "").encode()).hexdigest() != seal:
        raise ValueError("its bytes aren't those that were written")
    return content


def sealed_hashes(data: bytes) -> dict[str, str] | None:
    """`RunResult.hashes` of the bytes of a file `result.json`; None: they aren't what was written."""
    try:
        return {str(name): str(digest) for name, digest in _unsealed(data).get("hashes", {}).items()}
    except UNREADABLE:
        return None


def damaged(work: WorkFolder, fault: BaseException) -> DamagedError:
    """The error of a result that can't be read for this reason."""
    why = f"it has no {fault}" if isinstance(fault, KeyError) else in_one_line(fault)
    return DamagedError(f"{work.result_path} is damaged: {why}; {REMEDY}")


def is_end(last: Progress, result: RunResult) -> bool:
    """Whether a record is the last of a finished training: the evaluation after its last step."""
    return last.step == result.config.train.steps and "validation.loss" in last.numbers


def array_fault(work: WorkFolder, result: RunResult, file: str) -> str | None:
    """What is wrong with a file of arrays, by the hash that its result names; None: it is whole, or no hash is named.

    `file` is a key of `RunResult.hashes`.
    """
    try:
        with (work.path / file).open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as fault:
        return f"can't be read: {in_one_line(fault)}"
    return None if is_named(result.hashes, file, found) else "isn't what the result was written with"


def is_named(hashes: Mapping[str, str], file: str, digest: str) -> bool:
    """Whether a file with this SHA-256 is the one that these hashes of a result name, or they name none."""
    wanted = {hashes[name] for name in (file, file + NEXT) if name in hashes}
    return not wanted or digest in wanted


def result_arrays(work: WorkFolder, result: RunResult, name: str) -> dict[str, np.ndarray]:
    """Arrays of a finished trial, `rows` or `geometry`, as they were written.

    Raises:
        DamagedError: a byte of the file was changed, or it can't be read.
    """
    file = f"{name}.safetensors"
    if (fault := array_fault(work, result, file)) is not None:
        raise DamagedError(f"{work.path / file} {fault}; {ARRAYS_REMEDY}")
    return work.read_arrays(name)


def read_result(work: WorkFolder) -> RunResult:
    """The result of a finished trial, of this version or an earlier one; `work.result_path` must stand.

    A figure that it doesn't have, or of an earlier formula, is None until it is measured: `wake2vec.remeasure`.

    Raises:
        DamagedError: it isn't what was written, or can't be read.
        ConfigError: a version made it that is newer than this one, or older than any that is read.
    """
    content = stored_content(work)
    try:
        _check_versions(work, content)
        has = _figures_of(_head_of(content))
        content["config"] = _with_added_knobs(content["config"])
        # Before there was a choice, the last was kept.
        known = {KEPT_STEP: content["config"]["train"]["steps"], **content["numbers"]}
        content["numbers"] = {**dict.fromkeys(has), **known, **dict.fromkeys(_outdated(content))}
        content["start"] = figures_at_start(work, content["numbers"])
        return RunResult.model_validate(content)
    except ValidationError as fault:
        first = fault.errors()[0]
        raise damaged(work, ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")) from None
    except UNREADABLE as fault:
        raise damaged(work, fault) from None


def _check_versions(work: WorkFolder, content: dict[str, Any]) -> None:
    """Raises ConfigError: a version made it that is newer than this one, or older than any that is read."""
    given = content["format"]
    measured = content.get("measured", {}).items()
    newer = [at for at in measured if at[0] in ALL_METRICS and at[1] > ALL_METRICS[at[0]].version]
    if given > RESULT_FORMAT or newer:
        what = f"format {given}" if given > RESULT_FORMAT else f"version {newer[0][1]} of {newer[0][0]}"
        raise ConfigError(
            f"results are read up to format {RESULT_FORMAT} and these versions of the metrics: {work.result_path} has "
            f"{what}; use the newer version of this project that made it, or begin anew in another --folder "
            "(RESULTS=... with make)"
        )
    if given < OLDEST_FORMAT:
        raise ConfigError(
            f"results are read from format {OLDEST_FORMAT} on: {work.result_path} has {given}, of an earlier version; "
            "use that one, or begin anew in another --folder (RESULTS=... with make)"
        )


def figures_at_start(work: WorkFolder, numbers: Numbers) -> Numbers:
    """The figures of a finished trial at step 0: of its first record, and those of `STARTS`."""
    first = work.first_record()
    known = {address: numbers[own] for address, own in STARTS.items() if numbers.get(own) is not None}
    return {**(first.numbers if first is not None and first.step == 0 else {}), **known}


def retention_hash(config: RunConfig) -> str | None:
    """SHA-256 of the retention text, 16 hex digits; None where it can't be read."""
    try:
        content = read_bytes(Path(config.retention.path), "retention text", CorpusError)
    except CorpusError:
        return None
    return hashlib.sha256(content).hexdigest()[:16]


def stale_metrics(work: WorkFolder, now: RunConfig | None = None) -> list[str]:
    """The figures that a finished trial lacks, or has of an earlier formula, and that what is kept of it can tell.

    Retention that was read on another text than that of `now`, of a trial of the same base model, is such a figure too.
    None of a result that this version doesn't read.

    Raises:
        DamagedError: the result isn't what was written.
    """
    content = stored_content(work)
    if not OLDEST_FORMAT <= content["format"] <= RESULT_FORMAT:
        return []
    try:
        has = _figures_of(_head_of(content))
        lacking = has.keys() - content["numbers"].keys() | _outdated(content)
        if now is not None and _is_of_another_text(content, now):
            lacking |= {address for address in has if address.startswith("retention.")}
    except UNREADABLE as fault:
        raise damaged(work, fault) from None
    return [address for address in has if address in lacking and has[address].when is not When.TRAINING]


def _with_added_knobs(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a result; a knob that came after it did what was done before."""
    return unflatten({**ADDED_KNOBS, **flatten(config)})


def _is_of_another_text(content: dict[str, Any], now: RunConfig) -> bool:
    if content["config"]["model"]["path"] != now.model.path:
        return False
    return retention_hash(now) not in (None, content["fingerprints"].get(RETENTION))


def _outdated(content: dict[str, Any]) -> set[str]:
    """The figures of a result whose formula has changed since."""
    measured: dict[str, int] = content.get("measured", {})
    raised = versions_of_metrics(_head_of(content))
    return {address for address in raised if measured.get(address, 1) < raised[address]}


def versions_of_metrics(head: HeadKind) -> dict[str, int]:
    """What `RunResult.measured` is of a result with that head that is measured now."""
    return {address: metric.version for address, metric in _figures_of(head).items() if metric.version > 1}


def _figures_of(head: HeadKind) -> dict[str, Metric]:
    """The figures of a result with that head."""
    return METRICS | {address: metric for address, metric in HEAD_METRICS.items() if metric.head == head}


def _head_of(content: dict[str, Any]) -> HeadKind:
    """Of a stored result."""
    return head_kind(content["config"]["model"].get("head", ADDED_KNOBS["model.head"]), content["fingerprints"])


def find_digest(config: RunConfig, fingerprints: dict[str, str], trials_folder: Path) -> str:
    """The digest under which a configuration has ended, today's or an earlier version's; today's where it hasn't."""
    digests = config.digests(fingerprints)
    return next((digest for digest in digests if WorkFolder(trials_folder / digest).has_ended), digests[0])
