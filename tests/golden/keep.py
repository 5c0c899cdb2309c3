"""`python tests/golden/keep.py`: a small study of this version for the ones to come, study-format-<number>.tar.xz.

To be run once, when the format of results, checkpoints or databases changes; what earlier versions kept isn't made
again. It holds finished trials, a reference, a repeat, and a trial that was stopped in its middle with a checkpoint, in
both databases. Its inputs are those of study-format-4.tar.xz. Of the sampled cosines, 240 kB a trial, a few are kept.
"""

import contextlib
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import torch
import yaml

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from conftest import Silent  # noqa: E402
from make import ARCHIVE, STUDY, kept  # noqa: E402
from stored import rewrite_arrays  # noqa: E402

from study.config import check_config  # noqa: E402
from study.engine.drive import drive  # noqa: E402
from wake2vec import Progress, TrialStopped, WorkFolder  # noqa: E402
from wake2vec.result import RESULT_FORMAT  # noqa: E402

KEPT_COSINES = 100
SMALL = {
    **STUDY,
    "study": {
        **{key: STUDY["study"][key] for key in ("objectives", "seeds")},
        "name": "kept",
        "trials": 2,
        "startup_trials": 9,
        "finalists": 1,
        "space": {"init.noise_scale": {"low": 0.05, "high": 2.0, "log": True}},
        "baseline": {"init.noise_scale": 0.1},
        "anchors": {"sphere": {"init.name": "sphere"}},
    },
    "retention": {"path": "inputs/corpus.txt"},  # the default lies in the package, at a machine's own path
    "train": {**STUDY["train"], "rows": "new", "steps": 4, "lr": 3e-3},
}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(name, [entry for entry in archive if entry.name.startswith("inputs")])  # noqa: S202
        Path("kept.yaml").write_text(yaml.safe_dump(SMALL))
        results = Path("mlruns")
        drive(check_config(SMALL), results, Silent())
        seen: list[Progress] = []
        more = check_config({**SMALL, "study": {**SMALL["study"], "trials": 3}})
        with contextlib.suppress(TrialStopped):
            drive(more, results, Silent(seen.append), stop=lambda: bool(seen) and seen[-1].step == 2)
        for path in results.glob("trials/*/geometry.safetensors"):
            work = WorkFolder(path.parent)
            arrays = work.read_arrays("geometry")
            few = {key: value[:KEPT_COSINES] if key.startswith("cosines_") else value for key, value in arrays.items()}
            rewrite_arrays(work, "geometry", few)
        with tarfile.open(HERE / f"study-format-{RESULT_FORMAT}.tar.xz", "w:xz") as archive:
            for path in ("kept.yaml", "mlruns"):
                archive.add(path, filter=kept)


if __name__ == "__main__":
    main()
