"""The report of a checkpoint as a person asks for it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from study.analysis.tables import sections
from study.cli.main import app
from wake2vec import METRICS, PHASE1_ADDRESSES, RunConfig, WorkFolder, export_folder, run, undefined_reasons


@pytest.fixture(scope="module")
def exported(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    result = run(config, folder / "trials")
    export_folder(result, WorkFolder(folder / "trials" / result.digest), folder / "export", "card")
    return folder / "export"


@pytest.fixture
def analyse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["analyse", *map(str, arguments)])


def test_the_whole_report_in_80_columns_with_page_picture_and_json(
    analyse: Callable[..., Result], exported: Path, inputs: Path, tmp_path: Path
) -> None:
    known = ("--before", inputs / "model", "--corpus", inputs / "corpus.txt", "--against", "phase1")
    shown = analyse(exported, *known)
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.stdout.splitlines()[:-1])) <= 80
    for part in ("600, as the export says", "norm gap d", "isotropy ", "≥101", "the model before has no new rows"):
        assert part in shown.stdout
    names = ["norm gap d", "isotropy of new rows", "collapse", "byte collapse", "mean cosine of new rows"]
    names += ["collapse, mean taken off"]
    first = shown.stdout[shown.stdout.index("What to read first") : shown.stdout.index("Groups of rows")]
    assert [line.split("  ")[0].strip() for line in first.splitlines()[2:] if line.strip()] == names
    folder = tmp_path / "analysis" / "export"
    assert sorted(path.name for path in folder.iterdir()) == ["analysis.html", "analysis.json", "embedding.png"]
    with Image.open(folder / "embedding.png") as picture:
        assert picture.size == (1200, 912)
    page = (folder / "analysis.html").read_text()
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert page.count("data:image/png;base64,") == 1
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page and "@media print" in page
    report = json.loads((folder / "analysis.json").read_text())
    assert {address for address, value in report["numbers"].items() if value is None} == set(report["undefined"])
    assert set(report["numbers"]) <= set(METRICS)
    assert {"haue", "loue"} <= {near["word"] for near in report["neighbours"]}
    for key, address in PHASE1_ADDRESSES.items():
        *path, last = key.split(".")
        node = report["phase1"]
        for part in path:
            node = node[part]
        assert node.get(last, report["numbers"][address]) == report["numbers"][address], key
    assert "loss" not in report["phase1"]


def test_what_isnt_known_is_said_and_drawn_as_that(
    analyse: Callable[..., Result], exported: Path, tmp_path: Path
) -> None:
    shown = analyse(exported / "model.safetensors", "--base-size", 600, "--json")
    report = json.loads(shown.stdout)
    assert report["numbers"]["geometry.byte_collapse_share"] is None
    assert report["undefined"]["geometry.drift_base_cosine"] == "no --before was given"
    assert report["undefined"]["geometry.collapse_share_unseen"] == "no --corpus was given"
    assert "without a tokenizer" in report["undefined"]["geometry.byte_collapse_share"]
    assert "drift" not in report["phase1"]
    page = (tmp_path / "analysis" / "model" / "analysis.html").read_text()
    assert "no --before was given" in page


def test_another_analysis_isnt_overwritten_and_the_same_is_the_same(
    analyse: Callable[..., Result], exported: Path, inputs: Path, tmp_path: Path
) -> None:
    assert analyse(exported, "--out", "out").exit_code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert analyse(exported, "--out", "out").exit_code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    other = analyse(exported, "--out", "out", "--before", inputs / "model")
    assert other.exit_code == 2
    assert other.stderr == "error: out holds something else than this analysis: remove it, or give another --out\n"
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    (tmp_path / "analysis" / "export").mkdir(parents=True)
    (tmp_path / "analysis" / "export" / "analysis.html").write_text("mine")
    assert analyse(exported).stdout.rstrip().endswith("analysis/export-2/analysis.html")
    assert (tmp_path / "analysis" / "export" / "analysis.html").read_text() == "mine"


def test_against_an_earlier_summary_every_shared_number_is_set_beside(
    analyse: Callable[..., Result], exported: Path, tmp_path: Path
) -> None:
    old = {"model": "old", "base_vocab": 500, "norms": {"cohens_d": 1.5}, "loss": {"final_eval": 8.5}}
    (tmp_path / "old.json").write_text(json.dumps({**old, "intrinsic_dim": {"new_90pct": 101}}))
    shown = analyse(exported, "--against", "old.json").stdout
    rows = {
        line.split()[0]: line.split()[1:] for line in shown.split("Against old.json")[1].splitlines() if line.strip()
    }
    assert rows["base_vocab"] == ["500", "600", "+100"]
    assert rows["intrinsic_dim.new_90pct"][0] == "≥101" and len(rows["intrinsic_dim.new_90pct"]) == 2
    assert float(rows["norms.cohens_d"][2]) == pytest.approx(float(rows["norms.cohens_d"][1]) - 1.5, abs=0.02)
    assert "loss" not in rows
    again = analyse(exported, "--against", "analysis/export/analysis.json").stdout.split("Against")[1]
    differences = re.findall(r"^geometry\.\S+ +\S+ +\S+ +(\S+) *$", again, re.MULTILINE)
    assert len(differences) > 20 and set(differences) == {"0"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "error: no folder or .safetensors file gone"),
        (["{model}", "--against", "gone.json"], "error: --against must be a summary in JSON, or phase1: no file gone"),
        (["{model}", "--references", "9-3"], "error: ids are given like 3-258,700: '9-3' isn't such a list"),
        (["{model}", "--base-size", "613"], "error: a report needs at least 2 base and 2 new rows"),
        (["{model}", "--corpus", "gone.txt"], "error: the corpus must be a text file: gone.txt does not exist"),
    ],
)
def test_what_a_user_can_put_right_is_one_line_and_makes_nothing(
    analyse: Callable[..., Result], exported: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    shown = analyse(*(argument.format(model=exported) for argument in arguments))
    assert shown.exit_code == 2
    assert shown.stderr.startswith(message) and shown.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_summary_of_something_else_is_refused_before_anything_is_written(
    analyse: Callable[..., Result], exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')
    assert "error: --against shares no number" in analyse(exported, "--against", "other.json").stderr
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]
    (tmp_path / "geometry.json").write_text('{"norms": {"cohens_d": 1.5}}')  # as it says
    assert "norms.cohens_d" in analyse(exported, "--against", "geometry.json").stdout


def test_rows_of_any_width_and_scale_are_drawn(analyse: Callable[..., Result], exported: Path, tmp_path: Path) -> None:
    rows = load_file(exported / "model.safetensors")["model.embed_tokens.weight"]
    save_file({"rows": 1e4 * rows.half().float()[:, :3].contiguous()}, tmp_path / "m.safetensors")
    save_file({"rows": torch.randn(5, 2)}, tmp_path / "five.safetensors")
    for name, base in (("m", 600), ("five", 3)):
        shown = analyse(tmp_path / f"{name}.safetensors", "--base-size", base, "--references", "0-1")
        assert shown.exit_code == 0, shown.output
        assert max(map(len, shown.stdout.splitlines()[:-1])) <= 80


def test_every_number_has_one_place_in_the_tables() -> None:
    addresses = [address for address in METRICS if address.startswith("geometry.")]
    numbers = dict.fromkeys(addresses, 0.5)
    lines = [line for lines in sections(numbers).values() for line in lines]
    placed = [cell.address for line in lines for cell in line.cells.values()]
    assert len(placed) == len(set(placed))
    belonging = {address for address in numbers if address not in placed}
    assert all(address.endswith(("_null", "_low", "_high")) for address in belonging)
    cells = {cell.address: cell for line in lines for cell in line.cells.values()}
    assert cells["geometry.isotropy_new"].low == cells["geometry.norm_ks"].null == 0.5
    assert cells["geometry.byte_collapse_share"].null == 0.5
    assert cells["geometry.norm_gap_d"].phase1 == 5.49
    assert [line.name for line in sections(numbers)["Pairs of rows"]] == [
        "cosine mean",
        "cosine centred mean",
        "cosine std",
    ]


def test_an_incoherent_reference_group_is_the_reason_where_it_is() -> None:
    numbers = {"geometry.byte_collapse_share": None, "geometry.reference_coherence": 0.1234}
    reason = "the reference rows don't lie in one place: mean cosine 0.123, under 0.5"
    assert undefined_reasons(numbers, {}) == {"geometry.byte_collapse_share": reason}
