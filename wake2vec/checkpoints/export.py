"""Export: a trained trial as a Hugging Face folder that plain transformers loads.

Vectors: the new rows alone, for tools that read word vectors and no language model.

`new_rows.safetensors` with `words.txt` is always written: the rows as they were trained, in float32, where the model's
own file holds them in the base model's type. The text formats take 13 bytes a number: 14 MB for 5,696 rows of 192,
1.1 GB for 44,500 rows of 2,048, where a browser can't show them any more. So they are written where they fit
(`fitting_formats`), or where they are asked for.
"""

import filecmp
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Float, Int
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from wake2vec.checkpoints.origin import Origin, read_origin, write_origin
from wake2vec.checkpoints.settings import save_model
from wake2vec.config import RunConfig, content_hash
from wake2vec.errors import ExportError
from wake2vec.inputs import Material, fingerprint_inputs, prepare
from wake2vec.remeasure import matrix_of
from wake2vec.result import RunResult, result_arrays
from wake2vec.training.device import DTYPES, LOSS_TOLERANCE
from wake2vec.training.model import merged_model
from wake2vec.training.quantized import compute_in, is_quantized, loading_options
from wake2vec.workfolder import WorkFolder, sync

BYTES_A_NUMBER = 13
"""Of a float32 in decimal digits, with its separator: 12.6 were measured on trained rows."""
MOST_TEXT_BYTES = 200_000_000
"""Of a text format that is written without being asked for."""
ROWS_A_CHUNK = 256
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
PROJECTOR_CONFIG = """embeddings {
  tensor_name: "new rows"
  tensor_path: "vectors.tsv"
  metadata_path: "metadata.tsv"
}
"""


@dataclass(frozen=True, eq=False)
class Vectors:
    """The new rows of a trained matrix, in the order of their ids."""

    words: tuple[str, ...]
    """As in the lexicon, so without white space and control characters, and no word twice."""
    rows: Float[np.ndarray, "new dim"]
    """In float32."""
    counts: Int[np.ndarray, " new"]
    """Times that each word's token occurs in the training blocks."""
    nearest: tuple[str, ...]
    """The base token of the highest cosine to each row; empty where a row has no direction."""
    head_rows: Float[np.ndarray, "new dim"] | None = None
    """The same words' rows of a head of its own; the text formats leave them out."""


def write_vectors(vectors: Vectors, folder: Path, formats: tuple[str, ...]) -> None:
    """Write the rows into `folder`, and in those of `TEXT_FORMATS` that are named: the same bytes every time."""
    folder.mkdir()
    arrays = {"rows": vectors.rows, "head_rows": vectors.head_rows}
    kept = {name: np.ascontiguousarray(rows) for name, rows in arrays.items() if rows is not None}
    save_file(kept, folder / "new_rows.safetensors")
    (folder / "words.txt").write_text("".join(f"{word}\n" for word in vectors.words), encoding="utf-8", newline="\n")
    for name in formats:
        TEXT_FORMATS[name](vectors, folder)


def fitting_formats(rows: int, dim: int) -> tuple[str, ...]:
    """The text formats that are written without being asked for: all up to `MOST_TEXT_BYTES`, else none."""
    return tuple(TEXT_FORMATS) if rows * dim * BYTES_A_NUMBER <= MOST_TEXT_BYTES else ()


def _word2vec(vectors: Vectors, folder: Path) -> None:
    """word2vec's text format: a line of the two sizes, then each word and its numbers, parted by spaces.

    Numbers have the fewest digits that give the same float32 again.
    """
    assert not any(any(letter.isspace() for letter in word) for word in vectors.words)
    with (folder / "new_rows.word2vec.txt").open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{len(vectors.words)} {vectors.rows.shape[1]}\n")
        for word, numbers in zip(vectors.words, _texts(vectors.rows, " "), strict=True):
            file.write(f"{word} {numbers}\n")


def _projector(vectors: Vectors, folder: Path) -> None:
    """TensorBoard's embedding projector: vectors, what is known of each, and the file that names both.

    In the metadata a tab, a line's end and a backslash inside a token are written `\\t`, `\\n`, `\\r` and `\\\\`.
    """
    folder = folder / "projector"
    folder.mkdir()
    with (folder / "vectors.tsv").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{numbers}\n" for numbers in _texts(vectors.rows, "\t"))
    norms = np.linalg.norm(vectors.rows.astype(np.float64), axis=1)
    with (folder / "metadata.tsv").open("w", encoding="utf-8", newline="\n") as file:
        file.write("word\tseen in training\tnorm\tnearest base token\n")
        for word, count, norm, near in zip(vectors.words, vectors.counts, norms, vectors.nearest, strict=True):
            file.write(f"{word.translate(ESCAPES)}\t{count}\t{norm:.6g}\t{near.translate(ESCAPES)}\n")
    (folder / "projector_config.pbtxt").write_text(PROJECTOR_CONFIG, encoding="utf-8", newline="\n")


TEXT_FORMATS: dict[str, Callable[[Vectors, Path], None]] = {"word2vec": _word2vec, "projector": _projector}


def _texts(rows: Float[np.ndarray, "new dim"], separator: str) -> Iterator[str]:
    """Each row's numbers in shortest digits; Arrow writes them four times as fast as Python, and as exactly."""
    dim = rows.shape[1]
    for first in range(0, len(rows), ROWS_A_CHUNK):
        part = rows[first : first + ROWS_A_CHUNK]
        digits = pc.cast(pa.array(part.ravel()), pa.string())
        lists = pa.ListArray.from_arrays(pa.array(np.arange(len(part) + 1, dtype=np.int32) * dim), digits)
        yield from pc.binary_join(lists, separator).to_pylist()


STORAGE_TOLERANCE = 1e-3
"""Nats a token by which storing the rows in the base model's type may move the validation loss."""


@dataclass(frozen=True)
class ExportedFolder:
    """What `export_folder` wrote."""

    loss: float
    """Validation loss of the folder when it was loaded again, nats a token."""
    text_formats: tuple[str, ...]
    """Those of `wake2vec.checkpoints.export.TEXT_FORMATS` that were written."""


def export_folder(
    result: RunResult, work: WorkFolder, target: Path, card: str, text_formats: Sequence[str] | None = None
) -> ExportedFolder:
    """Write merged model, tokenizer, generation settings, the new rows alone and `card` (README.md).

    The folder is written beside `target`, loaded again with plain transformers, and renamed only when its
    validation loss is the logged one: a process that is killed leaves no `target`. A second export of the same trial
    leaves the first as it is. `text_formats` are further formats of the new rows, of `TEXT_FORMATS`; None: those
    that `fitting_formats` gives.

    Raises:
        DamagedError: the trial's arrays aren't what its result was written with.
        ExportError: `target` holds something else, an input has changed since the training, or the
            reloaded model isn't the trained one.
    """
    _check_before(result, target, text_formats)
    material = prepare(result.config)
    trained, geometry = (result_arrays(work, result, name) for name in ("rows", "geometry"))
    rows = trained["rows"]
    formats = fitting_formats(len(material.vocabulary.words), rows.shape[1]) if text_formats is None else text_formats
    beside = target.with_name(f".{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        _write_model(result.config, material, trained, beside)
        write_vectors(_vectors(material, trained, geometry), beside / "vectors", tuple(formats))
        (beside / "README.md").write_text(card, encoding="utf-8")
        _write_origin(result, material, beside)
        loss = _reloaded_loss(beside, material)
        logged = result.numbers["validation.loss"]
        if logged is None or abs(loss - logged) > tolerance(logged, result.computed.precision):
            raise ExportError(
                f"the export must have the logged validation loss: reloaded {loss:.5f}, logged {logged}; "
                "nothing was exported"
            )
        if target.exists():
            if not _same_files(beside, target):
                raise _holds_another(target)
        else:
            for path in [*beside.rglob("*"), beside]:
                sync(path)
            beside.rename(target)
            sync(target.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return ExportedFolder(loss, tuple(formats))


def tolerance(logged: float, precision: str) -> float:
    """Nats a token by which the reloaded loss, in float32, may differ from one logged in this precision."""
    return max(STORAGE_TOLERANCE, LOSS_TOLERANCE[DTYPES[precision]] * logged)


def _check_before(result: RunResult, target: Path, text_formats: Sequence[str] | None) -> None:
    """Raises ExportError: what can be told before anything is computed."""
    assert set(text_formats or ()) <= TEXT_FORMATS.keys()
    if target.exists():
        origin = read_origin(target)
        if origin is None or origin.digest != result.digest:
            raise _holds_another(target)
    now = fingerprint_inputs(result.config)
    then = result.fingerprints
    changed = [address for address in now if content_hash(now[address]) != content_hash(then.get(address, ""))]
    if changed:
        raise ExportError(
            f"the inputs of a trial must be as they were in training: {', '.join(changed)} has another content now; "
            "put the old file back"
        )


def _holds_another(target: Path) -> ExportError:
    return ExportError(f"{target} holds another export: remove it, or give another OUT=<folder>")


def _write_model(config: RunConfig, material: Material, trained: dict[str, np.ndarray], folder: Path) -> None:
    matrices = {name: matrix_of(config, material, torch.from_numpy(rows), name) for name, rows in trained.items()}
    head = matrices.get("head_rows")
    model = merged_model(
        material.base.folder,
        matrices["rows"].cpu(),
        None if head is None else head.cpu(),
        dtype=material.base.stored_dtype,  # of 14B weights in float32 there would be 56 GB
    )
    save_model(model, material.vocabulary, material.base.folder, config.sample, folder)


def _vectors(material: Material, trained: dict[str, np.ndarray], geometry: dict[str, np.ndarray]) -> Vectors:
    words = material.vocabulary.words
    new = {name: rows[len(rows) - len(words) :] for name, rows in trained.items()}
    nearest = geometry["neighbour_ids"][:, :1].ravel().tolist()
    tokens = material.vocabulary.base_tokenizer.convert_ids_to_tokens([max(id_, 0) for id_ in nearest])
    return Vectors(
        words,
        new["rows"],
        material.corpus.new_counts_train.numpy(),
        tuple(str(token) if id_ >= 0 else "" for id_, token in zip(nearest, tokens, strict=True)),
        new.get("head_rows"),
    )


def _write_origin(result: RunResult, material: Material, folder: Path) -> None:
    corpus = result.config.corpus
    write_origin(
        folder,
        Origin(
            digest=result.digest,
            base_size=material.vocabulary.base_size,
            block_tokens=corpus.block_tokens,
            validation_share=corpus.validation_share,
            bos=material.vocabulary.bos_id is not None,
        ),
    )


@torch.no_grad()
def _reloaded_loss(folder: Path, material: Material) -> float:
    """Validation loss of the exported folder, with nothing of ours: stock model, stock tokenizer, full logits.

    Its body is quantized as in training: in full its loss would be another.
    """
    quantized = is_quantized(material.base.body)
    options = loading_options(material.device) if quantized else {}
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = material.corpus.validation["input_ids"][:]
    text = material.vocabulary.tokenizer.decode(ids[0], skip_special_tokens=True)
    if tokenizer(text)["input_ids"] != material.vocabulary.tokenizer(text)["input_ids"]:
        raise ExportError(
            f"the exported tokenizer must cut text as in training: {folder} doesn't; nothing was exported"
        )
    if quantized:
        compute_in(model, torch.float32)
    else:
        model.to(material.device)
    parts = (part.to(material.device) for part in ids.split(8))
    losses = [model(input_ids=part, labels=part).loss.item() * len(part) for part in parts]
    return sum(losses) / len(ids)


def _same_files(folder: Path, other: Path) -> bool:
    """Whether both hold the same files with the same bytes, at every depth."""
    trees = [{path.relative_to(root): path.is_dir() for path in root.rglob("*")} for root in (folder, other)]
    files = [str(path) for path, is_folder in trees[0].items() if not is_folder]
    return trees[0] == trees[1] and not any(filecmp.cmpfiles(folder, other, files, shallow=False)[1:])
