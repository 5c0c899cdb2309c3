"""Lexicons and texts as people have them: each fault is named as what it is, and what is advised mends it."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.faults.attempt import Attempt, command, one_step
from bench.faults.texts import BAD_TEXTS, CHINESE, GOOD_TEXTS, MENDED_LISTS, TABLES, WORDS, Given
from wake2vec.data.lexicon import WORD, encoding_of, fault_of, parse_lexicon
from wake2vec.data.mending import mend


@pytest.fixture
def trial(inputs: Path, tmp_path: Path):
    """Run a trial of one step on what is given."""

    def run(given: Given, lexicon: str = "words.txt", corpus: str = "text.txt", form: str | None = None) -> Attempt:
        for name, data, default in (
            ("words.txt", given.lexicon, "lexicon.txt"),
            ("text.txt", given.corpus, "corpus.txt"),
        ):
            (tmp_path / name).write_bytes((inputs / default).read_bytes() if data is None else data)
        settings = [f"model.path={inputs / 'model'}", f"corpus.path={corpus}", f"vocabulary.lexicon={lexicon}"]
        settings += [f"retention.path={inputs / 'corpus.txt'}", f"vocabulary.form={form or given.form}"]
        settings += ["corpus.block_tokens=32", "train.batch_blocks=2", "machine.threads=1", "sample.count=1"]
        settings += ["sample.new_tokens=2", "study.anchors=null", "study.space.train.steps=null", "train.steps=1"]
        return one_step(settings, tmp_path, apart=False)

    return run


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_a_list_or_text_that_cant_be_used_is_told_by_its_cause(name: str, trial) -> None:
    told = trial(BAD_TEXTS[name])
    assert told.fault == ""
    assert BAD_TEXTS[name].told in told.errors


@pytest.mark.parametrize("name", GOOD_TEXTS)
def test_what_only_looks_odd_runs(name: str, trial) -> None:
    told = trial(GOOD_TEXTS[name])
    assert told.runs, told.said


@pytest.mark.parametrize("name", MENDED_LISTS)
def test_the_command_that_is_advised_mends_the_list_and_keeps_it(name: str, trial, tmp_path: Path) -> None:
    given = MENDED_LISTS[name]
    told = trial(given).errors
    advised = re.search(r"`python -m (study lexicon mend [^`]+)`", told)
    words = shlex.split(advised[1])[1:] if advised else ["lexicon", "mend", "words.txt", "--out", "w.txt"]
    names = {"LEXICON": "words.txt", "CORPUS": "text.txt"}
    mended = command([names.get(word, word) for word in words], tmp_path, apart=False)
    assert mended.runs and (tmp_path / "words.txt").read_bytes() == given.lexicon, mended.said
    if name in TABLES:
        assert tuple((tmp_path / mended.made[0]).read_text().split()) == WORDS
    else:
        assert trial(given, lexicon=mended.made[0]).runs


@pytest.mark.skipif(shutil.which("iconv") is None, reason="iconv")
@pytest.mark.parametrize(
    "name", ["corpus: latin-1", "corpus: UTF-16", "corpus: UTF-16 without a mark", "corpus: UTF-32"]
)
def test_a_text_in_another_encoding_runs_after_what_is_advised(name: str, trial, tmp_path: Path) -> None:
    advised = re.search(r"`(iconv [^`]+)`", trial(BAD_TEXTS[name]).errors)
    assert advised is not None
    subprocess.run(["sh", "-c", advised[1]], cwd=tmp_path, check=True)
    assert trial(BAD_TEXTS[name], corpus="text.utf8.txt").runs


@pytest.mark.parametrize("form", ["word", "space"])
def test_the_form_that_is_advised_works_and_leads_in_no_circle(form: str, trial) -> None:
    given = Given("", "宇宙\n日月\n".encode(), CHINESE.encode())
    (advised,) = re.findall(r"vocabulary\.form=(\w+)", trial(given, form=form).errors)
    assert trial(given, form=advised).runs


def test_joiners_are_letters_of_their_words() -> None:
    assert WORD.findall("او می\u200cخواهم رفت") == ["او", "می\u200cخواهم", "رفت"]
    assert fault_of("می\u200cخواهم") is None and fault_of("\U0001f468\u200d\U0001f469") is None
    assert fault_of("\u200cمی") and fault_of("می\u200bخواهم")  # the controls


def test_hashed_words_are_counted_and_comments_are_not(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("# a comment\n#hashtag\n#\nhaue\n")
    lexicon, _ = parse_lexicon(tmp_path / "words.txt")
    assert (lexicon.words, lexicon.commented) == (("haue",), ("#hashtag",))


def test_mending_tells_what_it_did(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("n;Wort\n3;CAFÉ\n2;two words\n1;Haue\n1;haue\n".encode("latin-1"))
    mended = mend(tmp_path / "t.csv", text="the café, haue")
    assert mended.words == ("café", "haue")
    told = ["WINDOWS-1252", "column 2 of 2", "the head 'Wort'", "in lower case", "can't be words", "repeated a word"]
    assert all(part in note for part, note in zip(told, mended.notes, strict=True)), mended.notes
    assert mend(tmp_path / "t.csv", column=1).words == ("n", "3", "2", "1")
    (tmp_path / "odd.txt").write_bytes(b"vpon\xe9\ncaf\x81\n")  # the second byte is no letter of windows-1252
    odd = mend(tmp_path / "odd.txt")
    assert odd.words == ("vponé",) and "U+FFFD" in odd.notes[-1]


def test_an_encoding_is_told_by_marks_nuls_and_bytes() -> None:
    text = "haue vpon\n"
    for encoding, name in (
        ("utf-8", "utf-8-sig"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
    ):
        assert encoding_of(text.encode(encoding)) == name
    assert encoding_of("é".encode("latin-1")) == "windows-1252"
    assert encoding_of(b"") == "utf-8-sig"
