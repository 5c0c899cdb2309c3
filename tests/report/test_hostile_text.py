"""Text from a model, a lexicon or an error commands nothing where it is shown: reports, card, tags, files, terminal."""

import json
import re
import sqlite3
from pathlib import Path

import pytest
from conftest import unpack
from stored import rewrite
from typer.testing import CliRunner

from study.cli.main import app
from study.cli.options import asked_to_read
from study.export.card import model_card
from study.runs.reader import read_record
from study.runs.run import note_fault
from study.tracking.sync import Projection
from wake2vec import WorkFolder, read_result

ARCHIVE = Path(__file__).parents[1] / "golden" / "study-format-6.tar.xz"
CHOSEN, SPHERE = "7f032b9824bb5f87", "296df963650bf943"
HOSTILE = (
    "\x1b[2J\x1b]8;;https://evil.example\x07 \x9b31m \x00\x08 \u202egnp.exe\u202c \u2066x\u2069 \x7f "
    "<img src=x onerror=a()>\n"
    "```\n# not a heading of ours\n~~~~\n````````text\n| a | b |"
)
COMMAND = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""But for tabs and line feeds."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kept study, whose chosen trial wrote such a sample, and whose reference failed in such words."""
    home = tmp_path_factory.mktemp("hostile")
    unpack(ARCHIVE, home)
    work = WorkFolder(home / "mlruns" / "trials" / CHOSEN)
    result = read_result(work)
    near = result.neighbours[0]
    near = near.model_copy(update={"word": HOSTILE, "tokens": [HOSTILE] * len(near.tokens)})
    rewrite(work, {"samples": [HOSTILE] * 2, "neighbours": [near.model_dump()]})
    reference = WorkFolder(home / "mlruns" / "trials" / SPHERE)
    reference.result_path.unlink()
    note_fault(reference, HOSTILE)
    return home


@pytest.fixture(scope="module")
def told(home: Path) -> dict[str, str]:
    """All that is shown of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        config, folder = asked_to_read("kept.yaml", None, None), Path("mlruns")
        record = read_record(config, folder)
        Projection(config, folder, record.inputs).missing(record)
        Projection(config, folder, record.inputs).study(record)
        shown = {
            " ".join(words): CliRunner().invoke(app, [*words, "kept.yaml"]).output
            for words in (("list",), ("show", "chosen"), ("status",), ("compare", "0", "1"), ("report",), ("doctor",))
        }
        shown |= {
            f"{' '.join(words)} --json": CliRunner().invoke(app, [*words, "kept.yaml", "--json"]).output
            for words in (("list",), ("show", "chosen"), ("status",))
        }
        with sqlite3.connect("mlruns/mlflow.db") as database:
            for table, column in (("tags", "value"), ("experiment_tags", "value"), ("params", "value")):
                rows = database.execute(f"SELECT {column} FROM {table}")  # noqa: S608 - our own words
                shown[f"MLflow's {table}"] = "\n".join(str(row[0]) for row in rows)
        files = [*folder.glob("studies/kept/report.*"), folder / "trials" / CHOSEN / "sample.txt"]
        shown |= {path.name: path.read_text(encoding="utf-8") for path in files}
        shown["card"] = model_card(record, record.choice.trial, record.choice.reason, "Mine.\x1b[2J")
    return shown


def test_all_that_is_shown_was_looked_at(told: dict[str, str]) -> None:
    """The control: the hostile words are there, written out."""
    assert len(told) == 16
    assert "·31m" in told["show chosen"], "in a line of the terminal a dot is shorter"
    for place in ("report.md", "report.html", "card", "sample.txt"):
        assert "\\x1b" in told[place], place
    assert "\\x1b" in told["MLflow's tags"], "why the reference failed"
    assert json.loads(told["show chosen --json"])["samples"][0] == HOSTILE, "JSON has it whole, in escapes"


def test_nothing_of_it_is_a_command(told: dict[str, str]) -> None:
    assert COMMAND.search(HOSTILE)
    assert {place: found[0] for place, text in told.items() if (found := COMMAND.search(text))} == {}


def outside_fences(markdown: str) -> str:
    """As CommonMark parts it: a block ends at a line of at least as many of the same letter, and nothing else."""
    kept, fence = [], ""
    for line in markdown.split("\n"):
        bare = re.match(r" {0,3}(`{3,}|~{3,})([^`]*)$", line)
        if fence:
            if bare and bare[1][0] == fence[0] and len(bare[1]) >= len(fence) and not bare[2].strip():
                fence = ""
        elif bare:
            fence = bare[1]
        else:
            kept.append(line)
    assert not fence, "every block ends"
    return "\n".join(kept)


@pytest.mark.parametrize("place", ["report.md", "card"])
def test_a_sample_can_t_end_its_fence(place: str, told: dict[str, str]) -> None:
    assert "# not a heading of ours" in outside_fences("```\n```\n# not a heading of ours\n```\n```"), "the control"
    assert "# not a heading of ours" in told[place]
    outside = outside_fences(told[place])
    assert not re.search(r"^# not a heading", outside, re.MULTILINE)
    assert "<img" not in outside


def test_the_page_has_none_of_its_markup(told: dict[str, str]) -> None:
    assert "&lt;img src=x" in told["report.html"]
    assert "<img src=x" not in told["report.html"]
