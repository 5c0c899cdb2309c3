"""How soon a driver begins what another has left, which was killed or lost its network."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cluster.sleeping import sleeping_study, trained
from bench.faults.studies import code_of, fork
from bench.figures import Figure
from bench.servers import mlflow, postgres
from bench.several_drivers.kills import Diary
from bench.several_drivers.sleeping import drive, wait_for
from study.runs.addresses import Addresses, keep


def takeover(folder: Path) -> Iterator[Figure]:
    """A driver waits for the trial of another, which is killed; and of one whose link is cut, in a network of its own.

    Needs root, for that network.
    """
    with network() as (here, there):
        for what, bar_s in (("a kill", 5), ("the cut of the link", 60)):
            took_s = _took_over(folder / what.replace(" ", "-"), here, there if bar_s == 60 else None)
            yield Figure(f"from {what} to the trial's beginning elsewhere", took_s, "s", f"<= {bar_s}", took_s <= bar_s)


def _took_over(folder: Path, host: str, cut: "Link | None") -> float:
    config, diary = sleeping_study(1), folder / "diary"
    source = trained(sleeping_study(1), folder / "source")
    with postgres(host) as database, mlflow(folder / "mlflow", f"sqlite:///{folder}/mlflow.db", host=host) as tracking:
        database.create("study")
        addresses = Addresses(database.address("study", host), tracking.address)
        for name in ("first", "second"):
            keep(folder / name, addresses)
        diary.touch()

        def lines(what: str) -> list[list[Any]]:
            told = map(json.loads, diary.read_text(encoding="utf-8").splitlines())
            return [line for line in told if line[2] == what]

        def first() -> None:
            if cut is not None:
                cut.enter()
            drive(config, folder / "first", source, 600.0, Diary(diary))

        one = fork(first, folder)
        wait_for(lambda: len(lines("begun")) == 1)
        two = fork(lambda: drive(config, folder / "second", source, 1.0, Diary(diary)), folder)
        wait_for(lambda: len(lines("waits")) == 1)
        lost_s = time.time()
        if cut is None:
            os.kill(one, signal.SIGKILL)
        else:
            cut.cut()
        wait_for(lambda: len(lines("begun")) == 2)
        took_s: float = lines("begun")[1][0] - lost_s
        code_of(two)
        if cut is not None:
            os.kill(one, signal.SIGKILL)
        code_of(one)
    return took_s


@dataclass
class Link:
    """To a network of its own, which ends here in `device`."""

    name: str
    device: str

    def enter(self) -> None:
        """This process is in that network from now on."""
        with open(f"/run/netns/{self.name}", "rb") as place:
            assert ctypes.CDLL(None, use_errno=True).setns(place.fileno(), 0) == 0

    def cut(self) -> None:
        subprocess.run(["ip", "link", "set", self.device, "down"], check=True)


@contextlib.contextmanager
def network() -> Iterator[tuple[str, Link]]:
    """This machine's address in it, and the way into it."""
    link = Link("wake2vec", "wake2vec0")
    here, there = "10.77.0.1", "10.77.0.2"
    commands = [
        f"netns add {link.name}",
        f"link add {link.device} type veth peer name wake2vec1 netns {link.name}",
        f"addr add {here}/24 dev {link.device}",
        f"link set {link.device} up",
        f"-n {link.name} addr add {there}/24 dev wake2vec1",
        f"-n {link.name} link set wake2vec1 up",
        f"-n {link.name} link set lo up",
    ]
    try:
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True)
        yield here, link
    finally:
        subprocess.run(["ip", "netns", "del", link.name], check=False)
