"""`python -m bench.faults [KIND ...] [--count 3000] [--seed 0]`: faults of each kind, and how commands end on them."""

import argparse

import torch

from bench.faults import after, inputs, world
from bench.figures import publish

KINDS = {"inputs": inputs.run, "world": world.run, "drivers": world.pairs, "after": after.run}
"""A module each; given how many faults to make up and the first one's seed, it returns figures."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults")
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--count", type=int, default=3000, help="faults of a kind that are made up")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    given = parser.parse_args()
    torch.set_num_threads(1)  # a fork inherits no pool of threads
    for kind in given.kinds or KINDS:
        print(f"{kind}: {given.count:,} from {given.seed}", flush=True)
        command = f"python -m bench.faults {kind} --count {given.count} --seed {given.seed}"
        publish(f"faults-{kind}", command, KINDS[kind](given.count, given.seed))


if __name__ == "__main__":
    main()
