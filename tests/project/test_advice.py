"""Advice is true: each message with a remedy has a test that follows the remedy and finds that it works.

`FOLLOWED` names that test by a part of the message, as it stands in the code with `{}` for what is filled in. A new
message with a remedy fails here until it has its line.
"""

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.faults.attempt import command, one_step
from bench.faults.models import BAD_MODELS
from wake2vec.training.folder import check_model
from wake2vec.training.model import load_tokenizer

ROOT = Path(__file__).parents[2]
NO_ADVICE = {"ValueError", "TypeError", "RuntimeError", "OSError", "FileNotFoundError", "NotADirectoryError", "Exit"}
VERBS = (
    *(
        "add",
        "choose",
        "convert",
        "copy",
        "correct",
        "deinstall",
        "export",
        "fix",
        "free",
        "get",
        "give",
        "leave",
        "let",
    ),
    *(
        "lower",
        "make",
        "mend",
        "merge",
        "mount",
        "move",
        "put",
        "raise",
        "remove",
        "run",
        "save",
        "see",
        "shorten",
        "stop",
    ),
    *("the same command", "try", "use", "wait", "write"),
)
REMEDY = re.compile(rf"[;:,] (or )?(?:{'|'.join(VERBS)})\b|`[^`]+`|\{{AGAIN\}}|\{{REMEDY\}}")

HERE, CLI = "tests/project/test_advice.py", "tests/cli/test_cli.py"
LISTS, FORMS, CONFIG = "tests/data/test_lists.py", "tests/data/test_forms.py", "tests/project/test_study_config.py"
SHARED, DAMAGE = "tests/engine/test_shared_faults.py", "tests/engine/test_run_again.py"
AGAIN, BY_PATH = f"{HERE}::test_a_model_that_is_got_again_is_taken", f"{HERE}::test_another_path_or_value_is_taken"
FOLLOWED: dict[str, str] = {
    "{AGAIN}": AGAIN,
    "`make model` makes it": f"{CONFIG}::test_the_profile_of_a_real_model_has_phase_1s_recipe_and_what_make_makes",
    "must map tensors to files under": AGAIN,
    "holds an adapter": AGAIN,
    "must not bring code of its own": AGAIN,
    "weights must not be quantized": AGAIN,
    "weights must be floating-point numbers": AGAIN,
    "each token of a tokenizer must have its row": AGAIN,
    "the form `space` needs": f"{FORMS}::test_a_refusal_names_its_own_reason_and_its_remedy_works",
    "would fail like this one": f"{SHARED}::test_too_little_memory_ends_the_study_and_the_same_command_goes_on",
    "`make study` trains": f"{DAMAGE}::test_what_is_damaged_is_trained_again_alone_and_gives_what_it_gave",
    "{} is in use: {} is held by {}": f"{CLI}::test_clean_takes_what_this_project_made_and_nothing_else",
    "more text, or looser limits": BY_PATH,
    "give another file or --column": BY_PATH,
    "a report needs at least": BY_PATH,
    "doesn't tell which rows are new": BY_PATH,
    "isn't what an export writes": BY_PATH,
    "holds something else than this analysis": BY_PATH,
    "the base model must be a local folder": BY_PATH,
    "give the folder of a language model": BY_PATH,
    "see who owns it": "tests/training/test_folder.py::test_a_folder_is_read_by_who_may_read_it",
    "must be UTF-8: {} isn't{}": f"{LISTS}::test_a_text_in_another_encoding_runs_after_what_is_advised",
    "write the column of words to": f"{LISTS}::test_the_command_that_is_advised_mends_the_list_and_keeps_it",
    "correct or remove these lines": BY_PATH,
    "are comments; add words": BY_PATH,
    "must be text: {} has {} NULs": BY_PATH,
    "must not be empty: {}; give a text": BY_PATH,
    "special tokens can't be added as words": BY_PATH,
    "already; add others": BY_PATH,
    "must fill a block of {} tokens: it has {}": BY_PATH,
    "corpus.bos=always needs": BY_PATH,
    "there is no column {}; give a --column": BY_PATH,
    "the word list can't be a .csv": BY_PATH,
    "is the list itself; give --out another name": BY_PATH,
    "a word list is a file": BY_PATH,
    "files that hold something else aren't replaced": BY_PATH,
    "a word list must be a file that can be made": BY_PATH,
    "the word list can't be written": BY_PATH,
    "no profile {}: give one of": BY_PATH,
    "varies in this study": f"{CONFIG}::test_a_knob_that_varies_cant_be_set_beside_the_space_and_each_remedy_works",
    "a profile has at most": BY_PATH,
    "the keys of a profile are names": BY_PATH,
    "a profile computes nothing: write the value out": BY_PATH,
    "a profile refers to nothing: write the value out": BY_PATH,
    "a profile has no tags": BY_PATH,
    "a time has the form": BY_PATH,
    "a time must be longer than nothing": BY_PATH,
    "a results folder's path can't have the letter": BY_PATH,
    "a results folder must be a folder": BY_PATH,
    "a results folder must be one that can be made": BY_PATH,
    "ids are given like": BY_PATH,
    "what trials are judged by must be defined": f"{SHARED}::test_the_remedies_of_an_undefined_figure_help",
    "through a link: {} is one, to": f"{CLI}::test_nothing_is_deleted_where_a_name_of_this_project_is_a_link",
    "through a link: {} is one; give": f"{CLI}::test_clean_takes_what_this_project_made_and_nothing_else",
    "no folder or .safetensors file": BY_PATH,
    "is neither; give one": BY_PATH,
}
OPEN_AT_MOST = 45
"""Messages whose remedy no test follows yet: this number only falls."""


def _template(node: ast.expr) -> str:
    """A message as it is written, with `{}` for what is filled in, and the name where that is a constant's."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_template, node.values))
    if isinstance(node, ast.FormattedValue):
        return f"{{{node.value.id}}}" if isinstance(node.value, ast.Name) and node.value.id.isupper() else "{}"
    return _template(node.left) + _template(node.right) if isinstance(node, ast.BinOp) else ""


def messages() -> Iterator[tuple[str, str]]:
    """Where each message with a remedy is raised, and its template."""
    for package in ("wake2vec", "study"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    kind = getattr(node.exc.func, "id", getattr(node.exc.func, "attr", ""))
                    template = "".join(map(_template, node.exc.args))
                    if kind not in NO_ADVICE and REMEDY.search(template):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", template


def test_each_message_with_a_remedy_has_a_test_that_follows_it() -> None:
    open_ = [f"{where}: {text}" for where, text in messages() if not any(part in text for part in FOLLOWED)]
    assert len(open_) <= OPEN_AT_MOST, "\n".join(open_)


def test_the_register_names_messages_and_tests_that_there_are() -> None:
    templates = [text for _, text in messages()]
    assert [part for part in FOLLOWED if not any(part in text for text in templates)] == []
    for test in set(FOLLOWED.values()):
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), test


def test_a_message_without_a_line_in_the_register_is_noticed() -> None:
    """The control."""
    call = ast.parse('raise ModelError(f"a rule: {value}; give {AGAIN}")').body[0]
    assert isinstance(call, ast.Raise) and isinstance(call.exc, ast.Call)
    assert _template(call.exc.args[0]) == "a rule: {}; give {AGAIN}"
    assert REMEDY.search("a rule: {}; give another") and not REMEDY.search("a rule: it is {}")


def test_a_model_that_is_got_again_is_taken(inputs: Path, tmp_path: Path) -> None:
    """Whatever was wrong with it, at the same path and in the same process."""
    folder, followed = tmp_path / "model", 0
    for spoil in BAD_MODELS.values():
        shutil.copytree(inputs / "model", folder)
        spoil(folder)
        shutil.rmtree(folder)
        shutil.copytree(inputs / "model", folder)
        check_model(folder)
        followed += 1
        shutil.rmtree(folder)
    shutil.copytree(inputs / "model", folder)
    load_tokenizer(folder)
    assert followed == len(BAD_MODELS)


MEND = ["lexicon", "mend", "table.csv", "--out"]
BUILD = ["lexicon", "build", "corpus.txt", "--base", "model", "--out"]
ANALYSE = ["analyse", "model"]
PATHS: dict[str, tuple[list[str], list[str]]] = {
    "no column": ([*MEND, "a.txt", "--column", "9"], [*MEND, "a.txt", "--column", "1"]),
    "onto the list": ([*MEND, "table.csv"], [*MEND, "b.txt"]),
    "onto a folder": ([*MEND, "folder"], [*MEND, "c.txt"]),
    "onto another file": ([*MEND, "corpus.txt"], [*MEND, "d.txt"]),
    "by force": ([*MEND, "old.txt"], [*MEND, "old.txt", "--force"]),
    "a long name": ([*MEND, "x" * 300], [*MEND, "e.txt"]),
    "into a file": ([*MEND, "corpus.txt/x"], [*MEND, "f.txt"]),
    "a list named as a table": ([*BUILD, "g.csv"], [*BUILD, "g.txt"]),
    "a base that isn't there": ([*BUILD[:4], "./gone", "--out", "h.txt"], [*BUILD, "h.txt"]),
    "limits that leave nothing": ([*BUILD, "l.txt", "--min-count", "99999"], [*BUILD, "l.txt"]),
    "an empty list": (["lexicon", "mend", "empty.txt", "--out", "m.txt"], [*MEND, "m.txt"]),
    "no new rows": ([*ANALYSE, "--base-size", "600"], [*ANALYSE, "--base-size", "500", "--out", "n"]),
    "rows of one kind": (ANALYSE, [*ANALYSE, "--base-size", "500", "--out", "o"]),
    "an export's note": (["analyse", "noted"], ["analyse", "model", "--base-size", "500", "--out", "p"]),
    "another analysis": (
        [*ANALYSE, "--base-size", "400", "--out", "n"],
        [*ANALYSE, "--base-size", "400", "--out", "q"],
    ),
    "references": (
        ["analyse", "model", "--base-size", "500", "--references", "9-3"],
        ["analyse", "model", "--base-size", "500", "--references", "3-9", "--out", "i"],
    ),
    "a model that isn't there": (["analyse", "gone"], ["analyse", "model", "--base-size", "500", "--out", "j"]),
    "a text for a model": (
        ["analyse", "corpus.txt"],
        ["analyse", "model/model.safetensors", "--base-size", "500", "--out", "k"],
    ),
}
SETTINGS: dict[str, tuple[list[str], list[str]]] = {
    "model": (["model.path=./gone"], ["model.path=model"]),
    "corpus": (["corpus.path=gone.txt"], ["corpus.path=corpus.txt"]),
    "corpus that is empty": (["corpus.path=empty.txt"], ["corpus.path=corpus.txt"]),
    "corpus of NULs": (["corpus.path=nulls.txt"], ["corpus.path=corpus.txt"]),
    "corpus that is short": (["corpus.path=short.txt"], ["corpus.path=corpus.txt"]),
    "blocks that are long": (["corpus.block_tokens=100000"], ["corpus.block_tokens=32"]),
    "lexicon of comments": (["vocabulary.lexicon=comments.txt"], ["vocabulary.lexicon=mended-comments.txt"]),
    "lexicon with a bad line": (["vocabulary.lexicon=bad.txt"], ["vocabulary.lexicon=mended-bad.txt"]),
    "lexicon the base has": (["vocabulary.lexicon=known.txt"], ["vocabulary.lexicon=lexicon.txt"]),
    "no beginning token": (["model.path=no-bos", "corpus.bos=always"], ["model.path=no-bos", "corpus.bos=auto"]),
}
PROFILES = {
    "a value that is computed": ("study: {name: '${a}'}\n", "name: '${a}'", "name: a"),
    "a reference": ("study: &a {name: a}\n", "&a ", ""),
    "a tag": ("study: !!map {name: a}\n", "!!map ", ""),
    "a key that is a number": ("study: {name: a, 3: 4}\n", ", 3: 4", ""),
}


@pytest.fixture
def there(inputs: Path, tmp_path: Path) -> Path:
    for name in ("corpus.txt", "lexicon.txt"):
        shutil.copy(inputs / name, tmp_path / name)
    shutil.copytree(inputs / "model", tmp_path / "model")
    shutil.copytree(inputs / "model", tmp_path / "no-bos")
    config = tmp_path / "no-bos" / "tokenizer_config.json"
    config.write_text(re.sub(r'"bos_token": "<s>"', '"bos_token": null', config.read_text()))
    shutil.copytree(inputs / "model", tmp_path / "noted")
    (tmp_path / "noted" / "wake2vec.json").write_text("{")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    for name, data in {
        "empty.txt": "",
        "nulls.txt": "\0" * 4096,
        "short.txt": "haue vpon\n",
        "comments.txt": "# haue\n#vpon\n",
        "mended-comments.txt": "# haue\nvpon\n",
        "bad.txt": "haue\nvp on\nloue\nzephyrous\n",
        "mended-bad.txt": "haue\nvpon\nloue\nzephyrous\n",
        "known.txt": "the\n",
        "old.txt": "mine\n",
        "table.csv": "word;count\nhaue;3\n",
    }.items():
        (tmp_path / name).write_text(data)
    return tmp_path


def test_another_path_or_value_is_taken(there: Path) -> None:
    for name, (wrong, right) in PATHS.items():
        told = command(wrong, there, apart=False)
        assert told.fault == "" and REMEDY.search(told.errors), (name, told)
        assert command(right, there, apart=False).runs, name
    small = ["corpus.block_tokens=32", "train.batch_blocks=2", "machine.threads=1", "study.anchors=null"]
    small += ["model.path=model", "corpus.path=corpus.txt", "vocabulary.lexicon=lexicon.txt", "vocabulary.form=word"]
    small += ["retention.path=corpus.txt"]
    for name, (wrong, right) in SETTINGS.items():
        told = one_step([*small, *wrong], there, apart=False)
        assert told.fault == "" and REMEDY.search(told.errors), (name, told)
        done = one_step([*small, *right], there, apart=False)
        assert done.runs, (name, done.said)
    for name, (text, wrong_part, right_part) in PROFILES.items():
        told = []
        for content in (text, text.replace(wrong_part, right_part)):
            (there / "own.yaml").write_text(content)
            told.append(command(["status", "own.yaml"], there, apart=False).errors)
        assert REMEDY.search(told[0]) and "study.trials: Field required" in told[1], name
    for wrong in ("what?", "corpus.txt", "corpus.txt/results", "x" * 300):
        assert command(["status", "--folder", wrong], there, apart=False).fault == ""
    right = command(["status", "--folder", "results"], there, apart=False).errors
    assert "results holds no study" in right
