"""Vectors: the new rows alone, for tools that read word vectors and no language model.

`new_rows.safetensors` with `words.txt` is always written: the rows as they were trained, in float32, where the model's
own file holds them in the base model's type. The text formats take 13 bytes a number: 14 MB for 5,696 rows of 192,
1.1 GB for 44,500 rows of 2,048, where a browser can't show them any more. So they are written where they fit
(`fitting_formats`), or where they are asked for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int
from safetensors.numpy import save_file

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


def write_vectors(vectors: Vectors, folder: Path, formats: tuple[str, ...]) -> None:
    """Write the rows into `folder`, and in those of `TEXT_FORMATS` that are named: the same bytes every time."""
    folder.mkdir()
    save_file({"rows": np.ascontiguousarray(vectors.rows)}, folder / "new_rows.safetensors")
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
