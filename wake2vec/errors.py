"""The errors that users can meet: each names the rule, the offending value and the remedy, on one line."""


class Wake2VecError(Exception):
    """Anything that a user can put right; the message is one line."""


class ConfigError(Wake2VecError):
    """A setting that can't be used; all faults of a configuration are in one message."""


class LexiconError(Wake2VecError):
    """A word list that can't be used."""


class CorpusError(Wake2VecError):
    """A text that can't be used."""


class ModelError(Wake2VecError):
    """A base model that can't be used."""


class ExportError(Wake2VecError):
    """An export that wasn't made."""


class TrainingDivergedError(Wake2VecError):
    """A loss or a gradient that isn't finite: the trial ends as failed, the study goes on."""
