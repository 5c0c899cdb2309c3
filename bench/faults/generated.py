"""Bad input that is made up: settings, base models, lists and texts, each a good one with something changed at random.

Half of what is made up can be used. So each input goes on to a trial: settings are read and checked, the sampler draws
from the space, the model is loaded, rows are initialised, one step is trained, texts are written, figures measured.
"""

import copy
import json
import os
import random
import shutil
import struct
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.faults.attempt import Attempt, one_step
from bench.faults.texts import CAFE, FOLIO, PLAIN
from study.config import load_config
from wake2vec import flatten

FAILED = ("loss", "gradient", "diverge", "finite")
"""Words of a trial's own failure: a study notes it and goes on."""
EVERY = 500
"""Inputs from one line of progress to the next."""
ODD: tuple[Any, ...] = (
    *(None, True, False, "", "x", "null", [], {}, [[]], {"a": 1}, [1, 2], ["a"], "\x00", "\ud800", "é", "a" * 5000),
    *(0, -1, 1, 2, 7, 2**31 - 1, 2**31, 2**32, 2**63, -(2**63), 10**12, 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1e-300, 5e-324, 1e300, -1e300, float("inf"), float("-inf"), float("nan"), 1.5),
)


def settings(rng: random.Random, folder: Path) -> list[str]:
    """Some overrides; those of paths name good inputs as often as not."""
    defaults = flatten(load_config("tiny").run.model_dump())
    addresses = list(defaults)
    overrides = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        address = rng.choice(addresses)
        value = str(_near(defaults[address], rng)) if rng.random() < 0.5 else _written(rng)
        kind = rng.random()
        if kind < 0.6:
            overrides.append(f"{address}={value}")
        elif kind < 0.75:
            default = defaults[address]
            ends = (_near(default, rng), _near(default, rng)) if isinstance(default, int | float) else ()
            low, high = sorted(ends) if ends and rng.random() < 0.7 else (_number(rng), _number(rng))
            overrides += [
                f"study.space.{address}={{low: {low!r}, high: {high!r}}}",
                f"study.baseline.{address}={low!r}",
            ]
        elif kind < 0.85:
            overrides += [f"study.space.{address}={{choices: [{value}]}}", f"study.baseline.{address}={value}"]
        else:
            overrides.append(
                f"study.{rng.choice(('seed', 'trials', 'sampler', 'bounds', 'objectives', 'name'))}={value}"
            )
    return overrides


def _near(default: Any, rng: random.Random) -> Any:
    """Of the default's kind, and often one that can be used."""
    if isinstance(default, bool) or not isinstance(default, int | float):
        return (
            default if rng.random() < 0.5 else rng.choice(("phase1", "word", "space", "new", "sphere", "adamw", "tied"))
        )
    far = rng.choice((0.1, 1, 1, 8))
    return type(default)(default * 10 ** rng.uniform(-far, far) + rng.choice((0, 0, 1)))


def _written(rng: random.Random) -> str:
    value = _number(rng) if rng.random() < 0.7 else rng.choice(ODD)
    return json.dumps(value).strip('"') if not isinstance(value, int) or abs(value) < 10**4000 else "9" * 5000


def _number(rng: random.Random) -> int | float:
    return rng.choice(
        (
            rng.randint(-3, 300),
            rng.random(),
            10 ** rng.uniform(-320, 308),
            rng.randint(0, 2**33),
            10 ** rng.uniform(-5, 2),
            rng.choice([value for value in ODD if isinstance(value, int | float)]),
        )
    )


def model_json(name: str) -> Callable[[random.Random, Path], list[str]]:
    """A JSON file of the model's folder with some of its values replaced, taken out or moved."""

    def spoil(rng: random.Random, folder: Path) -> list[str]:
        path = folder / "model" / name
        content = json.loads(path.read_bytes())
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            _change(content, rng)
        path.unlink()
        path.write_bytes(_spoiled(json.dumps(content).encode(), rng, 0.1))
        return []

    return spoil


def _change(content: Any, rng: random.Random) -> None:
    node = content
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        inner = node[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.7:
            node = inner
            continue
        way = rng.random()
        if way < 0.7:
            node[key] = _odd(rng)
        elif way < 0.85:
            del node[key]
        elif isinstance(node, dict):
            node[rng.choice(("odd", "auto_map", "num_layers", "model_type", "type"))] = node.pop(key)
        else:
            node.append(_odd(rng))
        return


def _odd(rng: random.Random) -> Any:
    """A copy: what is put into a file may be changed there again."""
    return copy.deepcopy(rng.choice(ODD))


def header(rng: random.Random, folder: Path) -> list[str]:
    """What a safetensors file says of its tensors, changed; or some of its bytes."""
    path = folder / "model" / "model.safetensors"
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    said = json.loads(data[8 : 8 + length])
    if rng.random() < 0.7:
        _change(said, rng)
    text = _spoiled(json.dumps(said).encode(), rng, 0.2)
    size = length if rng.random() < 0.1 else len(text)
    path.unlink()
    path.write_bytes(_spoiled(struct.pack("<Q", size) + text + data[8 + length :], rng, 0.3))
    return []


def list_or_text(rng: random.Random, folder: Path) -> list[str]:
    """A lexicon or a text in another encoding, form or order, or with some of its bytes changed."""
    name, good = rng.choice((("lexicon.txt", PLAIN), ("corpus.txt", FOLIO), ("corpus.txt", CAFE)))
    text = good
    for _ in range(rng.randint(0, 2)):
        text = rng.choice(
            (
                str.upper,
                str.title,
                lambda given: unicodedata.normalize(rng.choice(("NFC", "NFD", "NFKC", "NFKD")), given),
                lambda given: given.replace(
                    "\n", rng.choice(("\r\n", "\r", "\u2028", "\n\n", ";3\n", ",\n", "\t1\n", " "))
                ),
                lambda given: given.replace(
                    "e", rng.choice(("é", "\u200d", "\0", "世", "ไ", "\U0001f468", "#", "</s>"))
                ),
                lambda given: given[: rng.randint(0, 400)],
                lambda given: "".join(rng.sample(given[:2000], min(len(given), 2000))),
            )
        )(text)
    encoding = rng.choice(
        ("utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252")
    )
    (folder / name).write_bytes(_spoiled(text.encode(encoding, errors="replace"), rng, 0.3))
    return [f"vocabulary.form={rng.choice(('phase1', 'word', 'space'))}"]


def _spoiled(data: bytes, rng: random.Random, how_often: float) -> bytes:
    """Now and then cut short, or with some bytes replaced."""
    if rng.random() >= how_often or not data:
        return data
    if rng.random() < 0.4:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


KINDS: dict[str, Callable[[random.Random, Path], list[str]]] = {
    "settings": settings,
    "config.json": model_json("config.json"),
    "tokenizer.json": model_json("tokenizer.json"),
    "tokenizer_config.json": model_json("tokenizer_config.json"),
    "safetensors": header,
    "lists and texts": list_or_text,
}


def attempts(count: int, seed: int, base: Path, folder: Path) -> Iterator[tuple[str, int, Attempt]]:
    """`count` made-up inputs, each kind in turn: kind, seed and how it ended; `base` is a small good model."""
    kinds = list(KINDS)
    for number in range(seed, seed + count):
        kind = kinds[number % len(kinds)]
        yield kind, number, attempt_one(kind, number, base, folder / "one")


def attempt_one(kind: str, number: int, base: Path, folder: Path) -> Attempt:
    """The same input for the same number."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder / "model", copy_function=os.link)
    (folder / "corpus.txt").write_text(FOLIO)
    (folder / "lexicon.txt").write_text(PLAIN)
    made = KINDS[kind](random.Random(number), folder)
    small = [
        "model.path=model",
        "corpus.path=corpus.txt",
        "vocabulary.lexicon=lexicon.txt",
        "retention.path=corpus.txt",
    ]
    small += ["corpus.block_tokens=32", "machine.threads=1", "study.anchors=null"]
    given = {override.partition("=")[0] for override in made}
    return one_step([*(each for each in small if each.partition("=")[0] not in given), *made], folder)


def outcome(kind: str, told: Attempt) -> str:
    """In a word: `done`, `refused`, `failed trial`, `traceback`, `hang` or what else isn't clean."""
    if told.timed_out:
        return "hang"
    if told.runs:
        return "done"
    if not told.fault:
        return "refused"
    is_trials = all(name.startswith("trials") for name in told.made)
    if told.code == 2 and told.errors.count("\n") == 1 and is_trials and any(word in told.errors for word in FAILED):
        return "failed trial"
    return "traceback" if told.fault.startswith("traceback") else "unclean"


def tally(found: Iterator[tuple[str, int, Attempt]], report: Callable[[str], None]) -> dict[str, Counter[str]]:
    """Outcomes by kind; what isn't clean is reported with the number that makes it again."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for kind, number, told in found:
        ended = outcome(kind, told)
        counts[kind][ended] += 1
        if ended in ("traceback", "hang", "unclean"):
            report(f"{kind} {number}: {ended}: {told.fault[:400]}")
        if (so_far := sum(ended.total() for ended in counts.values())) % EVERY == 0:
            report(f"{so_far:,} inputs")
    return counts
