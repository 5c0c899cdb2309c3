"""wake2vec: add words to a frozen language model and train only its embedding matrix.

`run(RunConfig(), folder)` trains and measures one configuration and gives a `RunResult`.
"""

from wake2vec.audit import Audit
from wake2vec.candidates import (
    Candidates,
    Filters,
    find_candidates,
    lexicon_file,
    scores_file,
    tokens_saved,
)
from wake2vec.closing import measure_fully, nearest_tokens
from wake2vec.config import Capitals, CorpusConfig, Form, RunConfig, Section, flatten, unflatten
from wake2vec.errors import (
    ConfigError,
    CorpusError,
    ExportError,
    LexiconError,
    ModelError,
    StorageError,
    TrainingDivergedError,
    TrialAbandoned,
    TrialFailedError,
    TrialStopped,
    Wake2VecError,
)
from wake2vec.export import ExportedFolder, export_folder
from wake2vec.initialisers import INITIALISERS
from wake2vec.lexicon import read_text
from wake2vec.lexicon_audit import LexiconAudit, audit_lexicon, warnings_of
from wake2vec.material import fingerprint_inputs, prepare
from wake2vec.measure import Measurement
from wake2vec.model import load_tokenizer, resolve_folder
from wake2vec.phase1 import PHASE1_ADDRESSES, PHASE1_CAP, PHASE1_PRINTED, phase1_summary
from wake2vec.plan import TrialPlan, plan_trial
from wake2vec.result import NUMBERS, Neighbours, RunResult, read_result
from wake2vec.run import check_names, run
from wake2vec.subject import Source, StoredSubject, read_subject
from wake2vec.vectors import TEXT_FORMATS
from wake2vec.workfolder import Numbers, Progress, ProgressLog, WorkFolder, write_atomic, write_json

__all__ = [
    "INITIALISERS",
    "NUMBERS",
    "PHASE1_ADDRESSES",
    "PHASE1_CAP",
    "PHASE1_PRINTED",
    "TEXT_FORMATS",
    "Audit",
    "Candidates",
    "Capitals",
    "ConfigError",
    "CorpusConfig",
    "CorpusError",
    "ExportError",
    "ExportedFolder",
    "Filters",
    "Form",
    "LexiconAudit",
    "LexiconError",
    "Measurement",
    "ModelError",
    "Neighbours",
    "Numbers",
    "Progress",
    "ProgressLog",
    "RunConfig",
    "RunResult",
    "Section",
    "Source",
    "StorageError",
    "StoredSubject",
    "TrainingDivergedError",
    "TrialAbandoned",
    "TrialFailedError",
    "TrialPlan",
    "TrialStopped",
    "Wake2VecError",
    "WorkFolder",
    "audit_lexicon",
    "check_names",
    "export_folder",
    "find_candidates",
    "fingerprint_inputs",
    "flatten",
    "lexicon_file",
    "load_tokenizer",
    "measure_fully",
    "nearest_tokens",
    "phase1_summary",
    "plan_trial",
    "prepare",
    "read_result",
    "read_subject",
    "read_text",
    "resolve_folder",
    "run",
    "scores_file",
    "tokens_saved",
    "unflatten",
    "warnings_of",
    "write_atomic",
    "write_json",
]
