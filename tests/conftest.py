"""Tiny real objects: a two-layer Llama with a byte-fallback tokenizer, a piece of the Folio, a lexicon."""

import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser
from sqlalchemy.engine import Engine
from tools import need
from training_folder import Training
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer

from bench import small_base
from bench.browser import open_browser
from bench.migrated import migrated_once
from study.config import StudyConfig, check_config
from study.engine.drive import drive
from study.engine.driver import StudyOutcome
from study.engine.executor import Watcher
from study.runs.run import Role, Run
from wake2vec import Progress
from wake2vec.config import (
    DEFAULT_FOLDER,
    CorpusConfig,
    MachineConfig,
    ModelConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
    VocabularyConfig,
)
from wake2vec.data.lexicon import read_lexicon
from wake2vec.data.pieces import learn_pieces
from wake2vec.training.model import load_tokenizer

TRIALS = 4
WORDS = [
    "haue",
    "vpon",
    "loue",
    "selfe",
    "giue",
    "doe",
    "hore",
    "neuer",
    "euer",
    "ouer",
    "riuer",
    "vnto",
    "zephyrous",
]


# How fast a machine is, is no property of the code: a busy one passes too.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


LONGEST = [
    "test_notebook",
    "test_cluster",
    "test_study",
    "test_shared_faults",
    "test_stop",
    "test_optimiser",
    "test_terminal",
]
"""The files that take longest. Each goes to one process whole: the last to begin decides when all is done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path.stem, len(LONGEST)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        need(*mark.args)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was left out, for want of what, and how to get it: a line for each, with -q too."""
    for reason, count in Counter(skipped.longrepr[2] for skipped in terminalreporter.stats.get("skipped", [])).items():
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.write_line(f"left out: {tests} for want of {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    need("chromium")
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def migrate() -> Iterator[Callable[[Engine], None]]:
    """MLflow makes a database by all its migrations: an eighth of a small study's time. Gives MLflow's own function."""
    with migrated_once() as migrate:
        yield migrate


@pytest.fixture(scope="session")
def text() -> str:
    """40 kB of the Folio, with lines that hold rare letters and double spaces."""
    folio = (DEFAULT_FOLDER / "corpus.txt").read_text(encoding="utf-8")[:40_000]
    return folio + "the next song of the shore  brings café ☃ back\nvpon the hore, haue (haue) o'haue\n"


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory, text: str) -> Path:
    """A folder with `model/`, `corpus.txt` and `lexicon.txt`."""
    folder = tmp_path_factory.mktemp("inputs")
    build_base(folder / "model", text)
    (folder / "corpus.txt").write_text(text, encoding="utf-8")
    (folder / "lexicon.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def config(inputs: Path) -> RunConfig:
    """A trial of six steps."""
    return RunConfig(
        model=ModelConfig(path=str(inputs / "model")),
        corpus=CorpusConfig(path=str(inputs / "corpus.txt"), block_tokens=32),
        vocabulary=VocabularyConfig(lexicon=str(inputs / "lexicon.txt")),
        train=TrainConfig(steps=6, lr=3e-3, batch_blocks=4, precision="float32", evaluate_every_steps=3),
        sample=SampleConfig(prompt="Enter the King", count=2, new_tokens=8),
        machine=MachineConfig(threads=1),
    )


@pytest.fixture(scope="session")
def pieces(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first pieces of the trial's corpus, as many as it has new words."""
    path, tokenizer = tmp_path_factory.mktemp("pieces") / "pieces.txt", load_tokenizer(Path(config.model.path))
    count = len(read_lexicon(config.vocabulary.lexicon).words)
    words = learn_pieces(Path(config.corpus.path).read_text(encoding="utf-8"), tokenizer, count).words
    path.write_text("\n".join(words), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def vary(config: RunConfig, pieces: Path) -> Callable[..., RunConfig]:
    """`vary(train={"steps": 2})`: the trial with some knobs changed; the form `pieces` has a lexicon of its own."""

    def varied(**sections: object) -> RunConfig:
        tree = config.model_dump()
        for name, values in sections.items():
            tree[name] = {**tree[name], **values} if isinstance(values, dict) else values
        if tree["vocabulary"]["form"] == "pieces":
            tree["vocabulary"]["lexicon"] = str(pieces)
        return RunConfig.model_validate(tree)

    return varied


@pytest.fixture(scope="session")
def twins(inputs: Path, text: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One function in two folders, a little trained: in `tied` the final norm weighs each column, in `untied` the head.

    So a head that is thrown away is missed.
    """
    folder = tmp_path_factory.mktemp("twins")
    tokenizer = LlamaTokenizer.from_pretrained(inputs / "model")
    model = LlamaForCausalLM.from_pretrained(inputs / "model")
    weights = 2 * torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(3))
    norm = model.model.norm.weight.requires_grad_(False)
    norm.data.copy_(weights)
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight is not norm], lr=1e-2)
    ids = tokenizer(text, return_tensors="pt")["input_ids"][0]
    for step in range(60):
        block = ids[torch.arange(16)[:, None] * 512 + 32 * (step % 16) + torch.arange(32)]
        optimizer.zero_grad()
        model(input_ids=block, labels=block).loss.backward()
        optimizer.step()
    model.save_pretrained(folder / "tied")
    untied = LlamaForCausalLM(LlamaConfig(**{**model.config.to_dict(), "tie_word_embeddings": False}))
    head = model.get_input_embeddings().weight * weights
    untied.load_state_dict(
        {**model.state_dict(), "model.norm.weight": torch.ones_like(weights), "lm_head.weight": head}
    )
    untied.save_pretrained(folder / "untied")
    for name in ("tied", "untied"):
        tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in ("tied", "untied")}


def unpack(archive: Path, folder: Path) -> None:
    """A study that an earlier version kept, of `tests/golden`."""
    with tarfile.open(archive) as content:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python has it from 3.11.4 on
        content.extractall(folder, **safely)  # noqa: S202 (this project's own)


class Silent(Watcher):
    """A watcher that remembers how trials ended, and calls `on_record` for each record."""

    def __init__(self, on_record: Callable[[Progress], None] = lambda record: None) -> None:
        self.ended: list[Run] = []
        self._on_record = on_record

    def progressed(self, name: str, record: Progress) -> None:
        self._on_record(record)

    def mlflow_lacks(self, what: str) -> None:
        raise AssertionError(what)

    def run_ended(self, run: Run) -> None:
        self.ended += [run] if run.role is Role.TRIAL else []


@pytest.fixture(scope="session")
def tree(config: RunConfig) -> dict[str, Any]:
    study = {
        "name": "small",
        "trials": TRIALS,
        "startup_trials": 2,
        "space": {
            "init.noise_scale": {"low": 0.05, "high": 2.0, "log": True},
            "train.lr": {"low": 1e-4, "high": 1e-2, "log": True},
            "train.steps": {"low": 4, "high": 8, "log": True},
        },
        "objectives": [
            {"result": "validation.loss", "goal": "minimize"},
            {"result": "geometry.norm_gap_d", "goal": 0.0},
            {"result": "geometry.isotropy_new", "goal": "maximize"},
            {"result": "geometry.collapse_share", "goal": "minimize"},
        ],
        "baseline": {"init.noise_scale": 0.1, "train.lr": 3e-4, "train.steps": 8},
    }
    return {"study": study, **config.model_dump()}


@pytest.fixture(scope="session")
def study_config(tree: dict[str, Any]) -> StudyConfig:
    return check_config(tree)


@pytest.fixture(scope="session")
def done(study_config: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyOutcome]:
    """A finished study; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("done") / "mlruns"
    return folder, drive(study_config, folder, Silent())


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of a mirror can see it, and a thousand passes would take minutes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """Two trials are done, the third has a checkpoint."""
    training = Training(tmp_path / "mlruns")
    training.act_until(lambda: len(training.finished()) == 2)
    training.act(4)
    return training


@pytest.fixture
def drive_folder(tmp_path: Path) -> Path:
    (tmp_path / "drive").mkdir()
    return tmp_path / "drive" / "mirror"


def build_base(folder: Path, text: str, **settings: object) -> None:
    """The small base, its pieces learned from the part of the fixture `text` that is plain."""
    small_base.build_base(folder, text.split("the next song")[0], **settings)
