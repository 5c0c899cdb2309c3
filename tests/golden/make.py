"""`python tests/golden/make.py`: the study that `tests/test_golden.py` shows, kept as study-format-4.tar.xz.

It was made once, by the version whose results have format 4, and isn't made again: later versions must read it. It has
finished, stopped, failed and open trials, anchors, a reference, repeats with another seed, and a checkpoint.
"""

import os
import re
import sys
import tarfile
import tempfile
from pathlib import Path

import torch
import yaml
from optuna.trial import TrialState

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from conftest import WORDS, Silent, build_base  # noqa: E402

from study.config import check_config  # noqa: E402
from study.engine.drive import drive  # noqa: E402
from study.runs.storage import load_study  # noqa: E402
from wake2vec import Progress, TrialStopped  # noqa: E402
from wake2vec.config import DEFAULT_FOLDER  # noqa: E402

ARCHIVE = HERE / "study-format-4.tar.xz"
STUDY = {
    "study": {
        "name": "golden",
        "trials": 7,
        "startup_trials": 7,
        "seeds": 2,
        "finalists": 2,
        "space": {
            "init.noise_scale": {"low": 0.05, "high": 2.0, "log": True},
            "train.lr": {"low": 1e-4, "high": 1e-2, "log": True},
            "train.steps": {"low": 4, "high": 8, "log": True},
            "vocabulary.form": {"choices": ["phase1", "word"]},
        },
        "objectives": [
            {"result": "validation.loss", "goal": "minimize"},
            {"result": "geometry.norm_gap_d", "goal": 0.0},
            {"result": "geometry.isotropy_new", "goal": "maximize"},
            {"result": "geometry.collapse_share", "goal": "minimize"},
        ],
        "baseline": {"init.noise_scale": 0.1, "train.lr": 3e-4, "train.steps": 8, "vocabulary.form": "phase1"},
        "anchors": {
            "loud": {"init.noise_scale": 1.5},
            "sphere": {"init.name": "sphere", "init.radius_factor": 0.5},
        },
        "bounds": ["validation.loss <= baseline + 0.05", "geometry.norm_ratio >= 0.2"],
        "choice": {"bars": ["validation.loss <= baseline", "|geometry.norm_gap_d| <= 5"]},
        "stopping": {"grace_steps": 3, "keep_share": None, "stuck_nats": 0.02, "diverged_nats": None},
    },
    "model": {"path": "inputs/model"},
    "corpus": {"path": "inputs/corpus.txt", "block_tokens": 32},
    "vocabulary": {"lexicon": "inputs/lexicon.txt"},
    "train": {"batch_blocks": 4, "precision": "float32", "evaluate_every_steps": 3},
    "sample": {"prompt": "Enter the King", "count": 2, "new_tokens": 8},
    "machine": {"threads": 1, "checkpoint_every_s": 0},
}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        inputs, results = Path("inputs"), Path("mlruns")
        inputs.mkdir()
        text = (DEFAULT_FOLDER / "corpus.txt").read_text(encoding="utf-8")[:40_000]
        build_base(inputs / "model", text)
        (inputs / "corpus.txt").write_text(text, encoding="utf-8")
        (inputs / "lexicon.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
        Path("golden.yaml").write_text(yaml.safe_dump(STUDY))
        drive(check_config(STUDY), results, Silent())
        study = load_study(results, "golden")
        failed = study.ask()
        failed.set_user_attr("fault", "loss is nan at step 2")
        study.tell(failed.number, state=TrialState.FAIL)
        leave_open(results)
        with tarfile.open(ARCHIVE, "w:xz") as archive:
            for path in ("golden.yaml", "inputs", "mlruns"):
                archive.add(path, filter=kept)


def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Nothing that is made again from the rest: pictures, encoded texts, MLflow's files."""
    again = re.search(r"\.(png|lock)$|mlruns/(artifacts|cache|studies)/", entry.name)
    return None if again else entry


def leave_open(results: Path) -> None:
    """A ninth trial that was stopped in its middle, with a checkpoint."""
    seen: list[Progress] = []
    more = check_config({**STUDY, "study": {**STUDY["study"], "trials": 9}})
    try:
        drive(more, results, Silent(seen.append), stop=lambda: len(seen) >= 4)
    except TrialStopped:
        return
    raise AssertionError("the trial came to its end")


if __name__ == "__main__":
    main()
