"""The new rows alone, read by the tools that they are for."""

from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file

from wake2vec.checkpoints.export import MOST_TEXT_BYTES, TEXT_FORMATS, Vectors, fitting_formats, write_vectors

WORDS = ("riverrun", "paùpulation", 'd"or', "o'er", "Ⅷth", "a\\b", "#7")
ALL = tuple(TEXT_FORMATS)


def vectors(rows: np.ndarray) -> Vectors:
    count = len(rows)
    return Vectors(WORDS[:count], rows, np.arange(count), ("▁upon", "a\tb\n", "\\", "", "<0x0A>", "x", "y")[:count])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_vectors(vectors(np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)), tmp_path / "vectors", ALL)
    return tmp_path / "vectors"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(arrays(np.float32, (7, 3), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_every_format_gives_every_float32_again(tmp_path_factory: pytest.TempPathFactory, rows: np.ndarray) -> None:
    folder = tmp_path_factory.mktemp("any") / "vectors"
    write_vectors(vectors(rows), folder, ALL)
    assert load_file(folder / "new_rows.safetensors")["rows"].tobytes() == rows.tobytes()
    lines = (folder / "new_rows.word2vec.txt").read_text(encoding="utf-8").split("\n")[1:-1]
    read = np.array([line.split(" ")[1:] for line in lines], dtype=np.float32)
    assert read.tobytes() == rows.tobytes()
    assert np.loadtxt(folder / "projector" / "vectors.tsv", dtype=np.float32, ndmin=2).tobytes() == rows.tobytes()


def test_gensim_reads_words_and_rows(written: Path) -> None:
    read = KeyedVectors.load_word2vec_format(written / "new_rows.word2vec.txt")
    assert tuple(read.index_to_key) == WORDS
    assert tuple((written / "words.txt").read_text(encoding="utf-8").splitlines()) == WORDS
    rows = load_file(written / "new_rows.safetensors")["rows"]
    assert read.vectors.tobytes() == rows.tobytes()
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert read.similarity("riverrun", "o'er") == pytest.approx(units[0] @ units[3], abs=1e-6)


def test_the_projector_has_a_line_of_metadata_for_each_vector(written: Path) -> None:
    head, *lines = (written / "projector" / "metadata.tsv").read_text(encoding="utf-8").split("\n")[:-1]
    assert head.split("\t") == ["word", "seen in training", "norm", "nearest base token"]
    cells = [line.split("\t") for line in lines]
    assert [(cell[0], cell[1], cell[3]) for cell in cells[:4]] == [
        ("riverrun", "0", "▁upon"),
        ("paùpulation", "1", "a\\tb\\n"),
        ('d"or', "2", "\\\\"),
        ("o'er", "3", ""),
    ]
    rows = load_file(written / "new_rows.safetensors")["rows"]
    assert [float(cell[2]) for cell in cells] == pytest.approx(np.linalg.norm(rows, axis=1), rel=1e-5)


def test_the_bytes_are_the_same_every_time_and_no_format_is_written_unasked(written: Path, tmp_path: Path) -> None:
    rows = load_file(written / "new_rows.safetensors")["rows"]
    write_vectors(vectors(rows), tmp_path / "again", ALL)
    assert files(tmp_path / "again") == files(written)
    write_vectors(vectors(rows), tmp_path / "bare", ())
    assert set(files(tmp_path / "bare")) == {"new_rows.safetensors", "words.txt"}


def test_text_that_would_fill_a_disk_has_to_be_asked_for() -> None:
    assert fitting_formats(5_696, 192) == ALL
    assert fitting_formats(44_500, 2_048) == ()
    assert MOST_TEXT_BYTES < 44_500 * 2_048 * 12
