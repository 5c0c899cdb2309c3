"""Whole commands with bad input: one line, exit code 2, nothing made; no test of them takes a fork or a network."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.faults.attempt import command
from bench.faults.commands import all_commands, lay_out
from bench.faults.models import BAD_MODELS
from bench.faults.texts import BAD_TEXTS
from study.cli.main import app
from study.cli.options import Terminal
from study.format import printable
from study.show.table import Column, Table, in_terminal

CASES = tuple(all_commands(Path()))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("here")
    lay_out(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield folder


@pytest.mark.parametrize("name", CASES)
def test_a_command_that_cant_be_done_is_one_line_and_makes_nothing(name: str, here: Path) -> None:
    arguments = all_commands(here)[name]()
    told = command(arguments, here, apart=False)
    assert told.fault == ""
    assert len(told.errors) < 2000


def test_there_are_as_many_bad_inputs_as_are_promised() -> None:
    assert len(CASES) + len(BAD_MODELS) + len(BAD_TEXTS) >= 500
    assert len(BAD_MODELS) >= 54


def test_the_check_notices_a_traceback_a_second_line_a_hang_and_what_is_made(here: Path) -> None:
    """The controls of all tests of bad input."""
    import time

    from bench.faults.attempt import attempt

    def two_lines() -> None:
        import sys

        sys.stderr.write("error: a\nb\n")
        raise SystemExit(2)

    def making() -> None:
        import sys

        Path("made").touch()
        sys.stderr.write("error: a\n")
        raise SystemExit(2)

    found = [attempt(work, here, limit_s=0.3).fault.split(":")[0] for work in (lambda: 1 / 0, two_lines, making)]
    assert found == ["traceback", "not one line", "made made"]
    (here / "made").unlink()
    for apart in (True, False):
        assert attempt(lambda: time.sleep(5), here, limit_s=0.2, apart=apart).fault == "hung"


def test_nothing_is_asked_for_is_the_help_and_a_wrong_word_is_one_line() -> None:
    assert "Usage: " in CliRunner().invoke(app, []).output
    told = CliRunner().invoke(app, ["show"], prog_name="study")
    assert told.exit_code == 2 and told.stderr == "error: Missing argument 'trial'; see `study show --help`\n"
    assert "Usage: study show" in CliRunner().invoke(app, ["show", "--help"], prog_name="study").output  # as it says


NAME = "old[/b] [red]:smile: \x1b[31mx\u202ey"


def test_a_terminal_takes_no_name_for_colours_codes_or_commands(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    table = Table(NAME, Column("", [NAME], "left"), [[Column("[/b]", [NAME], "left", 80)]])
    terminal.print(NAME)
    for part in in_terminal(table):
        terminal.print(part)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\u202e" not in shown
    assert shown.count("old[/b] [red]:smile: ") >= 2 and r"\x1b[31mx\u202ey" in shown
    assert printable("a\nb\tc\udce9 é می\u200c") == r"a\nb\tc\udce9 é می" + "\u200c"
