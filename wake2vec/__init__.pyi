from .checkpoints.export import TEXT_FORMATS, ExportedFolder, export_folder
from .checkpoints.stored import Source, StoredSubject, read_subject
from .config import DECIDED_KNOBS, Capitals, CorpusConfig, Form, InitialiserName, RunConfig, Section, flatten, unflatten
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
from .metrics.measure import measure_fully
from .metrics.phase1 import PHASE1_ADDRESSES, PHASE1_CAP, PHASE1_PRINTED, phase1_summary
from .metrics.readings import Measured
from .metrics.registry import (
    HEADLINE,
    METRICS,
    READ_FIRST,
    Metric,
    Part,
    Shown,
    When,
    cautions,
    null_of,
)
from .nearest import nearest_tokens
from .plan import TrialPlan, plan_trial, undefined_figures, undefined_reasons
from .remeasure import remeasure
from .result import Neighbours, RunResult, find_digest, read_result, stale_metrics
from .training.initialisers import INITIALISERS
from .training.machine import AVAILABLE_THREADS, measure_threads, quickest, use_threads
from .training.model import load_tokenizer, resolve_folder
from .trial import run
from .workfolder import Numbers, Progress, ProgressLog, WorkFolder, write_atomic, write_json

__all__ = [
    "AVAILABLE_THREADS",
    "COUNT_CLASSES",
    "DECIDED_KNOBS",
    "HEADLINE",
    "INITIALISERS",
    "METRICS",
    "PHASE1_ADDRESSES",
    "PHASE1_CAP",
    "PHASE1_PRINTED",
    "READ_FIRST",
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
    "Measured",
    "MemoryExhaustedError",
    "Metric",
    "ModelError",
    "Neighbours",
    "Numbers",
    "Part",
    "Progress",
    "ProgressLog",
    "RunConfig",
    "RunResult",
    "Section",
    "Shown",
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
    "When",
    "WorkFolder",
    "audit_lexicon",
    "cautions",
    "export_folder",
    "find_candidates",
    "find_digest",
    "fingerprint_inputs",
    "flatten",
    "lexicon_file",
    "load_tokenizer",
    "measure_fully",
    "measure_threads",
    "nearest_tokens",
    "null_of",
    "phase1_summary",
    "plan_trial",
    "prepare",
    "quickest",
    "read_result",
    "read_subject",
    "read_text",
    "remeasure",
    "resolve_folder",
    "run",
    "scores_file",
    "stale_metrics",
    "tokens_saved",
    "undefined_figures",
    "undefined_reasons",
    "unflatten",
    "use_threads",
    "warnings_of",
    "write_atomic",
    "write_json",
]
