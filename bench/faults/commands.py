"""Commands, overrides, profiles and paths that can't be taken; each is one line, and nothing is made."""

import os
from collections.abc import Callable
from pathlib import Path

LONG = "x" * 300
DEEP = "/".join(["d" * 200] * 30)
DIGITS = "9" * 5000
SURROGATE = os.fsdecode(b"caf\xe9")
"""As the shell gives bytes that aren't UTF-8."""

NUMBERS = (
    "",
    "many",
    "nan",
    "inf",
    "-inf",
    "-1",
    "1e400",
    DIGITS,
    "[1]",
    "{a: 1}",
    "true",
    "null",
    "2024-01-01",
    "0x10",
)
OVERRIDES: dict[str, list[str]] = {
    **{
        f"{address}={value[:12]}": [f"{address}={value}"]
        for address in (
            "train.batch_blocks",
            "train.evaluate_every_steps",
            "corpus.block_tokens",
            "sample.new_tokens",
            "sample.top_k",
            "seed",
            "study.seed",
            "study.trials",
            "study.startup_trials",
            "study.workers",
        )
        for value in NUMBERS
        if value != "0x10" and not (address == "seed" and value == "")
    },
    **{
        f"{address}={value[:12]}": [f"{address}={value}"]
        for address in (
            "corpus.validation_share",
            "train.warmup_share",
            "train.weight_decay",
            "train.max_grad_norm",
            "sample.temperature",
            "sample.top_p",
            "init.radius_factor",
        )
        for value in NUMBERS
        if value != "0x10"
    },
    **{
        f"{address}=evil": [f"{address}=evil"]
        for address in (
            "vocabulary.form",
            "vocabulary.capitals",
            "init.name",
            "train.optimizer",
            "train.rows",
            "train.precision",
            "model.head",
            "model.quantization",
            "corpus.bos",
            "study.sampler",
            "study.choice.rule",
        )
    },
    **{
        f"{address} of a study: {value[:16]}": [f"study.{address}={value}"]
        for address in ("space", "objectives", "baseline", "bounds", "choice", "stopping", "warm_start")
        for value in ("7", "text", "[[]]", "{a: 1}", "true", DIGITS)
        if (address, value) not in {("baseline", "{a: 1}")}
    },
    "no =": ["train.lr"],
    "a flag's form": ["train.lr:3"],
    "an empty address": ["=3"],
    "an empty override": [""],
    "spaces": ["   "],
    "dots": ["...=3"],
    "a dot at the end": ["train.=3"],
    "an unknown section": ["trian.lr=3"],
    "an unknown knob": ["train.lrr=3"],
    "a section for a knob": ["train=3"],
    "a knob inside a knob": ["train.steps.high.x=3"],
    "a knob that varies": ["train.lr=0.001"],
    "an open bracket": ["study.trials=["],
    "a reference": ["study.trials=*a"],
    "an anchor": ["study.trials=&a 3"],
    "a tag": ["study.trials=!!python/object/apply:os.system [ls]"],
    "a computation": ["study.trials=${oc.env:HOME}"],
    "nested deeply": ["study.trials=" + "[" * 100 + "]" * 100],
    "nested very deeply": ["study.trials=" + "[" * 50_000],
    "a million digits": ["study.trials=" + "9" * 100_000],
    "a NUL": ["study.trials=3\0"],
    "a range upside down": ["study.space.train.lr={low: 2, high: 1}"],
    "a range of a point": ["study.space.train.lr={low: 1, high: 1}"],
    "a log range from 0": ["study.space.train.lr={low: 0, high: 1, log: true}"],
    "a range of no number": ["study.space.init.name={low: 0, high: 1}"],
    "no choices": ["study.space.train.rows={choices: []}", "study.baseline.train.rows=all"],
    "a choice that is none": ["study.space.train.rows={choices: [some]}", "study.baseline.train.rows=some"],
    "a baseline outside": ["study.baseline.train.lr=100"],
    "a baseline of text": ["study.baseline.train.lr=fast"],
    "a name with a slash": ["study.name=a/b"],
    "a name that goes up": ["study.name=.."],
    "an empty name": ["study.name="],
    "a long name": [f"study.name={LONG}"],
    "a name with an escape": ["study.name=a\x1b[31m"],
    "a name of bytes": [f"study.name={SURROGATE}"],
    "an unknown objective": ["study.objectives=[{result: validation.los, goal: minimize}]"],
    "an objective without a goal": ["study.objectives=[{result: validation.loss}]"],
    "a bound without a relation": ["study.bounds=[validation.loss 3]"],
    "a bound on nothing": ["study.bounds=['<= 3']"],
    "1,025 threads": ["machine.threads=1025"],
    "no memory": ["machine.memory_gb=0"],
    "a share above one": ["sample.top_p=1.5"],
    "half of the text": ["corpus.validation_share=0.5"],
    "a checkpoint before": ["machine.checkpoint_every_s=-1"],
}
"""Laid over the profile `tiny`."""

PATHS: dict[str, list[str]] = {
    f"{address}: {what}": [f"{address}={value}"]
    for address in ("corpus.path", "vocabulary.lexicon", "retention.path", "model.path")
    for what, value in {
        "nowhere": "nowhere/at-all.txt",
        "a name of 300 letters": LONG,
        "a path of 6,000 letters": DEEP,
        "a folder": "folder",
        "a FIFO": "fifo",
        "a device": "/dev/zero",
        "a link in a circle": "circle",
        "a link to nothing": "dangling",
        "bytes that are no text": SURROGATE,
        "empty": "",
        "a dot": ".",
        "two dots": "..",
        "a tilde": "~/nowhere.txt",
        "an address": "http://127.0.0.1:9/x",
        "markup": "old[/b].txt",
        "an escape": "a\x1b[31mb",
        "a line end": "a\nb",
        "a file as a folder": "file.txt/inside.txt",
        "an empty file": "empty",
    }.items()
}
"""Inputs that aren't there, or are no files. What a test runs in has `folder`, `fifo`, `circle`, `dangling`, ..."""

FOLDERS: dict[str, str] = {
    "empty": "",
    "a file": "file.txt",
    "in a file": "file.txt/results",
    "a FIFO": "fifo",
    "a device": "/dev/null",
    "in a device": "/dev/null/results",
    "a link in a circle": "circle",
    "a name of 300 letters": LONG,
    "a path of 6,000 letters": DEEP,
    "a question mark": "what?",
    "a percent sign": "50%20",
    "bytes that are no text": SURROGATE,
}
"""What `--folder` can't be."""

PROFILES: dict[str, bytes] = {
    "empty": b"",
    "a list": b"- 1\n",
    "a number": b"7\n",
    "no YAML": b"study: [\n",
    "tabs": b"study:\n\tname: a\n",
    "not UTF-8": b"study: {name: caf\xe9}\n",
    "UTF-16": "study: {name: a}\n".encode("utf-16"),
    "NULs": bytes(64),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "a key twice": b"study: {name: a}\nstudy: {name: b}\n",
    "a reference": b"a: &a [1]\nb: *a\n",
    "laughs": b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n",
    "a tag that runs": b"a: !!python/object/apply:os.system [ls]\n",
    "a variable": b"sample: {prompt: '${oc.env:HOME}'}\n",
    "nested deeply": b"a: " + b"[" * 60 + b"]" * 60,
    "nested very deeply": b"a: " + b"[" * 100_000,
    "5,000 digits": b"seed: " + DIGITS.encode() + b"\n",
    "a megabyte": b"# " + b"x" * 1_000_000,
    "a million keys": b"".join(b"k%d: 1\n" % number for number in range(60_000)),
    "keys of lists": b"? [a, b]\n: 1\n",
    "keys of numbers": b"1: 2\n3: 4\n",
    "an unknown section": b"study: {name: a}\nsection: {a: 1}\n",
    "no study": b"train: {steps: 3}\n",
    "a study of text": b"study: all\n",
    "a study of null": b"study:\n",
    "two documents": b"study: {name: a}\n---\nstudy: {name: b}\n",
    "a study without a space": b"study: {name: a, trials: 3}\n",
    "what the user must give": b"study: {name: a, trials: 3}\ncorpus: {path: '???'}\n",
}
"""Contents of `own.yaml`."""

READING = ("status", "list", "show 0", "compare 0 1", "report", "export", "measure", "ui")
COMMANDS: dict[str, list[str]] = {
    "an unknown command": ["runn"],
    "an unknown option": ["--nope"],
    **{
        f"{name}: an unknown option": [*name.split(), "--nope"]
        for name in (*READING, "run", "plan", "clean", "analyse x")
    },
    **{f"{name}: an unknown profile": [*name.split(), "tinny"] for name in (*READING, "run", "plan")},
    **{f"{name}: a profile that is a folder": [*name.split(), "folder.yaml"] for name in (*READING, "run", "plan")},
    **{f"{name}: a profile that is a FIFO": [*name.split(), "fifo.yaml"] for name in ("status", "run", "plan")},
    **{f"{name}: no study": [*name.split(), "tiny"] for name in READING if name not in ("measure",)},
    **{f"{name}: a bad override": [*name.split(), "tiny", "train.lrr=1"] for name in (*READING, "run", "plan")},
    "show: no trial named": ["show"],
    "compare: one trial named": ["compare", "0"],
    "status: a long profile": ["status", LONG],
    "status: a profile with a NUL": ["status", "a\0b"],
    "status: a profile of bytes": ["status", SURROGATE],
    "status: a profile elsewhere": ["status", "../../etc/passwd"],
    "run: a time of text": ["run", "tiny", "--for", "soon"],
    "run: no time": ["run", "tiny", "--for", ""],
    "run: a time below 0": ["run", "tiny", "--for", "-3h"],
    "run: a time of 5,000 digits": ["run", "tiny", "--for", DIGITS + "h"],
    "run: weights that are none": ["run", "tiny", "--prefer", "loss"],
    "run: a weight of nothing": ["run", "tiny", "--prefer", "=3"],
    "run: a weight of text": ["run", "tiny", "--prefer", "loss=much"],
    "run: a weight of 5,000 digits": ["run", "tiny", "--prefer", f"loss={DIGITS}"],
    "run: an endless weight": ["run", "tiny", "--prefer", "loss=inf"],
    "run: a mirror that is a file": ["run", "tiny", "--mirror", "file.txt"],
    "run: a mirror that isn't mounted": ["run", "tiny", "--mirror", "nowhere/mirror"],
    "run: a mirror of 300 letters": ["run", "tiny", "--mirror", LONG],
    "run: a mirror in a file": ["run", "tiny", "--mirror", "file.txt/mirror"],
    "ui: a port of text": ["ui", "tiny", "--port", "http"],
    "ui: a port of 5,000 digits": ["ui", "tiny", "--port", DIGITS],
    "export: a trial of text": ["export", "tiny", "--trial", "best"],
    "export: a trial below 0": ["export", "tiny", "--trial", "-1"],
    "export: a trial of 5,000 digits": ["export", "tiny", "--trial", DIGITS],
    "export: unknown formats": ["export", "tiny", "--vectors", "gguf"],
    "clean: a file": ["clean", "--folder", "file.txt", "--yes"],
    "analyse: nothing": ["analyse"],
    "analyse: nowhere": ["analyse", "nowhere"],
    "analyse: a text": ["analyse", "file.txt"],
    "analyse: an empty folder": ["analyse", "folder"],
    "analyse: a FIFO": ["analyse", "fifo"],
    "analyse: a FIFO of the right name": ["analyse", "fifo.safetensors"],
    "analyse: a link in a circle": ["analyse", "circle"],
    "analyse: a name of 300 letters": ["analyse", LONG],
    "analyse: bytes": ["analyse", SURROGATE],
    "analyse: an empty name": ["analyse", ""],
    "analyse: empty weights": ["analyse", "empty.safetensors"],
    "analyse: text as weights": ["analyse", "text.safetensors"],
    "analyse: references of text": ["analyse", "folder", "--references", "all"],
    "analyse: references backwards": ["analyse", "folder", "--references", "9-3"],
    "analyse: a billion references": ["analyse", "folder", "--references", "0-1000000000"],
    "analyse: references of 5,000 digits": ["analyse", "folder", "--references", DIGITS],
    "analyse: a share above one": ["analyse", "folder", "--validation-share", "2"],
    "analyse: no tokens": ["analyse", "folder", "--block-tokens", "0"],
    "lexicon: unknown": ["lexicon", "nope"],
    "lexicon build: nothing": ["lexicon", "build"],
    "lexicon build: no base": ["lexicon", "build", "file.txt"],
    "lexicon build: nowhere": ["lexicon", "build", "nowhere.txt", "--base", "folder"],
    "lexicon build: a FIFO": ["lexicon", "build", "fifo", "--base", "folder"],
    "lexicon build: an empty base": ["lexicon", "build", "file.txt", "--base", "folder"],
    "lexicon build: a base that is a file": ["lexicon", "build", "file.txt", "--base", "file.txt"],
    "lexicon build: a list in a table's name": ["lexicon", "build", "file.txt", "--base", "folder", "--out", "x.csv"],
    "lexicon build: an empty target": ["lexicon", "build", "file.txt", "--base", "folder", "--out", ""],
    "lexicon build: a count of 5,000 digits": ["lexicon", "build", "file.txt", "--base", "x", "--min-count", DIGITS],
    "lexicon audit: nothing": ["lexicon", "audit"],
    "lexicon audit: nowhere": ["lexicon", "audit", "nowhere", "--base", "folder", "--corpus", "file.txt"],
    "lexicon audit: a FIFO": ["lexicon", "audit", "fifo", "--base", "folder", "--corpus", "file.txt"],
    "lexicon audit: an unknown form": ["lexicon", "audit", "file.txt", "--base", "x", "--corpus", "y", "--form", "z"],
    "lexicon mend: nothing": ["lexicon", "mend"],
    "lexicon mend: nowhere": ["lexicon", "mend", "nowhere", "--out", "x.txt"],
    "lexicon mend: a FIFO": ["lexicon", "mend", "fifo", "--out", "x.txt"],
    "lexicon mend: onto itself": ["lexicon", "mend", "file.txt", "--out", "file.txt"],
    "lexicon mend: onto a folder": ["lexicon", "mend", "file.txt", "--out", "folder"],
    "lexicon mend: onto another file": ["lexicon", "mend", "file.txt", "--out", "text.safetensors"],
    "lexicon mend: into a file": ["lexicon", "mend", "file.txt", "--out", "file.txt/x.txt"],
    "lexicon mend: a name of 300 letters": ["lexicon", "mend", "file.txt", "--out", LONG],
    "lexicon mend: column 0": ["lexicon", "mend", "file.txt", "--out", "x.txt", "--column", "0"],
    "lexicon mend: column 9": ["lexicon", "mend", "file.txt", "--out", "x.txt", "--column", "9"],
    "lexicon mend: an empty list": ["lexicon", "mend", "empty", "--out", "x.txt"],
}


def lay_out(folder: Path) -> None:
    """What the commands meet where they run."""
    for name in ("folder", "folder.yaml"):
        (folder / name).mkdir()
    for name in ("fifo", "fifo.yaml", "fifo.safetensors"):
        os.mkfifo(folder / name)
    for name in ("empty", "empty.safetensors"):
        (folder / name).touch()
    (folder / "file.txt").write_text("haue\nvpon\nloue\n")
    (folder / "text.safetensors").write_text("no weights\n")
    (folder / "circle").symlink_to("circle")
    (folder / "dangling").symlink_to("nowhere")


def all_commands(folder: Path) -> dict[str, Callable[[], list[str]]]:
    """The arguments of every command of the tables; asked for, they write what they need into the folder."""

    def profile(data: bytes) -> list[str]:
        (folder / "own.yaml").write_bytes(data)
        return ["run", "own.yaml"]

    found: dict[str, Callable[[], list[str]]] = {}
    for name, overrides in (OVERRIDES | PATHS).items():
        found[f"override {name}"] = lambda overrides=overrides: ["run", "tiny", *overrides]  # type: ignore[misc]
    for name, data in PROFILES.items():
        found[f"profile {name}"] = lambda data=data: profile(data)  # type: ignore[misc]
    for name, given in FOLDERS.items():
        for command in ("run", "status", "list", "export", "report"):
            found[f"{command} in a folder: {name}"] = lambda command=command, given=given: [  # type: ignore[misc]
                command,
                "tiny",
                "--folder",
                given,
            ]
    for name, arguments in COMMANDS.items():
        found[f"command {name}"] = lambda arguments=arguments: arguments  # type: ignore[misc]
    return found
