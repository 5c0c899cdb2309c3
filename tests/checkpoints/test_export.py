"""The export, loaded with nothing of ours."""

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.numpy import load_file
from stored import rewrite_arrays
from transformers import AutoModelForCausalLM, AutoTokenizer

from study.config import StudyConfig
from study.engine.driver import StudyOutcome
from study.export.export import export_trial
from wake2vec import ConfigError, ExportError, RunConfig, WorkFolder, export_folder, prepare, read_result, run

Done = tuple[Path, StudyOutcome]


def tree_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_plain_transformers_loads_it_with_the_logged_loss_and_it_writes(
    done: Done, study_config: StudyConfig, tmp_path: Path
) -> None:
    folder, outcome = done
    exported = export_trial(study_config, folder, None, tmp_path / "best")
    assert exported.trial == outcome.choice.trial.number
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "best")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "best")
    run_config = study_config.run_config(outcome.choice.trial.params)
    material = prepare(run_config)
    ids = material.corpus.validation["input_ids"][:]
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss.item()
    assert loss == pytest.approx(exported.logged_loss, abs=1e-3)
    assert loss == pytest.approx(outcome.choice.trial.values[0], abs=1e-3)
    prompt = tokenizer("Enter the King", return_tensors="pt", add_special_tokens=False)
    assert model.generate(**prompt, max_new_tokens=4).shape[1] > prompt["input_ids"].shape[1]
    card = (tmp_path / "best" / "README.md").read_text()
    assert outcome.choice.trial.digest in card
    assert "| geometry.collapse_share |" in card


def test_exported_twice_it_is_the_same_and_another_export_is_not_overwritten(
    done: Done, study_config: StudyConfig, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    export_trial(study_config, done[0], 0, target)
    before = tree_bytes(target)
    export_trial(study_config, done[0], 0, target)
    assert tree_bytes(target) == before
    with pytest.raises(ExportError, match=r"holds another export: remove it, or give another OUT="):
        export_trial(study_config, done[0], 1, target)
    assert tree_bytes(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    export_trial(study_config, done[0], 1, tmp_path / "another")
    shutil.move(target, tmp_path / "removed")
    export_trial(study_config, done[0], 1, target)
    assert tree_bytes(target) == tree_bytes(tmp_path / "another") and tree_bytes(tmp_path / "removed") == before


def test_a_change_in_a_folder_below_is_another_export(done: Done, study_config: StudyConfig, tmp_path: Path) -> None:
    target = tmp_path / "out"
    export_trial(study_config, done[0], 0, target, ())
    words = target / "vectors" / "words.txt"
    words.write_text(words.read_text().replace("haue", "have"))
    before = tree_bytes(target)
    with pytest.raises(ExportError, match="holds another export"):
        export_trial(study_config, done[0], 0, target, ())
    assert tree_bytes(target) == before


def test_the_chosen_trial_is_the_same_export_whether_it_was_named_or_not(
    done: Done, study_config: StudyConfig, tmp_path: Path
) -> None:
    chosen = export_trial(study_config, done[0], None, tmp_path / "a").trial
    export_trial(study_config, done[0], chosen, tmp_path / "b")
    assert tree_bytes(tmp_path / "a") == tree_bytes(tmp_path / "b")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_before_any_change_of_a_file_no_partial_export_appears(config: RunConfig, tmp_path: Path) -> None:
    result = run(config, tmp_path / "trials")
    work = WorkFolder(tmp_path / "trials" / result.digest)
    target = tmp_path / "killed" / "out"
    export_folder(result, work, tmp_path / "calm" / "out", "card")
    kills = 0
    while killed_before(kills + 1, target.parent, lambda: export_folder(result, work, target, "card")):
        kills += 1
        assert not target.exists() or tree_bytes(target) == tree_bytes(tmp_path / "calm" / "out")
        if target.exists():  # renamed: what came after was tidying up
            shutil.rmtree(target)
    assert kills > 15
    assert tree_bytes(target) == tree_bytes(tmp_path / "calm" / "out")
    assert [path.name for path in target.parent.iterdir()] == ["out"]


def killed_before(count: int, folder: Path, work: Callable[[], object]) -> bool:
    """Fork, work, and die before the count-th change of a file below the folder; False where there are fewer."""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, "the victim failed by itself"
        return os.WIFSIGNALED(status)
    changes = itertools.count(1)

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        changed = opened or event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}
        if changed and str(folder) in str(arguments[0]) and next(changes) == count:
            os.kill(os.getpid(), signal.SIGKILL)

    status = 1
    try:
        sys.addaudithook(watch)
        work()
        status = 0
    finally:
        os._exit(status)


def test_inputs_that_have_changed_since_are_refused(config: RunConfig, inputs: Path, tmp_path: Path) -> None:
    shutil.copytree(inputs, tmp_path / "inputs")
    lexicon = tmp_path / "inputs" / "lexicon.txt"
    own = config.model_copy(update={"vocabulary": config.vocabulary.model_copy(update={"lexicon": str(lexicon)})})
    result = run(own, tmp_path / "trials")
    old = lexicon.read_bytes()
    lexicon.write_bytes(old + b"thou\n")
    with pytest.raises(
        ExportError, match=r"as they were in .*: vocabulary\.lexicon has another .*put the old file back"
    ):
        export_folder(result, WorkFolder(tmp_path / "trials" / result.digest), tmp_path / "out", "card")
    assert not (tmp_path / "out").exists()
    lexicon.write_bytes(old)
    export_folder(result, WorkFolder(tmp_path / "trials" / result.digest), tmp_path / "out", "card")


@pytest.mark.parametrize("form", ["phase1", "word", "space"])
def test_llama_cpp_finds_in_the_folder_what_its_converter_reads(
    vary: Callable[..., RunConfig], form: str, tmp_path: Path
) -> None:
    result = run(vary(vocabulary={"form": form}, train={"steps": 1}), tmp_path / "trials")
    folder = tmp_path / "out"
    export_folder(result, WorkFolder(tmp_path / "trials" / result.digest), folder, "card", ("word2vec", "projector"))
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    weights = load_file(folder / "model.safetensors")
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    assert not [name for name in weights if known.get_name(name, try_suffixes=(".weight",)) is None]
    # It takes every *.safetensors and tokenizer.model beside config.json: the vectors lie a folder below.
    assert [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"]
    assert not (folder / "tokenizer.model").exists()
    tokens = [token.decode() for token, _, _ in gguf.LlamaHfVocab(folder).all_tokens()]
    ids = AutoTokenizer.from_pretrained(folder).get_vocab()
    assert tokens == sorted(ids, key=lambda token: ids[token])
    assert len(tokens) == config["vocab_size"] == len(weights["model.embed_tokens.weight"])


def test_an_export_that_isnt_the_trained_model_never_appears(config: RunConfig, tmp_path: Path) -> None:
    result = run(config, tmp_path / "trials")
    work = WorkFolder(tmp_path / "trials" / result.digest)
    rewrite_arrays(work, "rows", {"rows": work.read_arrays("rows")["rows"] * 1.1})
    result = read_result(work)
    with pytest.raises(ExportError, match="must have the logged validation loss"):
        export_folder(result, work, tmp_path / "out", "card")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["phase1", "word", "space"])
@pytest.mark.parametrize("rows", ["all", "new"])
def test_all_forms_and_rows_export(vary: Callable[..., RunConfig], form: str, rows: str, tmp_path: Path) -> None:
    config = vary(vocabulary={"form": form}, train={"rows": rows})
    result = run(config, tmp_path / "trials")
    work = WorkFolder(tmp_path / "trials" / result.digest)
    done = export_folder(result, work, tmp_path / "out", "card")
    assert done.loss == pytest.approx(result.numbers["validation.loss"], abs=1e-4)
    words = (tmp_path / "out" / "vectors" / "words.txt").read_text(encoding="utf-8").splitlines()
    assert words == list(prepare(config).vocabulary.words)
    vectors = torch.from_numpy(load_file(tmp_path / "out" / "vectors" / "new_rows.safetensors")["rows"])
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(vectors, model.get_input_embeddings().weight[-len(words) :])
    trained = torch.from_numpy(work.read_arrays("rows")["rows"])
    assert torch.equal(vectors, trained[-len(words) :])


def test_a_trial_that_isnt_there_is_refused(done: Done, study_config: StudyConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no trial 99 with a result: give one of 0, 1"):
        export_trial(study_config, done[0], 99, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"no study small in .*: run `make study` first"):
        export_trial(study_config, tmp_path, None, tmp_path / "out")


@pytest.mark.parametrize("base", ["untied", "tied"])
@pytest.mark.parametrize("rows", ["all", "new"])
def test_two_matrices_stay_two_and_load_with_the_logged_loss(
    rows: str, base: str, vary: Callable[..., RunConfig], twins: dict[str, Path], tmp_path: Path
) -> None:
    config = vary(model={"path": str(twins[base]), "head": "untied"}, train={"rows": rows})
    result = run(config, tmp_path)
    work = WorkFolder(tmp_path / result.digest)
    export_folder(result, work, tmp_path / "out", "card")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert not model.config.tie_word_embeddings
    matrices = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    material = prepare(config)
    ids = material.corpus.validation["input_ids"][:]
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss.item()
    assert loss == pytest.approx(result.numbers["validation.loss"], rel=1e-6)
    new = load_file(tmp_path / "out" / "vectors" / "new_rows.safetensors")
    for name, matrix in zip(("rows", "head_rows"), matrices, strict=True):
        kept = work.read_arrays("rows")[name]
        assert torch.equal(matrix[len(matrix) - len(kept) :], torch.from_numpy(kept))
        assert (new[name] == kept[len(kept) - len(new[name]) :]).all()
    # The controls: the head that was exchanged, and a trial of the same base whose head is tied.
    with torch.no_grad():
        matrices[1].copy_(matrices[0])
        assert abs(model(input_ids=ids, labels=ids).loss.item() - loss) > 1e-4
    tied = run(vary(model={"path": str(twins[base]), "head": "tied"}), tmp_path)
    export_folder(tied, WorkFolder(tmp_path / tied.digest), tmp_path / "tied", "card")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "tied").config.tie_word_embeddings
    assert load_file(tmp_path / "tied" / "vectors" / "new_rows.safetensors").keys() == {"rows"}
