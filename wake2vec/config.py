"""What a trial is made of: `RunConfig`, a frozen tree whose dotted addresses name every knob.

`train.lr` is the YAML path, the command-line override, the Optuna parameter and the MLflow parameter.
The defaults are Phase 1's values, on the embedded default model and texts.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_FOLDER = Path(__file__).parent / "default"
MADE_MODEL = "models/smollm2-135m"
"""Where `make model` puts the model of the profile `smollm2`."""
MOST = 2**31 - 1
"""Of whole numbers: what libraries take everywhere."""
MOST_SCALE = 1e4
"""Of the size of new rows, in that of the base's: numbers stay finite."""
MOST_BLOCKS, MOST_TEXTS, MOST_TOKENS = 65_536, 1_000, 16_384
"""Of a step, and of the samples: what a trial could still be waited for."""
Precision = Literal["auto", "float32", "bfloat16", "float16"]
DeviceName = Literal["auto", "cpu", "cuda"]
Form = Literal["phase1", "word", "space", "pieces"]
Capitals = Literal["exact", "added"]
InitialiserName = Literal[
    "gaussian", "base_normal", "library_default", "mean", "sphere", "piece_mean", "similarity", "distilled"
]
OptimizerName = Literal["adafactor", "adamw"]
Contexts = Literal["own", "spellings", "any"]
Learner = Literal["map", "rows"]
DistilledNorm = Literal["base", "free"]
DistilLoss = Literal["states", "cosine", "next_token"]
HeadName = Literal["native", "tied", "untied"]
Quantization = Literal["none", "nf4"]
HeadKind = Literal["shared", "own", "replaced"]
"""What a trial's head is: the input embedding itself, as the base has it; a matrix of its own, as the base has it or
made of the input embedding; the input embedding, in place of the base's own head."""
TRAINING_VERSION = 4
"""Raised when a change to the code makes trainings of equal configurations differ, and so all digests."""
EARLIER_VERSIONS: tuple[int, ...] = ()
"""The training versions before it whose results are read, newest first, from 4 on. (It was the format of results.)"""
ADDED_KNOBS: dict[str, Any] = {
    "corpus.bos": "never",
    "init.distil_contexts": "any",
    "init.distil_loss": "states",
    "init.distil_norm": "base",
    "init.distil_rate": 0.4,
    "init.distil_steps": 30,
    "init.distil_learner": "map",
    "model.head": "tied",
    "train.finish_rare": 1,
    "train.finish_share": 0.3,
    "train.finish_steps": 0,
    "model.quantization": "none",
    "train.keep": "last",
    "train.keep_by": "validation.loss",
}
"""Knobs that came after version 4, and the value that does what was done before: at it they aren't in the identity."""
DECIDED_KNOBS = ("corpus.bos",)
"""Added knobs that the inputs decide where they are `auto`: what they decide stands among the inputs' fingerprints, if
it isn't what was done before. So an old digest holds wherever the same is done."""
OWN_HEAD = "+head"
"""Ends the hash of a base model whose head is a matrix of its own, since a digest must tell it without the model."""


class Section(BaseModel):
    """A frozen group of settings that knows its own keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelConfig(Section):
    path: str = str(DEFAULT_FOLDER / "base_model")
    """Folder of a Hugging Face causal language model, or its name on the hub."""
    head: HeadName = "native"
    """`native`: where the base has a head of its own, it is kept, and its rows are trained beside those of the input
    embedding. `tied`: it is thrown away for the input embedding, as in Phase 1. One and the same on a tied base.
    `untied`: as `native`, and a tied base gets a head of its own, which begins as a copy of its input embedding."""
    quantization: Quantization = "none"
    """`nf4`: the weights of the frozen body take 4 bits, so that 7B to 14B of them fit into a small GPU; rows and head
    aren't quantized: `wake2vec.training.quantized`. It needs the extra `quantized`."""


class CorpusConfig(Section):
    path: str = str(DEFAULT_FOLDER / "corpus.txt")
    """UTF-8 text to adapt to."""
    block_tokens: int = Field(256, ge=8, le=MOST)
    """Length of a training sequence."""
    validation_share: float = Field(0.1, gt=0, lt=0.5)
    """Share of the text, at its end, that is held out."""
    bos: Literal["auto", "always", "never"] = "auto"
    """Whether each block, and each prompt, begins with the beginning-of-sequence token, which is never a target.
    `auto`: where the base tokenizer puts it before a text by itself, as the model was trained; `never`: as before this
    knob."""


class VocabularyConfig(Section):
    lexicon: str = str(DEFAULT_FOLDER / "lexicon.txt")
    """UTF-8 list of the words to add, one a line; `#` starts a comment."""
    form: Form = "phase1"
    """How words become tokens: see `wake2vec.data.forms`."""
    capitals: Capitals = "exact"
    """`exact`: words match as the lexicon spells them, as in Phase 1; `added`: see `wake2vec.data.lexicon`."""


class InitConfig(Section):
    name: InitialiserName = "gaussian"
    """Which initialiser makes the new rows: see `wake2vec.training.initialisers`."""
    noise_scale: float = Field(0.1, ge=0, le=MOST_SCALE)
    """`gaussian`, `base_normal`: noise in standard deviations of the base rows."""
    radius_factor: float = Field(1.0, gt=0, le=MOST_SCALE)
    """`sphere`: norm of the new rows in mean norms of the base rows."""
    distil_steps: int = Field(30, ge=0, le=MOST)
    """`distilled`: steps of `wake2vec.training.distil.CONTEXTS` passages of the training text each."""
    distil_learner: Learner = "map"
    """`distilled`: what is learnt: a linear map from a word's pieces to its row, one for all words, or the rows."""
    distil_rate: float = Field(0.4, gt=0, le=MOST_SCALE)
    """`distilled`: peak learning rate: of a map in 1 / its width, of rows in the base rows' root mean square."""
    distil_norm: DistilledNorm = "base"
    """`distilled`: whether rows have the mean norm of the base rows, or that which they learn."""
    distil_contexts: Contexts = "any"
    """`distilled`: where a word may stand in a lesson: in its `own` places; also in those of its `spellings` in other
    capitals, where it has none; or, where it has none of these either, in those of `any` new word."""
    distil_loss: DistilLoss = "states"
    """`distilled`: what is made small: the squared difference of hidden states, one less their cosine, or the
    divergence of the next token's distribution."""


class TrainConfig(Section):
    steps: int = Field(3000, ge=1, le=MOST)
    lr: float = Field(3e-4, gt=0)
    """Peak learning rate."""
    optimizer: OptimizerName = "adafactor"
    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises linearly from 0; then it falls linearly to 0."""
    weight_decay: float = Field(0.0, ge=0)
    batch_blocks: int = Field(16, ge=1, le=MOST_BLOCKS)
    """Sequences in one optimizer step."""
    max_grad_norm: float = Field(1.0, gt=0)
    rows: Literal["all", "new"] = "all"
    """`all`: the whole embedding matrix is trained, as in Phase 1; `new`: base rows are frozen."""
    precision: Precision = "auto"
    """Of the frozen body and the head's products; trained rows and optimizer are always in float32. `auto`: bfloat16
    where the device multiplies it natively, else float16 on a GPU and float32 on a CPU: `wake2vec.training.device`."""
    evaluate_every_steps: int = Field(300, ge=1, le=MOST)
    """Validation and geometry are measured at step 0, every so many steps, and at the end."""
    finish_steps: int = Field(0, ge=0, le=MOST)
    """After the last update, steps in which rows that training hardly reached are made anew of their words' pieces:
    `wake2vec.training.finish`. 0: they stay, as in Phase 1."""
    finish_rare: int = Field(1, ge=0, le=MOST)
    """Rows that the training blocks hold at most so often are made anew."""
    finish_share: float = Field(0.3, ge=0, le=MOST_SCALE)
    """Of the next-token loss beside distillation, in gradients of the same length."""
    keep: Literal["last", "best"] = "last"
    """Which rows are the trial's: those after its last update, as in Phase 1, or those of its best evaluation."""
    keep_by: str = "validation.loss"
    """`best`: the figure of evaluations that decides; `wake2vec.metrics.registry` says which way is better."""


class RetentionConfig(Section):
    """What is read of the base model's own kind of text: a measurement, of which training knows nothing."""

    path: str = str(DEFAULT_FOLDER / "retention.txt")
    """UTF-8 text of the kind that the base model knows, and of which it wasn't trained on a word; the default is a
    part of the default model's text that was held out from its training."""


class SampleConfig(Section):
    """The texts that a trained model writes: Phase 1's sampling."""

    prompt: str = "riverrun, past Eve and Adam's,"
    count: int = Field(8, ge=0, le=MOST_TEXTS)
    """Texts, all after the same prompt; 0: none. Their words bound the error of `sample.spacing_rate`: one text says
    little."""
    new_tokens: int = Field(160, ge=1, le=MOST_TOKENS)
    """Length of each."""
    temperature: float = Field(0.9, ge=1e-3, le=1e3)
    """What logits are divided by; far below, they are no numbers any more."""
    top_p: float = Field(0.92, gt=0, le=1)
    top_k: int = Field(50, ge=1, le=MOST)
    repetition_penalty: float = Field(1.15, ge=1, le=1e3)


class MachineConfig(Section):
    """What this machine can bear: it moves no number by more than rounding, so a trial's digest leaves it out."""

    device: DeviceName = "auto"
    """What computes: the CPU, or a GPU that CUDA knows; one that isn't there is refused. `auto`: the GPU, if there is
    one. With `train.precision` it keeps machines of a shared study alike."""
    micro_batch_blocks: int | None = Field(None, ge=1, le=MOST)
    """Most sequences in one forward pass; None: as many as the memory holds."""
    memory_gb: float | None = Field(None, gt=0)
    """Most memory that a trial may take, in 10^9 bytes; None: what the device has free."""
    threads: int | None = Field(None, ge=1, le=1024)
    """Threads that compute on a CPU; None: in a study the quickest number, measured before each run, else torch's."""
    gpus: float | None = Field(None, ge=0, le=64)
    """GPUs that a run takes of a cluster, also a share of one: .5; None: one, where the cluster has some."""
    checkpoint_every_s: float = Field(60, ge=0)
    """Seconds from one checkpoint to the next: what a machine that is taken away costs at most."""
    storage: str | None = Field(None, exclude=True)
    """Address of a PostgreSQL that several drivers share, `postgresql://host/database`; None: a file in the results."""
    tracking: str | None = Field(None, exclude=True)
    """Address of an MLflow server, `https://host`; None: a file in the results."""
    archive_checkpoints: bool = Field(False, exclude=True)
    """Whether checkpoints of a shared study go to that server too, so that any driver goes on from them."""


class RunConfig(Section):
    """One trial's whole configuration."""

    model: ModelConfig = ModelConfig()
    corpus: CorpusConfig = CorpusConfig()
    vocabulary: VocabularyConfig = VocabularyConfig()
    init: InitConfig = InitConfig()
    train: TrainConfig = TrainConfig()
    retention: RetentionConfig = RetentionConfig()
    sample: SampleConfig = SampleConfig()
    machine: MachineConfig = MachineConfig()
    seed: int = Field(42, ge=0, le=MOST)
    """Of the initialisation, the batch order and the sampling."""

    def knobs(self) -> dict[str, Any]:
        """All knobs but those of the machine and of the retention, under their addresses."""
        return flatten(self.model_dump(exclude={"machine", "retention"}))

    def identity(self, fingerprints: Mapping[str, str]) -> dict[str, Any]:
        """What makes a trial what it is: the knobs, less what goes without saying, with hashes in place of paths."""
        knobs = self.knobs() | {"model.head": "native" if self.head(fingerprints) == "own" else "tied"}
        if self.train.keep == "last":
            knobs["train.keep_by"] = ADDED_KNOBS["train.keep_by"]  # it decides nothing
        given = {key for key in DECIDED_KNOBS if knobs[key] != "auto"}
        named = {key: value for key, value in knobs.items() if not _goes_without_saying(key, value)}
        return named | {key: value for key, value in fingerprints.items() if key in knobs and key not in given}

    def head(self, fingerprints: Mapping[str, str]) -> HeadKind:
        """What the head is, for a base model of that hash."""
        return head_kind(self.model.head, fingerprints)

    def digest(self, fingerprints: dict[str, str], version: int | None = None) -> str:
        """Name of what is trained: 16 hex digits, the same wherever the input files lie.

        `fingerprints` maps `model.path`, `corpus.path` and `vocabulary.lexicon` to hashes of the files'
        contents, which stand in the digest for the paths, and knobs that are `auto` to what the inputs decide for them,
        if it isn't what was done before there was the knob; what nothing is trained on is left out. `version` is one of
        `EARLIER_VERSIONS`; None: today's.
        What is measured isn't part of it: `wake2vec.metrics.registry` has a version for each metric.
        """
        content = {**self.identity(fingerprints), "format": version or TRAINING_VERSION}
        content |= {key: content_hash(content[key]) for key in fingerprints if key in content}
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def digests(self, fingerprints: dict[str, str]) -> list[str]:
        """Today's digest, then those of the earlier versions, newest first."""
        return [self.digest(fingerprints, version) for version in (TRAINING_VERSION, *EARLIER_VERSIONS)]


def _goes_without_saying(address: str, value: Any) -> bool:
    """Whether a knob does what was done before there was it, or is for the inputs to decide."""
    is_decided = address in DECIDED_KNOBS and value == "auto"
    return is_decided or (address in ADDED_KNOBS and value == ADDED_KNOBS[address])


def head_kind(head: HeadName, fingerprints: Mapping[str, str]) -> HeadKind:
    """What a trial's head is by its knob and the hash of its base model."""
    if not fingerprints.get("model.path", "").endswith(OWN_HEAD):
        return "own" if head == "untied" else "shared"
    return "replaced" if head == "tied" else "own"


def content_hash(fingerprint: str) -> str:
    """An input's hash alone: what it was before a base with a head of its own was marked, and what a digest is of."""
    return fingerprint.removesuffix(OWN_HEAD)


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"train": {"lr": 1}}` -> `{"train.lr": 1}`: the leaves of a tree under their addresses."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= flatten(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def unflatten(leaves: dict[str, Any]) -> dict[str, Any]:
    """`{"train.lr": 1}` -> `{"train": {"lr": 1}}`: the tree of these leaves, none of which lies below another."""
    tree: dict[str, Any] = {}
    for address, value in leaves.items():
        *path, last = address.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return tree
