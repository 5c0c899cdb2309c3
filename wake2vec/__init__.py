"""wake2vec: add words to a frozen language model and train only its embedding matrix.

`run(RunConfig(), folder)` trains and measures one configuration and gives a `RunResult`.
"""

from wake2vec.audit import Audit
from wake2vec.candidates import (
    Candidate,
    Candidates,
    Filters,
    Tally,
    find_candidates,
    lexicon_file,
    scores_file,
    tokens_saved,
)
from wake2vec.closing import measure_fully
from wake2vec.config import Capitals, CorpusConfig, Form, RunConfig, Section, flatten
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
from wake2vec.export import export_folder
from wake2vec.lexicon import read_text
from wake2vec.lexicon_audit import LexiconAudit, audit_lexicon, warnings_of
from wake2vec.material import fingerprint_inputs, prepare
from wake2vec.matrix import StoredMatrix, read_matrix
from wake2vec.measure import Measurement, Subject
from wake2vec.model import load_tokenizer, resolve_folder
from wake2vec.phase1 import PHASE1_ADDRESSES, PHASE1_CAP, PHASE1_PRINTED, flattened, phase1_summary
from wake2vec.plan import TrialPlan, plan_trial
from wake2vec.result import NUMBERS, Neighbours, RunResult, read_result
from wake2vec.run import check_names, run
from wake2vec.subject import Source, StoredSubject, nearest_named, read_subject
from wake2vec.workfolder import Numbers, Progress, ProgressLog, WorkFolder, write_atomic, write_json

__all__ = [
    "NUMBERS",
    "PHASE1_ADDRESSES",
    "PHASE1_CAP",
    "PHASE1_PRINTED",
    "Audit",
    "Candidate",
    "Candidates",
    "Capitals",
    "ConfigError",
    "CorpusConfig",
    "CorpusError",
    "ExportError",
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
    "StoredMatrix",
    "StoredSubject",
    "Subject",
    "Tally",
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
    "flattened",
    "lexicon_file",
    "load_tokenizer",
    "measure_fully",
    "nearest_named",
    "phase1_summary",
    "plan_trial",
    "prepare",
    "read_matrix",
    "read_result",
    "read_subject",
    "read_text",
    "resolve_folder",
    "run",
    "scores_file",
    "tokens_saved",
    "warnings_of",
    "write_atomic",
    "write_json",
]
