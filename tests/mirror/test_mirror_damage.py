"""A damaged run never takes the place of a whole one: not in the mirror, not on the way back."""

import logging
from pathlib import Path

import pytest
from conftest import unpack

from study.mirror.mirror import Mirror, restore

ARCHIVE = Path(__file__).parents[1] / "golden" / "study-format-6.tar.xz"
CHOSEN, OTHER = "7f032b9824bb5f87", "a48004bcfb7df211"
FILES = ("result.json", "rows.safetensors", "geometry.safetensors")


@pytest.fixture
def folder(tmp_path: Path, no_fsync: None) -> Path:
    unpack(ARCHIVE, tmp_path)
    return tmp_path / "mlruns"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_stays_out_of_the_mirror_which_keeps_its_own(
    name: str, folder: Path, drive_folder: Path
) -> None:
    told: list[str] = []
    mirror = Mirror(folder, drive_folder, told.append)
    mirror.sync()
    copy = drive_folder / "trials" / CHOSEN / name
    whole = copy.read_bytes()
    assert whole == (folder / "trials" / CHOSEN / name).read_bytes(), "the control: what is whole is copied"
    flip(folder / "trials" / CHOSEN / name)
    for _ in range(3):
        mirror.sync()
    assert copy.read_bytes() == whole
    assert len(told) == 1
    assert f"trials/{CHOSEN}/{name} isn't what" in told[0]


@pytest.mark.parametrize("name", FILES)
def test_a_run_that_was_damaged_on_the_drive_comes_back_without_its_result(
    name: str, folder: Path, drive_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Mirror(folder, drive_folder, lambda said: None).sync()
    flip(drive_folder / "trials" / CHOSEN / name)
    with caplog.at_level(logging.WARNING):
        assert restore(tmp_path / "back", drive_folder)
    assert f"trials/{CHOSEN} of the mirror is damaged" in caplog.text
    assert not (tmp_path / "back" / "trials" / CHOSEN / "result.json").exists()
    assert (tmp_path / "back" / "trials" / OTHER / "result.json").exists(), "the control: the others come back"
