"""The README's commands in a fresh clone in an empty folder, timed. Part of `make figures`."""

import subprocess
import tempfile
import time
from pathlib import Path

from bench.figures import ROOT, Figure, publish


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        set_up, _ = minutes(clone, "make", ".venv/run")
        study, _ = minutes(clone, "make", "study")
        again, output = minutes(clone, "make", "study")
        tests, _ = minutes(clone, "make", "test")
        check, _ = minutes(clone, "make", "check")
    whole = set_up + study
    publish(
        "clone",
        "make figures",
        [
            Figure("set-up", set_up, "min"),
            Figure("make study, set-up included", whole, "min", "<= 12", whole <= 12),
            Figure("make study, set-up done", study, "min", "<= 8", study <= 8),
            Figure("make study, again", again, "min", "nothing to do", "Nothing to do" in output),
            Figure("make test, its set-up included", tests, "min", "<= 8", tests <= 8),
            Figure("make check", check, "min"),
        ],
    )


def minutes(clone: Path, *command: str) -> tuple[float, str]:
    """Minutes that the command took, and what it printed, which is shown too.

    Raises:
        CalledProcessError: it failed.
    """
    start = time.monotonic()
    done = subprocess.run(command, cwd=clone, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    done.check_returncode()
    return (time.monotonic() - start) / 60, done.stdout


if __name__ == "__main__":
    main()
