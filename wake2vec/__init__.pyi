from .checkpoints.export import TEXT_FORMATS, ExportedFolder, export_folder
from .checkpoints.stored import Source, StoredSubject, read_subject
from .closing import measure_fully, nearest_tokens
from .config import Capitals, CorpusConfig, Form, InitialiserName, RunConfig, Section, flatten, unflatten
from .data.audit_record import COUNT_CLASSES, Audit
from .data.candidates import (
    Candidates,
    Filters,
    find_candidates,
    lexicon_file,
    scores_file,
    tokens_saved,
)
from .data.lexicon import read_text
from .errors import (
    ConfigError,
    CorpusError,
    ExportError,
    LexiconError,
    MemoryExhaustedError,
    ModelError,
    StorageError,
    TrainingDivergedError,
    TrialAbandoned,
    TrialFailedError,
    TrialStopped,
    UndefinedFigureError,
    Wake2VecError,
)
from .inputs import fingerprint_inputs, prepare
from .lexicon_audit import LexiconAudit, audit_lexicon, warnings_of
from .measure import Measurement
from .phase1 import PHASE1_ADDRESSES, PHASE1_CAP, PHASE1_PRINTED, phase1_summary
from .plan import TrialPlan, plan_trial, undefined_figures, undefined_reasons
from .result import HEADLINE, NAMES, NUMBERS, Name, Neighbours, RunResult, read_result
from .training.initialisers import INITIALISERS
from .training.machine import AVAILABLE_THREADS, measure_threads, quickest, use_threads
from .training.model import load_tokenizer, resolve_folder
from .trial import run
from .workfolder import Numbers, Progress, ProgressLog, WorkFolder, write_atomic, write_json

__all__ = [
    "AVAILABLE_THREADS",
    "COUNT_CLASSES",
    "HEADLINE",
    "INITIALISERS",
    "NAMES",
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
    "InitialiserName",
    "LexiconAudit",
    "LexiconError",
    "Measurement",
    "MemoryExhaustedError",
    "ModelError",
    "Name",
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
    "UndefinedFigureError",
    "Wake2VecError",
    "WorkFolder",
    "audit_lexicon",
    "export_folder",
    "find_candidates",
    "fingerprint_inputs",
    "flatten",
    "lexicon_file",
    "load_tokenizer",
    "measure_fully",
    "measure_threads",
    "nearest_tokens",
    "phase1_summary",
    "plan_trial",
    "prepare",
    "quickest",
    "read_result",
    "read_subject",
    "read_text",
    "resolve_folder",
    "run",
    "scores_file",
    "tokens_saved",
    "undefined_figures",
    "undefined_reasons",
    "unflatten",
    "use_threads",
    "warnings_of",
    "write_atomic",
    "write_json",
]
