"""The errors that users can meet: each names the rule, the offending value and the remedy, on one line."""

import textwrap


class Wake2VecError(Exception):
    """Anything that a user can put right; the message is one line."""


class ConfigError(Wake2VecError):
    """A setting that can't be used; all faults of a configuration are in one message."""


class DamagedError(ConfigError):
    """A file of a work folder that isn't what was written: the trouble of one run, not of its study."""


class LexiconError(Wake2VecError):
    """A word list that can't be used."""


class CorpusError(Wake2VecError):
    """A text that can't be used."""


class ModelError(Wake2VecError):
    """A base model that can't be used."""


class NoFormError(ModelError):
    """A token form that a tokenizer can't have; who knows the text knows which it can have."""


class ExportError(Wake2VecError):
    """An export that wasn't made."""


class TrialFailedError(Wake2VecError):
    """A trial that can't have a result: it ends as failed, the study goes on."""


class TrainingDivergedError(TrialFailedError):
    """A loss or a gradient that isn't finite."""


class UndefinedFigureError(TrialFailedError):
    """A trial without a figure that its study compares or bounds."""


class MemoryExhaustedError(TrialFailedError):
    """A trial that doesn't fit into the device's memory, however small the micro-batch."""


class StorageError(Wake2VecError):
    """A disk that doesn't take what must be written: nothing that was written before is lost."""


class TrialAbandoned(Exception):  # noqa: N818
    """Raised by an observer to end a trial for good after the record at `step`: no fault, but no result."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step = step
        self.reason = reason


class TrialStopped(Exception):  # noqa: N818
    """A trial that was asked to stop, and did, with a checkpoint: no fault."""


MOST_LETTERS = 240
"""Of what a library says."""


def in_one_line(fault: BaseException) -> str:
    """What a library or the system says, in brief and without the path; the kind of fault where it says nothing."""
    said = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    return textwrap.shorten(said, MOST_LETTERS, placeholder=" ...").rstrip(".:;, ") or type(fault).__name__
