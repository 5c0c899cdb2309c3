"""The base model: found, checked, loaded once a process, and merged with a trained matrix."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from wake2vec.config import MADE_MODEL, OWN_HEAD, DeviceName, Precision, Quantization
from wake2vec.errors import ModelError
from wake2vec.training.device import attention_for, compute_dtype, device_for, keep_freed_memory
from wake2vec.training.folder import (
    AGAIN,
    check_folder,
    check_model,
    is_folder,
    is_there,
    load_config,
    quietly,
    without_stderr,
)
from wake2vec.training.probe import Scales, read_scales
from wake2vec.training.quantized import compute_in, loading_options

FILES = ["*.json", "*.safetensors", "tokenizer.model"]
"""What makes a base model, and so its fingerprint."""
KEPT_FILES = ["*.jinja"]
"""What an export keeps of it besides: the chat template, which moves no number."""

TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")
PROBE = "a ☃\U0010fffd b\n"
"""A text with letters that hardly any tokenizer has."""
MOST_GAPS = 10_000
"""Ids without a token, beside as many as there are with one."""
MOST_WITHOUT_ROW = 64
"""Tokens that a tokenizer may have beyond the matrix: Gemma 3 has one."""


def resolve_folder(path: str) -> Path:
    """The local folder of a base model: `path` itself, or the hub's snapshot of that name; its files are looked at.

    Raises:
        ModelError: there is neither, or see `check_folder`.
    """
    folder = Path(path)
    if is_folder(folder):
        check_folder(folder)
        return folder
    if path == MADE_MODEL:
        raise ModelError(f"the base model must be a local folder: no folder {path}; `make model` makes it")
    if folder.is_absolute() or path.startswith((".", "~")) or path.endswith("/") or is_there(folder):
        raise ModelError(f"the base model must be a local folder: {path} is none; give MODEL=<folder>")
    try:
        found = Path(snapshot_download(path, allow_patterns=[*FILES, *KEPT_FILES]))
        check_folder(found)
        return found
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise ModelError(
            f"the base model must be a local folder or a name on the model hub: no folder {path}, and the "
            "hub doesn't give it; give MODEL=<folder>"
        ) from None


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The folder's tokenizer, once a text went through it.

    Raises:
        ModelError: the folder holds none of the fast kind, or one that can't be used.
    """
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ModelError(f"a base model's folder must hold its tokenizer ({TOKENIZERS[0]}): {folder} has none; {AGAIN}")
    with quietly(f"the tokenizer of {folder} can't be loaded"), without_stderr():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ModelError(f"the tokenizer must be of the fast kind (tokenizer.json): {folder} has another; {AGAIN}")
        tokens = tokenizer.get_vocab()
        special = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
        lost = [f"{name} {token!r}" for name, token in special.items() if token not in tokens]
        written = tokenizer(PROBE, return_offsets_mapping=True)["input_ids"]
    if lost:
        raise ModelError(
            f"the special tokens of a tokenizer must be tokens: {folder} has no {', '.join(lost)}; {AGAIN}, or take "
            "that out of its tokenizer_config.json"
        )
    if not written:
        raise ModelError(
            f"a tokenizer must write letters: {folder} has {len(tokens):,} tokens, none for {PROBE!r}; {AGAIN}"
        )
    size = 1 + max(tokens.values())
    if size > 2 * len(tokens) + MOST_GAPS:
        raise ModelError(
            f"the ids of a tokenizer must follow one another: {folder} has {len(tokens):,} tokens and the last id "
            f"{size - 1:,}; {AGAIN}"
        )
    return tokenizer


def load_model(
    folder: Path,
    quantization: Quantization = "none",
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> PreTrainedModel:
    """The base model, in float32 or `dtype`, checked: safetensors only, no code, all weights there and finite.

    A quantized one lies on the device, by default the best, any other on the CPU.

    Raises:
        ModelError: with the reason.
    """
    check_model(folder)
    options = loading_options(device or device_for()) if quantization == "nf4" else {}
    with quietly(f"{folder} can't be loaded as a causal language model"):
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below
            **options,
        )
    wrong = sorted({*info["missing_keys"], *info["unexpected_keys"], *(key[0] for key in info["mismatched_keys"])})
    if wrong:
        raise ModelError(f"the weights don't fit the model: {folder}: {', '.join(wrong[:5])}; {AGAIN}")
    broken = [name for name, weight in model.named_parameters() if not _is_finite(weight)]
    if broken:
        raise ModelError(f"all weights must be finite: {folder}: {', '.join(broken[:5])} aren't; {AGAIN}")
    return model.eval()


def _is_finite(weight: Tensor) -> bool:
    """Of a quantized weight: whether its scales are."""
    state = getattr(weight, "quant_state", None)
    parts = [weight] if state is None else [state.offset, state.state2.absmax]
    return all(bool(part.isfinite().all()) for part in parts)


@dataclass(frozen=True, eq=False)
class BaseModel:
    """A base model as all trials of a process share it: frozen, on the device, its matrices on the CPU in float32."""

    folder: Path
    causal_model: PreTrainedModel
    """In the type in which the trials compute; it has no matrix of its own but in `with_matrix`."""
    rows: Float[Tensor, "rows dim"]
    """Of the input embedding: one for each token at least."""
    head_rows: Float[Tensor, "rows dim"] | None
    """The same of the head, where it is a matrix of its own; None: it is the input embedding."""
    scales: Scales
    stored_dtype: torch.dtype
    """Of the weights in the folder."""

    @property
    def body(self) -> nn.Module:
        return self.causal_model.base_model

    @contextlib.contextmanager
    def with_matrix(
        self, matrix: Float[Tensor, "vocabulary dim"], head: Float[Tensor, "vocabulary dim"] | None = None
    ) -> Iterator[PreTrainedModel]:
        """The whole model with `matrix` as its embedding, for as long as the context lasts; `head` None: tied to it."""
        model = self.causal_model
        sizes = model.config.vocab_size
        _set_matrices(model, matrix, matrix if head is None else head)
        model.config.vocab_size = len(matrix)
        try:
            yield model
        finally:
            _set_matrices(model, matrix[:0], matrix[:0])
            model.config.vocab_size = sizes


@lru_cache(maxsize=1)
def load_base(
    folder: Path,
    contents: str,
    precision: Precision,
    quantization: Quantization = "none",
    device_name: DeviceName = "auto",
) -> BaseModel:
    """Load a base model once a process; `contents` is its `fingerprint`, so that a changed folder is read again.

    Raises:
        ModelError: see `load_model`, `read_scales`.
    """
    device = device_for(device_name)
    if device.type == "cpu":
        keep_freed_memory()
    # Sums of float16 products that are split over a GPU would be put together in float16.
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    model = load_model(folder, quantization, device=device).requires_grad_(False)
    compute_in(model, torch.float32)
    scales = read_scales(model, folder)
    head = model.get_output_embeddings().weight.detach().cpu() if has_own_head(folder, contents) else None
    head_rows = None if head is None else with_missing_rows(head, folder)
    rows = with_missing_rows(model.get_input_embeddings().weight.detach().cpu(), folder)
    none = rows[:0].to(device)
    _set_matrices(model, none, none)
    dtype = compute_dtype(precision, device)
    attention = attention_for(dtype, device)
    if attention:
        model.set_attn_implementation(attention)
    for weight in model.parameters():  # not the buffers: rotary frequencies stay in float32
        if weight.is_floating_point():
            weight.data = weight.data.to(dtype)
    compute_in(model, dtype)
    return BaseModel(
        folder, model if quantization == "nf4" else model.to(device), rows, head_rows, scales, stored_dtype(folder)
    )


@lru_cache(maxsize=1)
def untied(base: BaseModel) -> BaseModel:
    """The same with a head of its own: where it is tied, one that begins as the input embedding is."""
    return base if base.head_rows is not None else replace(base, head_rows=base.rows)


def _set_matrices(
    model: PreTrainedModel, matrix: Float[Tensor, "vocabulary dim"], head: Float[Tensor, "vocabulary dim"]
) -> None:
    weight = nn.Parameter(matrix, requires_grad=False)
    model.get_input_embeddings().weight = weight
    model.get_output_embeddings().weight = weight if head is matrix else nn.Parameter(head, requires_grad=False)


@lru_cache(maxsize=64)
def has_own_head(folder: Path, contents: str) -> bool:
    """Whether the model's head is a matrix of its own, by its config; False where that can't be read.

    `contents` is a hash of the folder's files: a model that hasn't changed is asked once a process.
    """
    try:
        return not load_config(folder).get_text_config().tie_word_embeddings
    except ModelError:
        return False  # `load_model` says why


def stored_dtype(folder: Path) -> torch.dtype:
    """The type of the weights in the folder; float32 where its config doesn't say."""
    return load_config(folder).dtype or torch.float32


def with_missing_rows(rows: Float[Tensor, "rows dim"], folder: Path) -> Float[Tensor, "rows_or_more dim"]:
    """The rows, and the mean row for each token beyond them: Gemma 3 has a token more than rows.

    New ids follow the tokenizer's last token, so each of its tokens must have a row. None of the base model's own text
    was encoded to such a token; the mean row is where one that is never met does least.
    """
    missing = 1 + max(load_tokenizer(folder).get_vocab().values()) - len(rows)
    if missing > MOST_WITHOUT_ROW:
        raise ModelError(
            f"each token of a tokenizer must have its row, but for {MOST_WITHOUT_ROW} at most: {folder} has "
            f"{len(rows):,} rows, {missing:,} too few; give the tokenizer that belongs to the model"
        )
    return torch.cat([rows, rows.mean(0).expand(missing, -1)]) if missing > 0 else rows


def merged_model(
    folder: Path,
    matrix: Float[Tensor, "vocabulary dim"],
    head: Float[Tensor, "vocabulary dim"] | None = None,
    dtype: torch.dtype = torch.float32,
) -> PreTrainedModel:
    """The base model of `folder` with `matrix` as its input embedding, in `dtype`; tied to it where `head` is None."""
    model = load_model(folder, dtype=dtype)
    model.config.tie_word_embeddings = head is None
    model.resize_token_embeddings(len(matrix), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(matrix)
        if head is not None:
            output = model.get_output_embeddings()
            output.weight = nn.Parameter(torch.empty_like(output.weight))  # of a tied base it is the input's
            output.weight.copy_(head)
    if head is None:
        model.get_output_embeddings().weight = model.get_input_embeddings().weight
    return model


def fingerprint(folder: Path) -> str:
    """SHA-256 over names and contents of the files that make a base model, 16 hex digits.

    `OWN_HEAD` stands behind it where the model's head is a matrix of its own.
    """
    digest = hashlib.sha256()
    for pattern in FILES:
        for file in sorted(folder.glob(pattern)):
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            digest.update(bytes.fromhex(file_hash(file)))
    contents = digest.hexdigest()[:16]
    return contents + (OWN_HEAD if has_own_head(folder, contents) else "")


def file_hash(path: Path) -> str:
    """SHA-256 of a file; one that hasn't changed since is read once a process."""
    stat = path.stat()
    return _file_hash(path.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _file_hash(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
