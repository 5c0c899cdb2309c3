"""The commands as a person types them."""

import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from study.cli.main import app
from study.engine.driver import StudyOutcome
from study.runs.lease import only_driver


def study(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "study", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=None, **options)


@pytest.fixture(scope="module")
def profile(tree: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("profile") / "small.yaml"
    path.write_text(yaml.safe_dump(tree))
    return str(path)


@pytest.mark.parametrize(
    "command",
    [[], ["run"], ["ui"], ["export"], ["report"], ["analyse"], ["clean"], ["status"], ["list"], ["show"], ["compare"]],
)
def test_help_teaches(command: list[str]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], prog_name="study")
    assert shown.exit_code == 0
    assert "Usage: study" in shown.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tinny"], "error: no profile tinny: give one of smollm2, t4, tiny"),
        (["run", "t4"], "error: profile t4 needs corpus.path=... (CORPUS=... with make) and"),
        (
            ["run", "t4", "corpus.path=no.txt", "vocabulary.lexicon=no.txt"],
            "error: the corpus must be a text file: no.txt",
        ),
        (
            ["run", "smollm2"],
            "error: the base model must be a local folder: no folder models/smollm2-135m; `make model` makes",
        ),
        (["run", "tiny", "train.weight_decay=fast"], "error: train.weight_decay: Input should be a valid number"),
        (["export", "tiny"], "error: no study tiny in mlruns: run `make study` first"),
        (["ui", "tiny"], "error: no study tiny in mlruns: run `make study` first"),
    ],
)
def test_what_a_user_can_put_right_is_one_line_and_makes_nothing(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 2
    assert shown.stderr.count("\n") == 1
    assert shown.stderr.startswith(message)
    assert not list(tmp_path.iterdir())


def test_a_finished_study_says_so_and_its_tables_fit_80_columns(done: tuple[Path, StudyOutcome], profile: str) -> None:
    shown = study("run", profile, "--folder", str(done[0]))
    assert shown.returncode == 0, shown.stderr
    assert "Nothing to do: the study has its 4 trials." in shown.stdout
    assert "baseline" in shown.stdout
    lines = [line.rstrip() for line in shown.stdout.splitlines()]
    assert [line for line in lines if len(line) > 80 and profile not in line and str(done[0]) not in line] == []
    assert shown.stderr == ""


def test_clean_asks_and_without_a_yes_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns").mkdir()
    for name in ("optuna.db", "README.md"):
        (tmp_path / "mlruns" / name).write_text("x")
    assert "Nothing was deleted." in CliRunner().invoke(app, ["clean"]).output
    assert (tmp_path / "mlruns" / "optuna.db").exists()
    assert "Deleted." in CliRunner().invoke(app, ["clean", "--yes"]).output
    assert [path.name for path in (tmp_path / "mlruns").iterdir()] == ["README.md"]


def test_clean_takes_what_this_project_made_and_nothing_else(
    done: tuple[Path, StudyOutcome], profile: str, tmp_path: Path
) -> None:
    folder, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    shutil.copytree(done[0], folder)
    before = {path.name for path in folder.iterdir()}
    for path in (folder / "thesis.txt", folder / "photos" / "a.jpg", folder / "model.db", elsewhere / "kept.txt"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (folder / "shelf").symlink_to(elsewhere)

    def clean(where: Path) -> Result:
        return CliRunner().invoke(app, ["clean", "--yes", "--folder", str(where)])

    with only_driver(folder, "tiny"):
        assert "is in use: tiny is held by process" in clean(folder).stderr
    (tmp_path / "link").symlink_to(folder)
    refused = clean(tmp_path / "link")
    assert refused.exit_code == 2 and refused.stderr.strip().endswith(f"give --folder {folder}")
    assert before <= {path.name for path in folder.iterdir()}
    told = clean(folder)
    assert "Deleted." in told.output
    assert "project stays: model.db, photos, shelf, thesis.txt" in " ".join(told.output.split())
    assert {path.name for path in folder.iterdir()} == {"thesis.txt", "photos", "model.db", "shelf"}
    assert (elsewhere / "kept.txt").exists() and (folder / "photos" / "a.jpg").exists()
    assert "no results." in clean(elsewhere).output and (elsewhere / "kept.txt").exists()


def test_nothing_is_deleted_where_a_name_of_this_project_is_a_link(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "mlruns"
    for path in (elsewhere / "kept.txt", folder / "optuna.db"):
        path.parent.mkdir()
        path.write_text("x")
    (folder / "trials").symlink_to(elsewhere)
    told = CliRunner().invoke(app, ["clean", "--yes", "--folder", str(folder)])
    assert told.exit_code == 2 and f"{folder / 'trials'} is one, to {elsewhere}" in told.stderr
    assert (elsewhere / "kept.txt").exists() and (folder / "optuna.db").exists()
    (folder / "trials").rename(tmp_path / "moved")  # as it says
    assert "Deleted." in CliRunner().invoke(app, ["clean", "--yes", "--folder", str(folder)]).output
    assert list(folder.iterdir()) == [] and (elsewhere / "kept.txt").exists()


def test_the_ui_answers_on_loopback_with_links_to_the_trials_and_to_who_has_one_alone(
    done: tuple[Path, StudyOutcome], profile: str
) -> None:
    port = 5711
    command = [
        sys.executable,
        "-u",
        "-m",
        "study",
        "ui",
        profile,
        "--folder",
        str(done[0]),
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            lines = []
            for line in server.stdout or []:
                lines.append(line)
                if "Ctrl-C" in line:
                    break
            links = re.findall(r"http://\S+", "".join(lines))
            (front,) = {link.partition("#")[0] for link in links}
            assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/\?token=[\w-]{{43}}", front)
            assert [("compareRunsMode=CHART" in link, "compare-runs?" in link) for link in links] == [
                (False, False),
                (True, False),
                (False, True),
                (False, False),
            ]
            with urllib.request.urlopen(front) as answer:  # noqa: S310
                assert answer.status == 200
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(front.partition("?")[0])  # noqa: S310
        finally:
            server.terminate()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
