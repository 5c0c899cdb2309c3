"""The base model, and the model that is trained: a frozen body between one tied embedding matrix."""

import hashlib
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from wake2vec.errors import ModelError

FILES = ["*.json", "*.safetensors", "tokenizer.model"]


class EmbeddingModel(nn.Module):
    """A frozen transformer body whose tied embedding matrix, or its new rows alone, is the only parameter.

    The matrix is both the input embedding and the head: `logits = hidden @ matrix.T`.
    """

    frozen_rows: Tensor

    def __init__(
        self,
        body: nn.Module,
        base_rows: Float[Tensor, "base dim"],
        new_rows: Float[Tensor, "new dim"],
        rows: Literal["all", "new"],
    ) -> None:
        super().__init__()
        self.body = body.eval().requires_grad_(False)
        frozen = base_rows if rows == "new" else base_rows[:0]
        trained = new_rows if rows == "new" else torch.cat([base_rows, new_rows])
        self.register_buffer("frozen_rows", frozen.clone())
        self.trained_rows = nn.Parameter(trained.clone())

    @property
    def matrix(self) -> Float[Tensor, "vocabulary dim"]:
        if not len(self.frozen_rows):
            return self.trained_rows
        return torch.cat([self.frozen_rows, self.trained_rows])

    def losses(self, ids: Int[Tensor, "blocks tokens"]) -> Float[Tensor, "blocks tokens-1"]:
        """Cross-entropy in nats of each token but a block's first, given those before it."""
        matrix = self.matrix
        # The last token is no one's context, so the body doesn't read it.
        hidden = self.body(inputs_embeds=F.embedding(ids[:, :-1], matrix), use_cache=False).last_hidden_state
        logits = F.linear(hidden, matrix)
        return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)


def resolve_folder(path: str) -> Path:
    """The local folder of a base model: `path` itself, or the hub's snapshot of that name.

    Raises:
        ModelError: there is neither.
    """
    folder = Path(path)
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(path, allow_patterns=FILES))
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise ModelError(
            f"the base model must be a local folder or a name on the model hub: no folder {path}, and the "
            "hub doesn't give it; give MODEL=<folder>"
        ) from None


def best_device() -> torch.device:
    """The GPU if there is one that CUDA knows, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Raises ModelError: the folder holds no tokenizer of the fast kind."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as fault:
        raise ModelError(f"{folder} holds no tokenizer: {first_line(fault)}") from None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(f"the tokenizer must be of the fast kind (tokenizer.json): {folder} has another")
    return tokenizer


def load_model(folder: Path) -> PreTrainedModel:
    """The base model in float32, checked: safetensors only, no code, all weights there and finite.

    Raises:
        ModelError: with the reason.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if getattr(config, "auto_map", None):
            raise ModelError(f"a base model must not bring code of its own: {folder} has an auto_map")
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError) as fault:
        raise ModelError(f"{folder} is no causal language model in safetensors: {first_line(fault)}") from None
    wrong = sorted({*info["missing_keys"], *info["unexpected_keys"], *map(str, info["mismatched_keys"])})
    if wrong:
        raise ModelError(f"the weights don't fit the model: {folder}: {', '.join(wrong[:5])}; get the model again")
    broken = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if broken:
        raise ModelError(f"all weights must be finite: {folder}: {', '.join(broken[:5])} aren't; get the model again")
    check_head(model, folder)
    return model.eval()


def stored_dtype(folder: Path) -> torch.dtype:
    """The type of the weights in the folder; float32 where its config doesn't say."""
    return AutoConfig.from_pretrained(folder, trust_remote_code=False).dtype or torch.float32


@torch.no_grad()
def check_head(model: PreTrainedModel, folder: Path) -> None:
    """Refuse a model whose logits aren't the plain product of the last hidden state and the head.

    Raises:
        ModelError: a head with a bias, a scale or a soft cap.
    """
    ids = torch.arange(1, 9).view(1, -1)
    rows = model.get_input_embeddings().weight
    hidden = model.base_model(inputs_embeds=F.embedding(ids, rows), use_cache=False).last_hidden_state
    product = F.linear(hidden, model.get_output_embeddings().weight)
    if not torch.allclose(product, model(input_ids=ids).logits, rtol=1e-3, atol=1e-3):
        raise ModelError(f"the head must be a plain matrix product: {folder} scales or caps its logits")


def merged_model(folder: Path, matrix: Float[Tensor, "vocabulary dim"]) -> PreTrainedModel:
    """The base model of `folder` with `matrix` as its tied input embedding and head, in float32."""
    model = load_model(folder)
    model.config.tie_word_embeddings = True
    model.resize_token_embeddings(len(matrix), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(matrix)
    model.get_output_embeddings().weight = model.get_input_embeddings().weight
    return model


def fingerprint(folder: Path) -> str:
    """SHA-256 over names and contents of the files that make a base model, 16 hex digits."""
    digest = hashlib.sha256()
    for pattern in FILES:
        for file in sorted(folder.glob(pattern)):
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


def first_line(fault: Exception) -> str:
    return str(fault).strip().split("\n")[0]
