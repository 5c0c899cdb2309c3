from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wake2vec.data import lexicon
from wake2vec.data.lexicon import Lexicon, read_lexicon
from wake2vec.errors import LexiconError


def read(tmp_path: Path, data: bytes) -> Lexicon:
    path = tmp_path / "lexicon.txt"
    path.write_bytes(data)
    return read_lexicon(path)


def test_order_is_kept_and_duplicates_bom_cr_and_comments_are_dropped(tmp_path: Path) -> None:
    read_ = read(tmp_path, "\ufeffriverrun\r\n# Joyce\r\n\r\nswerve\r\nriverrun\r\n".encode())
    assert read_ == Lexicon(("riverrun", "swerve"), duplicates=1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "must not be empty"),
        (b"# only a comment\n", "needs at least one word"),
        (b"caf\xe9\n", "must be UTF-8: .* at byte 3"),
        (b"a\ntwo words\n", "line 2: 'two words' has a space inside"),
        ("zero\u200bwidth\n".encode(), r"line 1: 'zero\\u200bwidth' has the invisible character U\+200B"),
        (b"</s>\n", "line 1: '</s>' has the form of a special token"),
        (b"x" * 65 + b"\n", "has 65 letters, more than 64"),
        ("caf\u00e9\ncafe\u0301\n".encode(), "line 2: .* is line 1's word in another Unicode form"),
        ("wo▁rd\n".encode(), r"has U\+2581"),
    ],
)
def test_a_bad_lexicon_is_refused_with_line_and_reason(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(LexiconError, match=message):
        read(tmp_path, data)


def test_a_list_that_is_too_long_is_taken_when_it_was_shortened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lexicon, "MOST_WORDS", 3)
    with pytest.raises(LexiconError, match=r"at most 3 words: .* has 4; shorten it"):
        read(tmp_path, b"a\nb\nc\nd\n")
    assert read(tmp_path, b"a\nb\nc\n").words == ("a", "b", "c")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(LexiconError, match=r"nowhere\.txt does not exist"):
        read_lexicon(tmp_path / "nowhere.txt")


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_words_or_one_line(tmp_path: Path, data: bytes) -> None:
    try:
        found = read(tmp_path, data)
    except LexiconError as fault:
        assert "\n" not in str(fault)
    else:
        assert found.words
        assert all(word == word.strip() and word for word in found.words)
