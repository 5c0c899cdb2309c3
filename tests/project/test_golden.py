"""What people are shown of one kept study, word for word: it changes on purpose, or not at all.

A change that is meant: `GOLDEN=write make test`, or `GOLDEN=write .venv/bin/pytest tests/project/test_golden.py`, and
read the diff before you commit it. The study was made by an earlier version (`tests/golden/make.py`): it must stay
readable.
"""

import difflib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import unpack
from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner

from study.cli.main import app
from study.config import StudyConfig, load_config
from study.engine.measures import bring_up_to_date
from study.engine.side_by_side import Pace
from study.export.card import model_card
from study.runs.reader import read_record
from study.tracking.database import tracking_uri
from study.tracking.sync import Projection

HERE = Path(__file__).parents[1] / "golden"
ASKED = ("golden.yaml", "study.trials=9")
COMMANDS = {
    "status": ("status", *ASKED),
    "list": ("list", *ASKED, "--sort", "loss"),
    "show-chosen": ("show", "chosen", *ASKED),
    "show-stopped": ("show", "4", *ASKED),
    "show-failed": ("show", "7", *ASKED),
    "show-open": ("show", "8", *ASKED),
    "compare": ("compare", "baseline", "chosen", *ASKED),
    "compare-stopped": ("compare", "4", "baseline", *ASKED),
}
NAMES = [*COMMANDS, *(f"{name}.json" for name in COMMANDS), "plan", "report.md", "report.html", "card.md", "mlflow"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kept study's folder, to work in, once it has all figures of today."""
    home = tmp_path_factory.mktemp("golden")
    unpack(HERE / "study-format-4.tar.xz", home)
    before = Path.cwd()
    os.chdir(home)
    bring_up_to_date(config(), home / "mlruns", lambda said: None)
    yield home
    os.chdir(before)


@pytest.fixture(scope="module")
def shown(home: Path) -> Callable[[str], str]:
    return lambda name: masked(name, OTHERS[name](home) if name in OTHERS else typed(name))


def typed(name: str) -> str:
    """What the command prints; a name that ends in .json asks for JSON."""
    plain = name.removesuffix(".json")
    printed = CliRunner().invoke(app, [*COMMANDS[plain], *(["--json"] if plain != name else [])])
    assert printed.exit_code == 0, printed.output
    return printed.output


def plan(home: Path) -> str:
    """What workers do is the machine's affair: how many there are in the words is given here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.cli.plan.measure_workers", lambda *_: Pace({1: 1.0, 2: 1.5}))
        printed = CliRunner().invoke(app, ["plan", *ASKED])
    assert printed.exit_code == 0, printed.output
    return printed.output


def report(suffix: str) -> Callable[[Path], str]:
    def written(home: Path) -> str:
        printed = CliRunner().invoke(app, ["report", *ASKED])
        assert printed.exit_code == 0, printed.output
        return (home / "mlruns" / "studies" / "golden" / f"report.{suffix}").read_text(encoding="utf-8")

    return written


def card(home: Path) -> str:
    record = read_record(config(), home / "mlruns")
    return model_card(record, record.choice.trial, record.choice.reason, None)


def mlflow(home: Path) -> str:
    """Experiment and runs, as a database made anew from the work folders has them."""
    results = shutil.copytree(home / "mlruns", home / "anew", ignore=shutil.ignore_patterns("mlflow.db", "artifacts"))
    record = read_record(config(), results)
    projection = Projection(config(), results, record.inputs)
    projection.missing(record)
    projection.study(record)
    client = MlflowClient(tracking_uri(results))
    (experiment,) = (one for one in client.search_experiments() if one.name == "golden")
    runs = client.search_runs([experiment.experiment_id])
    tags = [f"tag {key} = {value}" for key, value in sorted(experiment.tags.items())]
    return "\n".join([*tags, *(line for run in sorted(runs, key=_name) for line in _layout(run, client))])


def _name(run: Run) -> str:
    return str(run.info.run_name)


def _layout(run: Run, client: MlflowClient) -> Iterator[str]:
    yield f"\n{_name(run)}: {run.info.status}"
    yield from (f"  param {key} = {value}" for key, value in sorted(run.data.params.items()))
    yield from (f"  tag {key} = {value}" for key, value in sorted(run.data.tags.items()) if "note" not in key)
    for key in sorted(run.data.metrics):
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, key)]
        yield f"  metric {key} = {run.data.metrics[key]:.4g} at {steps[0]}..{steps[-1]}, {len(steps)}"
    yield from (f"  artifact {file.path}" for file in client.list_artifacts(run.info.run_id))


def config() -> StudyConfig:
    return load_config(*ASKED[:1], ASKED[1:])


OTHERS: dict[str, Callable[[Path], str]] = {
    "plan": plan,
    "report.md": report("md"),
    "report.html": report("html"),
    "card.md": card,
    "mlflow": mlflow,
}


def masked(name: str, text: str) -> str:
    """Without what the moment, the machine and its libraries decide."""
    text = re.sub(r"\b[0-9a-f]{32}\b", "<id>", text.replace("%22", '"'))
    text = re.sub(r"last seen [^\n]*? ago", "last seen <ago>", text)
    text = re.sub(r"(\d{4}-\d\d-\d\d)([ T]\d\d:\d\d(:\d\d)?)?", "<date>", text)
    text = re.sub(r"remeasured = .*", "remeasured = <date>", text)
    text = re.sub(r"retention\.path = .*", "retention.path = <path>", text)
    text = re.sub(r"mlflow\.(user|source\.\w+) = .*", r"mlflow.\1 = <machine>", text)
    text = re.sub(r"-?\d+\.\d{5,}(e-?\d+)?", lambda found: f"{float(found[0]):.4g}", text)  # processors round otherwise
    if name == "plan":
        text = re.sub(
            r"\s*Loading weights:.*it/s\]\s*", "\n  ", text, flags=re.DOTALL
        )  # where no test loaded them before
        text = re.sub(r"\n\n+", "\n\n", re.sub(r"[\d.,]+( ?(ms|s|min|h|kB|MB|GB)\b)?", "#", text))
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_is_what_was_shown(name: str, shown: Callable[[str], str]) -> None:
    path = HERE / (name if "." in name else f"{name}.txt")
    now = shown(name)
    if os.environ.get("GOLDEN") == "write":
        path.write_text(now, encoding="utf-8")
    before = path.read_text(encoding="utf-8")
    assert now == before, "".join(difflib.unified_diff(before.splitlines(True), now.splitlines(True), "before", "now"))
