"""A damaged file is one run's trouble: kinds of damage times places, each noticed, the rest of the study shown.

All combinations are of one kept study. Controls: the study without damage, and the same commands on it.
"""

import contextlib
import json
import logging
import re
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import unpack
from optuna.storages._rdb.storage import _VersionManager
from safetensors.numpy import save
from typer.testing import CliRunner, Result

from bench.faults.rights import as_any_user
from study.cli.main import app
from study.config import StudyConfig, load_config
from study.engine.doctor import look_through, mend
from study.engine.measures import bring_up_to_date
from study.runs.system import SYSTEM
from wake2vec import WorkFolder, write_json
from wake2vec.workfolder import with_checksum

ARCHIVE = Path(__file__).parents[1] / "golden" / "study-format-6.tar.xz"
CHOSEN, BASELINE, OPEN = "7f032b9824bb5f87", "a48004bcfb7df211", "edba068bdd146d41"
Damage = Callable[[bytes], bytes]


def picture() -> bytes:
    """The smallest PNG file."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0), b"IDAT": zlib.compress(b"\0\0"), b"IEND": b""}
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kept study with the figures of today, and with those files that its archive leaves out."""
    home = tmp_path_factory.mktemp("whole")
    unpack(ARCHIVE.with_name("study-format-4.tar.xz"), home)  # whose inputs it has
    for entry in home.iterdir():
        if entry.name == "mlruns":
            shutil.rmtree(entry)
        elif entry.is_file():
            entry.unlink()
    unpack(ARCHIVE, home)
    folder = home / "mlruns"
    (profile,) = home.glob("*.yaml")
    with contextlib.chdir(home):
        assert bring_up_to_date(load_config(profile.name), folder, lambda said: None)
    work = WorkFolder(folder / "trials" / CHOSEN)
    (work.path / "embedding.png").write_bytes(picture())
    log = work.start_progress(SYSTEM)
    for step in range(3):
        log.add(step, {"system/cpu_utilization_percentage": 50.0 + step})
    log.close()
    (folder / "cache").mkdir(exist_ok=True)
    (folder / "cache" / "0123456789abcdef.safetensors").write_bytes(save(with_checksum({"a": np.arange(100.0)})))
    write_json(work.unmeasured_path, {"figures": [], "fault": "the rows are gone"})
    write_json(folder / ".measured", 1.5)
    write_json(folder / ".kept.told", 1.5)
    write_json(folder / ".kept.mlflow", {"study": "0123456789abcdef", "trial 0": "123456789abcdef0"})
    return home


@pytest.fixture
def home(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = shutil.copytree(whole, tmp_path / "home")
    monkeypatch.chdir(home)
    monkeypatch.setattr("wake2vec.workfolder._told", set())
    with as_any_user():
        yield home


@pytest.fixture(scope="module", autouse=True)
def _one_schema() -> Iterator[None]:
    """Optuna reads all its migrations at each opening of a database: most of the time that these tests would take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_VersionManager, "check_table_schema_compatibility", lambda self: None)
        yield


def typed(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def listed(result: Result) -> dict[int, Any]:
    assert result.exit_code == 0, result.output
    return {run["number"]: run for run in json.loads(result.stdout)["trials"]}


@pytest.fixture(scope="module")
def before(whole: Path) -> dict[int, Any]:
    return listed(typed("list", str(whole / "kept.yaml"), "--folder", str(whole / "mlruns"), "--json"))


def middle(data: bytes, new: bytes) -> bytes:
    return data[: len(data) // 2] + new + data[len(data) // 2 + len(new) :]


def of_json(change: Callable[[dict[str, Any]], Any]) -> Damage:
    def damaged(data: bytes) -> bytes:
        return json.dumps(change(json.loads(data))).encode()

    return damaged


def without_first(content: dict[str, Any]) -> dict[str, Any]:
    return dict(list(content.items())[1:])


def other_types(content: dict[str, Any]) -> dict[str, Any]:
    return {key: [{}] for key in content}


def with_nan(content: dict[str, Any]) -> dict[str, Any]:
    """In place of each number, at every depth."""
    return {
        key: with_nan(value) if isinstance(value, dict) else float("nan") if isinstance(value, int | float) else value
        for key, value in content.items()
    }


BYTES: dict[str, Damage] = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "not UTF-8": lambda data: middle(data, b"\xff\xfe\xfd"),
    "a flipped bit": lambda data: middle(data, bytes([data[len(data) // 2] ^ 1])),
}
JSON: dict[str, Damage] = {
    "a missing key": of_json(without_first),
    "another key": of_json(lambda content: {**content, "more": 1}),
    "wrong types": of_json(other_types),
    "a list": of_json(lambda content: [content]),
    "deep nesting": lambda data: b"[" * 100_000,
    "NaN for numbers": of_json(with_nan),
}
MANIFEST = {name: damage for name, damage in JSON.items() if name != "NaN for numbers"}  # it holds none
OTHER = ("a folder", "no permission")


def in_line(number: int, damage: Damage) -> Damage:
    def damaged(data: bytes) -> bytes:
        lines = data.split(b"\n")
        place = number if number >= 0 else len(lines) - 1 + number
        lines[place] = damage(lines[place])
        return b"\n".join(lines)

    return damaged


@dataclass(frozen=True)
class Place:
    path: str
    kinds: dict[str, Damage]
    is_read: bool = False
    """By `list`, which tells of it then."""
    run: int | None = 1


def lines(*, of: tuple[tuple[str, int], ...] = (("first", 0), ("middle", 3), ("last", -1))) -> dict[str, Damage]:
    kinds = {name: damage for name, damage in (BYTES | JSON).items() if name != "deep nesting"}
    kinds["deep nesting"] = lambda line: b"[" * 100_000
    return {
        f"{kind} in the {which} line": in_line(number, damage) for which, number in of for kind, damage in kinds.items()
    }


UNMARKED = {name: JSON[name] for name in ("a list", "deep nesting", "wrong types")} | {
    name: BYTES[name] for name in ("truncated", "empty", "zeros", "not UTF-8")
}
NUMBER = {name: damage for name, damage in UNMARKED.items() if name != "wrong types"}
WORK = f"trials/{CHOSEN}"
CHECKPOINT = f"trials/{OPEN}/checkpoints/step-00000002"
PLACES = {
    "result": Place(f"{WORK}/result.json", BYTES | JSON, is_read=True),
    "baseline's result": Place(f"trials/{BASELINE}/result.json", BYTES | JSON, is_read=True, run=0),
    "progress": Place(f"{WORK}/progress.jsonl", BYTES, is_read=True),
    "line of progress": Place(f"{WORK}/progress.jsonl", lines(), is_read=True),
    "open progress": Place(f"trials/{OPEN}/progress.jsonl", lines(of=(("first", 0),)), is_read=True, run=2),
    "rows": Place(f"{WORK}/rows.safetensors", BYTES),
    "geometry": Place(f"{WORK}/geometry.safetensors", BYTES),
    "system": Place(f"{WORK}/system.jsonl", lines(of=(("middle", 1),))),
    "audit": Place(f"{WORK}/audit.json", BYTES | JSON),
    "picture": Place(f"{WORK}/embedding.png", BYTES),
    "sample": Place(f"{WORK}/sample.txt", BYTES),
    "unmeasured": Place(f"{WORK}/unmeasured.json", UNMARKED),
    "checkpoint's tensors": Place(f"{CHECKPOINT}/state.safetensors", BYTES, run=2),
    "checkpoint's numbers": Place(f"{CHECKPOINT}/state.json", BYTES | JSON, run=2),
    "checkpoint's manifest": Place(f"{CHECKPOINT}/manifest.json", BYTES | MANIFEST, run=2),
    "cache": Place("cache/0123456789abcdef.safetensors", BYTES, run=None),
    "mark of measuring": Place(".measured", NUMBER, run=None),
    "mark of telling": Place(".kept.told", NUMBER, run=None),
    "ids in MLflow": Place(".kept.mlflow", UNMARKED, run=None),
}
COMBINATIONS = [(place, kind) for place, at in PLACES.items() for kind in (*at.kinds, *OTHER)]


def damage(path: Path, kind: str, kinds: dict[str, Damage]) -> None:
    if kind == "a folder":
        path.unlink()
        path.mkdir()
    elif kind == "no permission":
        path.chmod(0)
    else:
        data = path.read_bytes()
        path.write_bytes(kinds[kind](data))
        assert path.read_bytes() != data, "the damage is one"


def contents(folder: Path) -> Counter[bytes]:
    """Of all files that can be read, databases left out: SQLite mends them by looking."""
    found: Counter[bytes] = Counter()
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(("optuna", "mlflow")):
            with contextlib.suppress(PermissionError):
                found[path.read_bytes()] += 1
    return found


def test_there_are_more_than_a_hundred_combinations() -> None:
    assert len(COMBINATIONS) > 150
    assert {kind for _, kind in COMBINATIONS} >= {*BYTES, *JSON, *OTHER}


def test_the_whole_study_has_no_finding(home: Path) -> None:
    """The control of all that follows."""
    asked = typed("doctor", "kept.yaml")
    assert (asked.exit_code, asked.stdout) == (0, "6 of 6 work folders are whole.\n")
    assert json.loads(typed("doctor", "kept.yaml", "--json").stdout)["findings"] == []


@pytest.mark.parametrize(("place", "kind"), COMBINATIONS)
def test_damage_is_noticed_and_is_one_run_s_trouble(
    place: str, kind: str, home: Path, before: dict[int, Any], caplog: pytest.LogCaptureFixture
) -> None:
    at, folder = PLACES[place], home / "mlruns"
    path = folder / at.path
    damage(path, kind, at.kinds)
    stood = contents(folder)

    if not path.name.startswith("."):  # after a damaged mark MLflow is told again
        with caplog.at_level(logging.WARNING):
            now = listed(typed("list", "kept.yaml", "--json"))
        assert now.keys() == before.keys()
        own = {"params", "objectives", "digest"}
        others = [number for number in before if number != at.run]
        for number in others:
            assert {key: now[number][key] for key in own} == {key: before[number][key] for key in own}
        if at.is_read:
            assert at.path in caplog.text, "the run is named by its path"

    health = look_through(Path("mlruns"), load_config_of())
    named = {str(finding.path.relative_to("mlruns")) for finding in health.findings}
    assert named == {at.path if "checkpoints" not in at.path else CHECKPOINT}
    assert all(finding.run.startswith(f"trial {at.run} of kept") for finding in health.findings if at.run is not None)
    assert contents(folder) == stood, "looking changes nothing"

    assert all(finding.moved for finding in mend(health).findings)
    assert not stood - contents(folder), "nothing is deleted"
    after = look_through(Path("mlruns"), load_config_of())
    assert [finding.what for finding in after.findings if "is gone" not in finding.what] == []
    assert {finding.path.name for finding in after.findings} <= {"result.json"}, "what is to be trained again"
    assert after.aside


@pytest.mark.parametrize("name", ["result.json", "progress.jsonl", "rows.safetensors", "geometry.safetensors"])
def test_a_file_that_is_gone_is_noticed(name: str, home: Path) -> None:
    (home / "mlruns" / WORK / name).unlink()
    asked = typed("doctor", "kept.yaml")
    assert asked.exit_code == 1
    assert f"damaged: {WORK}/{name} (trial 1 of kept): " in asked.stdout


@pytest.mark.parametrize("name", ["rows", "geometry"])
def test_arrays_are_verified_by_who_shows_or_draws_them(
    name: str, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = home / "mlruns" / WORK / f"{name}.safetensors"
    assert "arrays are as they were written" in typed("show", "1", "kept.yaml").stdout, "the control"
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80  # the sign of the last number
    path.write_bytes(data)
    shown = typed("show", "1", "kept.yaml")
    assert shown.exit_code == 0
    assert re.search(rf"damaged: mlruns/{WORK}/{name}\.safetensors", re.sub(r"\n +", "", shown.stdout))
    assert json.loads(typed("show", "1", "kept.yaml", "--json").stdout)["is_whole"] is False
    if name == "geometry":  # the report draws it
        with caplog.at_level(logging.WARNING):
            assert typed("report", "kept.yaml").exit_code == 0
        assert f"trial 1 is left out: mlruns/{WORK}/geometry.safetensors" in caplog.text
        report = (home / "mlruns" / "studies" / "kept" / "report.md").read_text(encoding="utf-8")
        assert "1 with a result" in report
        assert "1 damaged" in report


def load_config_of() -> StudyConfig:
    from study.cli.options import asked_to_read

    return asked_to_read("kept.yaml", None, None)
