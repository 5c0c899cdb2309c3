"""Bad input: the tables of what people give, as whole commands, then made-up input for as long as is asked."""

import os
import tempfile
from importlib import import_module
from pathlib import Path

from bench.faults.attempt import command, one_step
from bench.faults.commands import all_commands, lay_out
from bench.faults.generated import attempts, tally
from bench.faults.models import BAD_MODELS, TAKEN
from bench.faults.texts import FOLIO
from bench.figures import Figure
from bench.small_base import build_base

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def run(count: int, seed: int) -> list[Figure]:
    """`count` inputs are made up, from that seed on; what isn't clean is printed with the seed that makes it again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_base(base := folder / "base", FOLIO)
        load_all()  # before any fork: all share it
        figures = _tables(folder, base)
        counts = tally(attempts(count, seed, base, folder / "made up"), print)
    for kind, ended in counts.items():
        told = ", ".join(f"{number:,} {how}" for how, number in sorted(ended.items()))
        print(f"  {kind}: {told}")
    total = {how: sum(ended[how] for ended in counts.values()) for how in ("done", "refused", "failed trial")}
    bad = {how: sum(ended[how] for ended in counts.values()) for how in ("traceback", "hang", "unclean")}
    return [
        *figures,
        Figure("made-up inputs", sum(ended.total() for ended in counts.values()), ""),
        *(Figure(f"of them: {how}", number, "") for how, number in total.items()),
        *(Figure(f"of them: {how}", number, "", "0", number == 0) for how, number in bad.items()),
    ]


def load_all() -> None:
    """Import what commands import when they need it."""
    for name in (
        *("study.cli.main", "study.engine.drive", "study.analysis.analyse", "study.export.export"),
        *("study.report.page", "wake2vec.lexicon_audit", "wake2vec.trial"),
    ):
        import_module(name)


def _tables(folder: Path, base: Path) -> list[Figure]:
    (folder / "commands").mkdir()
    lay_out(folder / "commands")
    told = [command(given(), folder / "commands") for given in all_commands(folder / "commands").values()]
    for place, (name, spoil) in enumerate(BAD_MODELS.items()):
        if name not in TAKEN:
            model = folder / f"model-{place}" / "model"
            model.mkdir(parents=True)
            for file in base.iterdir():
                os.link(file, model / file.name)
            spoil(model)
            told.append(one_step(["model.path=model"], model.parent))
    clean = sum(one.is_clean for one in told)
    made = sum(bool(one.made) for one in told)
    return [
        Figure(
            "commands, overrides, profiles, paths and models of the tables", len(told), "", ">= 500", len(told) >= 500
        ),
        Figure("of them one line, exit code 2", clean, "", "all", clean == len(told)),
        Figure("of them created anything", made, "", "0", made == 0),
    ]
