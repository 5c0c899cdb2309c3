"""An embedding matrix as a checkpoint stores it: one tensor is read, so that a large model costs only its matrix."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wake2vec.errors import ModelError
from wake2vec.metrics.rows import row_slices
from wake2vec.training.folder import check_folder, is_there

INDEX = "model.safetensors.index.json"
NAMES = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight")
"""How the model families call their input embedding, after a prefix."""
TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
SHOWN = 6
"""Names that an error lists."""


@dataclass(frozen=True, eq=False)
class StoredMatrix:
    """A matrix with where it stood. All its numbers are finite."""

    rows: Float[Tensor, "rows dim"]
    """In float32, which holds every stored value."""
    file: Path
    tensor: str
    dtype: str
    """As stored: `float32`, `float16` or `bfloat16`."""
    digest: str
    """SHA-256 of the stored numbers, 16 hex digits."""


def read_matrix(path: Path, tensor: str | None = None) -> StoredMatrix:
    """Read the input embedding of a Hugging Face folder, or the matrix of a single `.safetensors` file.

    The tensor is the one named, else the one that ends in one of `NAMES`, else the only matrix there is.

    Raises:
        ModelError: nothing to read, several candidates, a type that isn't a float of 16 or 32 bits, or numbers that
            aren't finite.
    """
    files = _tensor_files(path)
    name = tensor or _embedding_name(path, files)
    if name not in files:
        raise ModelError(f"no tensor {name} in {path}: {_matrices_there(files)}")
    try:
        with safe_open(files[name], framework="pt") as stored:
            header = stored.get_slice(name)
            shape, type_ = header.get_shape(), header.get_dtype()
            if len(shape) != 2 or 0 in shape:
                raise ModelError(f"an embedding has rows and columns: {name} in {path} has the shape {shape}")
            if type_ not in TYPES:
                raise ModelError(
                    f"an embedding must be stored as {', '.join(TYPES.values())}: {name} in {path} is {type_}"
                )
            found: Tensor = stored.get_tensor(name).contiguous()
    except (OSError, SafetensorError) as fault:
        raise _unreadable(files[name], fault) from None
    digest = hashlib.sha256(found.view(torch.uint8).numpy().data).hexdigest()[:16]
    rows = found.float()
    _check_finite(rows, name, path)
    return StoredMatrix(rows, files[name], name, TYPES[type_], digest)


def has_tensor(path: Path, tensor: str) -> bool:
    """Whether a folder or file has a tensor of that name. Raises ModelError: there is nothing to read."""
    return tensor in _tensor_files(path)


def _tensor_files(path: Path) -> dict[str, Path]:
    """The file of every tensor, by its name."""
    if not is_there(path):
        raise ModelError(f"no folder or .safetensors file {path}; give the path of one")
    if path.is_file():
        if path.suffix != ".safetensors":
            raise ModelError(
                f"a matrix is read from a .safetensors file or a model's folder: {path} is neither; give one"
            )
        return dict.fromkeys(_names(path), path)
    if not path.is_dir():
        raise ModelError(f"a matrix is read from a .safetensors file or a model's folder: {path} is neither; give one")
    check_folder(path)
    if (path / INDEX).is_file():
        return _index(path)
    files = {name: file for file in sorted(path.glob("*.safetensors")) for name in _names(file)}
    if not files:
        others = any(path.glob("*.bin"))
        remedy = "its weights are pickled, save them as safetensors" if others else "give a model's folder"
        raise ModelError(f"{path} holds no .safetensors file: {remedy}")
    return files


def _index(folder: Path) -> dict[str, Path]:
    try:
        weight_map = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        return {str(name): folder / Path(file).name for name, file in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(
            f"{folder / INDEX} must map tensors to files under `weight_map`: get the model again"
        ) from None


def _names(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as stored:
            return list(stored.keys())
    except (OSError, SafetensorError) as fault:
        raise _unreadable(file, fault) from None


def _unreadable(file: Path, fault: Exception) -> ModelError:
    reason = "it isn't there" if isinstance(fault, FileNotFoundError) else str(fault).strip().split("\n")[0]
    return ModelError(f"{file} can't be read as safetensors: {reason}; get the file again")


def _embedding_name(path: Path, files: dict[str, Path]) -> str:
    found = sorted(name for name in files if any(f".{name}".endswith(f".{known}") for known in NAMES))
    if not found and len(matrices := _matrices(files)) == 1:
        return matrices[0]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
        raise ModelError(f"{path} has {len(found)} embeddings: {listed}; give --tensor with the one to read")
    raise ModelError(f"{path} has no tensor named like an input embedding (*.{NAMES[0]}): {_matrices_there(files)}")


def _matrices(files: dict[str, Path]) -> list[str]:
    matrices = []
    for file in sorted(set(files.values())):
        try:
            with safe_open(file, framework="pt") as stored:
                matrices += [name for name in stored.keys() if len(stored.get_slice(name).get_shape()) == 2]  # noqa: SIM118
        except (OSError, SafetensorError) as fault:
            raise _unreadable(file, fault) from None
    return sorted(matrices)


def _matrices_there(files: dict[str, Path]) -> str:
    matrices = _matrices(files)
    listed = ", ".join(matrices[:SHOWN]) + (", ..." if len(matrices) > SHOWN else "")
    return f"give --tensor with one of its {len(matrices)} matrices: {listed}" if matrices else "it holds no matrix"


def _check_finite(rows: Float[Tensor, "rows dim"], name: str, path: Path) -> None:
    count, first = 0, None
    for part in row_slices(*rows.shape):
        broken = ~rows[part].isfinite()
        if bool(broken.any()):
            count += int(broken.sum())
            first = part.start + int(broken.any(1).nonzero()[0]) if first is None else first
    if first is not None:
        raise ModelError(
            f"all numbers must be finite: {name} in {path} has {count:,} that aren't, the first in row {first}"
        )
