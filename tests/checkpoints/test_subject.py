"""What a folder tells of its rows: a trial's export gives the trial's own numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from wake2vec import (
    ConfigError,
    ModelError,
    RunConfig,
    RunResult,
    Source,
    WorkFolder,
    export_folder,
    measure_fully,
    nearest_tokens,
    read_subject,
    run,
)

BASE, NEW = 600, 13


@pytest.fixture(scope="module")
def exported(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial's export, which tests leave as it is."""
    return export(config, tmp_path_factory.mktemp("exported"))[0]


def export(config: RunConfig, folder: Path) -> tuple[Path, RunResult]:
    result = run(config, folder / "trials")
    export_folder(result, WorkFolder(folder / "trials" / result.digest), folder / "export", "card")
    return folder / "export", result


@pytest.mark.parametrize(("form", "rows"), [("phase1", "all"), ("word", "new"), ("space", "all")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_export_gives_the_trials_own_numbers(
    vary: Callable[..., RunConfig], inputs: Path, form: str, rows: str, dtype: str, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    model = AutoModelForCausalLM.from_pretrained(inputs / "model", dtype=dtype)
    model.save_pretrained(base)
    AutoTokenizer.from_pretrained(inputs / "model").save_pretrained(base)
    config = vary(model={"path": str(base)}, vocabulary={"form": form}, train={"rows": rows})
    folder, result = export(config, tmp_path)
    stored = read_subject(Source(folder, before=base, corpus=inputs / "corpus.txt"))
    assert stored.matrix.dtype == dtype
    measured = measure_fully(stored.subject)
    exact = 1e-6 if dtype == "float32" else 0.02
    for address, value in measured.numbers.items():
        if address.startswith("geometry.drift_new"):
            assert value is None, "the base model doesn't know where new rows started"
        elif value is None:
            assert result.numbers[address] is None, address
        else:
            assert value == pytest.approx(result.numbers[address], rel=exact, abs=exact), address
    if dtype == "float32":
        table = nearest_tokens(measured.arrays, stored.row_names, stored.subject.new_counts)
        assert table == result.neighbours


def test_a_folder_that_says_nothing_tells_by_its_tokenizer_where_new_rows_begin(
    vary: Callable[..., RunConfig], inputs: Path, tmp_path: Path
) -> None:
    for form in ("phase1", "word", "space"):
        folder, _ = export(vary(vocabulary={"form": form}, train={"steps": 1}), tmp_path / form)
        assert read_subject(Source(folder)).base_rule == "as the export says"
        (folder / "wake2vec.json").unlink()
        stored = read_subject(Source(folder))
        assert stored.subject.base_size == BASE, form
        assert stored.base_rule.startswith("up to the first word added to the tokenizer")
        assert read_subject(Source(folder, before=inputs / "model")).base_rule == "as many as the model before has"
    with pytest.raises(ConfigError, match=r"doesn't tell which rows are new: give --base-size, or the base model"):
        read_subject(Source(inputs / "model"))


def test_padding_is_noticed_left_out_and_told(exported: Path, inputs: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(exported)
    model.resize_token_embeddings(BASE + NEW, pad_to_multiple_of=64, mean_resizing=False)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(exported).save_pretrained(tmp_path)
    stored = read_subject(Source(tmp_path))
    assert stored.notes == ("27 padding rows, ids 613 to 639, have no token: left out",)
    assert torch.equal(stored.subject.matrix.cpu(), model.get_input_embeddings().weight.detach()[: BASE + NEW])
    # A model before that is padded too, beyond its tokenizer: the new rows took the place of the padding.
    base = AutoModelForCausalLM.from_pretrained(inputs / "model")
    base.resize_token_embeddings(640, mean_resizing=False)
    base.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(inputs / "model").save_pretrained(tmp_path / "base")
    with_before = read_subject(Source(tmp_path, before=tmp_path / "base"))
    assert (with_before.subject.base_size, with_before.subject.new_before) == (BASE, None)


def test_the_checkpoint_before_training_lets_both_groups_drift(exported: Path, tmp_path: Path) -> None:
    matrix = read_subject(Source(exported)).matrix.rows
    save_file({"rows": matrix + 0.01}, tmp_path / "before.safetensors")
    numbers = measure_fully(read_subject(Source(exported, before=tmp_path / "before.safetensors")).subject).numbers
    moved = 0.01 * matrix.shape[1] ** 0.5
    assert [numbers[f"geometry.drift_{group}_l2"] for group in ("base", "new")] == pytest.approx([moved] * 2, rel=1e-4)


def test_a_file_knows_its_matrix_alone_and_takes_references_by_id(exported: Path, inputs: Path) -> None:
    bare = read_subject(Source(exported / "model.safetensors", base_size=BASE))
    assert set(bare.unknown) == {
        *("base_before", "new_before"),
        *("reference_ids", "occurring_ids", "new_counts", "base_kinds"),
    }
    table = nearest_tokens(measure_fully(bare.subject).arrays, bare.row_names, None)
    assert [(near.word, near.seen) for near in table] == [(f"#{BASE + index}", None) for index in range(NEW)]
    known = read_subject(Source(exported, corpus=inputs / "corpus.txt"))
    ids = tuple(known.subject.reference_ids)
    given = read_subject(Source(exported / "model.safetensors", base_size=BASE, references=ids))
    numbers, again = (measure_fully(stored.subject).numbers for stored in (known, given))
    names = ("byte_collapse_share", "byte_collapse_centred_share", "reference_coherence")
    for name in names:
        assert again[f"geometry.{name}"] == numbers[f"geometry.{name}"]


def test_what_doesnt_fit_together_is_refused_in_one_line(exported: Path, inputs: Path, tmp_path: Path) -> None:
    file = exported / "model.safetensors"
    save_file({"rows": torch.ones(BASE, 7)}, tmp_path / "narrow.safetensors")
    save_file({"rows": load_file(file)["model.embed_tokens.weight"][:500]}, tmp_path / "short.safetensors")
    for source, message in (
        (Source(exported, base_size=613), r"at least 2 base and 2 new rows: .* has 613 rows and the new ones .* 613"),
        (Source(exported, base_size=0), "at least 2 base and 2 new rows"),
        (Source(exported, before=tmp_path / "narrow.safetensors"), r"of one width: .*narrow\.safetensors has 7, .* 32"),
        (Source(exported, before=tmp_path / "short.safetensors"), r"must have all base rows: it has 500.*599"),
        (Source(exported, references=(5, 600)), "reference rows are base rows: 600 isn't one of 600"),
        (Source(file, base_size=BASE, corpus=inputs / "corpus.txt"), "a tokenizer is needed: .* is a file, without"),
        (Source(file), "doesn't tell which rows are new"),
    ):
        with pytest.raises((ConfigError, ModelError), match=message) as fault:
            read_subject(source)
        assert "\n" not in str(fault.value)
    for advised in (
        Source(exported, before=inputs / "model"),
        Source(exported, before=tmp_path / "short.safetensors", base_size=500),
    ):
        read_subject(advised)
