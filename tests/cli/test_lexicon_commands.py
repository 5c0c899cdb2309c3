"""`study lexicon build` and `study lexicon audit`, as a person types them."""

import json
import shutil
from pathlib import Path

import pytest
from kinds import tokenizer_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner, Result

from study.cli.main import app
from wake2vec import CorpusConfig, RunConfig, audit_lexicon, warnings_of
from wake2vec.data.lexicon import read_lexicon


@pytest.fixture
def here(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder beside the inputs."""
    monkeypatch.chdir(tmp_path)
    return inputs


def lexicon(command: str, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["lexicon", command, *map(str, arguments)])


def build(inputs: Path, *arguments: str) -> Result:
    return lexicon("build", inputs / "corpus.txt", "--base", inputs / "model", *arguments)


def audit(inputs: Path, words: Path, *arguments: str) -> Result:
    return lexicon("audit", words, "--base", inputs / "model", "--corpus", inputs / "corpus.txt", *arguments)


def test_a_lexicon_is_built_with_its_scores_and_the_audit_takes_it(here: Path, tmp_path: Path) -> None:
    shown = build(here, "--max-zipf", "4")
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.output.splitlines())) <= 80
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.lexicon.txt", "corpus.lexicon.csv"}
    words = read_lexicon("corpus.lexicon.txt").words
    assert "thinke" in words
    comments = [line for line in Path("corpus.lexicon.txt").read_text().splitlines() if line.startswith("#")]
    assert "# made by: study lexicon build corpus.txt --base model --min-count 2 --max-zipf 4" in comments
    assert Path("corpus.lexicon.csv").read_text().count("\n") == 1 + len(words)

    shown = audit(here, Path("corpus.lexicon.txt"), "--capitals", "added")
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.output.splitlines())) <= 80
    assert all(form in shown.output for form in ("phase1", "word", "space"))


def test_pieces_are_built_and_audited(here: Path, tmp_path: Path) -> None:
    """As a list of words, which isn't one of pieces, advises it."""
    told = audit(here, here / "lexicon.txt", "--form", "pieces")
    assert told.exit_code == 2 and "lexicon build CORPUS --base MODEL --pieces N" in told.stderr
    told = build(here, "--pieces", "40", "--max-zipf", "4")
    assert told.exit_code == 2 and not list(tmp_path.iterdir())
    assert told.stderr == "error: pieces have no limits but --min-count: --max-zipf 4; leave it away, or --pieces\n"

    shown = build(here, "--pieces", "40")
    assert shown.exit_code == 0, shown.output
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.pieces.txt", "corpus.pieces.csv"}
    assert "vocabulary.form=pieces vocabulary.lexicon=corpus.pieces.txt" in shown.output
    words = read_lexicon("corpus.pieces.txt").words
    rows = Path("corpus.pieces.csv").read_text().splitlines()
    assert len(words) == 40 and [row.split(",")[0] for row in rows[1:]] == [*words]
    for form in ([], ["--form", "pieces"]):
        told = audit(here, Path("corpus.pieces.txt"), *form)
        assert told.exit_code == 0, told.output
        assert "pieces" in told.output and "phase1" not in told.output
    assert max(map(len, (shown.output + told.output).splitlines())) <= 80
    assert "pieces, not 1,000,000" in build(here, "--pieces", "1000000", "--out", "all.txt").output


def test_building_again_changes_nothing_and_other_words_are_not_replaced_without_consent(
    here: Path, tmp_path: Path
) -> None:
    assert build(here, "--out", "made.txt").exit_code == 0
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert build(here, "--out", "made.txt").exit_code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == made

    shown = build(here, "--out", "made.txt", "--min-count", "3")
    assert shown.exit_code == 2
    assert shown.stderr == (
        "error: files that hold something else aren't replaced: made.csv and made.txt hold other words or scores; "
        "give --out another name, or --force\n"
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == made
    assert build(here, "--out", "made.txt", "--min-count", "3", "--force").exit_code == 0
    assert Path("made.txt").read_bytes() != made["made.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "no.txt", "--base", "model"], "error: the corpus must be a text file: no.txt does not exist"),
        (["build", "corpus.txt", "--base", "nowhere/of/all"], "error: the base model must be a local folder or a name"),
        (["build", "corpus.txt", "--base", "model", "--min-count", "99999"], "error: a lexicon needs at least one"),
        (["build", "corpus.txt", "--base", "model", "--out", "x.csv"], "error: the word list can't be a .csv"),
        (
            ["build", "corpus.txt", "--base", "model", "--out", "corpus.txt/x.txt"],
            "error: the word list can't be written",
        ),
        (["audit", "no.txt", "--base", "model", "--corpus", "corpus.txt"], "error: the lexicon must be a text file"),
        (["audit", "lexicon.txt", "--base", "model", "--corpus", "no.txt"], "error: the corpus must be a text file"),
        (
            ["audit", "empty.txt", "--base", "model", "--corpus", "corpus.txt"],
            "error: a lexicon needs at least one word",
        ),
    ],
)
def test_what_a_user_can_put_right_is_one_line_and_makes_nothing(
    arguments: list[str], message: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    shutil.copytree(inputs, work)
    (work / "empty.txt").write_text("two words\n</s>\n")
    monkeypatch.chdir(work)
    before = sorted(work.rglob("*"))
    shown = CliRunner().invoke(app, ["lexicon", *arguments])
    assert shown.exit_code == 2
    assert shown.stderr.startswith(message)
    assert shown.stderr.count("\n") == 1
    assert shown.stdout == ""
    assert sorted(work.rglob("*")) == before


def test_json_is_all_that_is_printed_and_holds_every_form_with_its_warnings(here: Path) -> None:
    shown = audit(here, here / "lexicon.txt", "--json")
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)
    assert list(found["forms"]) == ["phase1", "word", "space"]
    assert found["forms"]["space"]["words_cut_share"] == 0
    assert found["forms"]["phase1"]["words_cut_share"] > 0
    one = json.loads(audit(here, here / "lexicon.txt", "--json", "--form", "space").stdout)
    assert one["forms"] == {"space": found["forms"]["space"]}
    assert one["warnings"]["space"] == found["warnings"]["space"]


def test_one_bad_line_hides_nothing_of_the_audit(here: Path) -> None:
    words = Path("words.txt")
    words.write_text("haue\ntwo words\nvpon\nhaue\n<s>\nzephyrous\n<unk\n")
    shown = audit(here, words)
    assert shown.exit_code == 0, shown.output
    for line in (
        "2 faults are in it, and a study refuses it until they are put right",
        "line 2: 'two words' has a space inside; a word is one token",
        "line 5: '<s>' has the form of a special token",
        "1 line repeats a word",
    ):
        assert line in shown.output


def test_warnings_say_what_to_mind_in_plain_words(tmp_path: Path) -> None:
    words, corpus = tmp_path / "words.txt", tmp_path / "corpus.txt"
    words.write_text("hee\nzephyrous\nselfe\n")
    corpus.write_text("thee Selfe in thee hee\n" * 2000)
    found = audit_lexicon(words, RunConfig().model.path, CorpusConfig(path=str(corpus)), ["word", "phase1"])
    warnings = warnings_of(found)
    assert "`hee` cuts `thee`, a word that the base knows whole: 4,000 places" in warnings["phase1"]
    assert (
        "2 new tokens never occur in training (66.7%), 0 of them in validation: nothing teaches these"
        in (warnings["word"])
    )
    assert (
        "the text has 1 of these words where training doesn't meet their token: `selfe` 2,000 times"
        in (warnings["word"])
    )
    assert [line.split(":")[0] for line in warnings["lexicon"]] == ["a token doesn't match its word in capitals"]
    assert not any("cuts" in line for line in warnings["word"])


def test_a_form_that_cannot_be_had_leaves_the_others(here: Path, tmp_path: Path) -> None:
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 (a token of a vocabulary)
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.decoder = decoders.WordPiece()
    text = (here / "corpus.txt").read_text(encoding="utf-8")
    learner.train_from_iterator(
        [text], trainers.WordPieceTrainer(vocab_size=400, special_tokens=["[UNK]"], show_progress=False)
    )
    PreTrainedTokenizerFast(tokenizer_object=learner).save_pretrained(tmp_path / "pieces")
    options = ["--base", tmp_path / "pieces", "--corpus", here / "corpus.txt"]
    shown = lexicon("audit", here / "lexicon.txt", *options)
    assert shown.exit_code == 0, shown.output
    refusal = "the form `space` needs a BPE model"
    assert refusal in shown.output
    assert lexicon("audit", here / "lexicon.txt", *options, "--form", "space").exit_code == 2
    built = " ".join(lexicon("build", here / "corpus.txt", "--base", tmp_path / "pieces").output.split())
    assert refusal in built
    assert "Tokens of the text, form word: " in built, "the remedy is followed"


def test_scripts_without_spaces_are_told_which_form_meets_them_and_a_study_is_refused_with_the_form_to_choose(
    tmp_path: Path,
) -> None:
    tokenizer_of("qwen").save_pretrained(tmp_path / "base")
    words, corpus = tmp_path / "words.txt", tmp_path / "corpus.txt"
    words.write_text("未来\n言葉\n", encoding="utf-8")
    corpus.write_text("日本語の未来と言葉を話す。\n" * 900, encoding="utf-8")
    options = ["--base", tmp_path / "base", "--corpus", corpus]
    shown = lexicon("audit", words, *options)
    assert "2 words are of a script without spaces" in " ".join(shown.output.split())
    assert "(tokens met: 2 in phase1)" in " ".join(shown.output.split())
    refused = lexicon("audit", words, *options, "--form", "space")
    assert refused.exit_code == 2
    assert refused.stderr.endswith("so none can be learned: choose vocabulary.form=phase1\n")
    assert lexicon("audit", words, *options, "--form", "phase1").exit_code == 0


def test_text_that_a_form_would_corrupt_is_an_error_beside_the_other_forms(here: Path, tmp_path: Path) -> None:
    """A tokenizer of the legacy kind puts a space after each added token."""
    state = json.loads((here / "model" / "tokenizer.json").read_text())
    state["normalizer"] = None
    state["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
    legacy = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))
    legacy.save_pretrained(tmp_path / "legacy")
    options = ["--base", tmp_path / "legacy", "--corpus", here / "corpus.txt"]
    shown = lexicon("audit", here / "lexicon.txt", *options)
    assert shown.exit_code == 2
    assert shown.stderr.startswith("error: phase1: the extended tokenizer changes the text that the base keeps")
    assert shown.stderr.count("\n") == 1
    assert "new tokens" in shown.stdout
    found = json.loads(lexicon("audit", here / "lexicon.txt", *options, "--json").stdout)
    assert "space" in found["forms"]
    assert "phase1" in found["unusable"]
