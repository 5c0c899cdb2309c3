"""The model card, and docs/export.md: what they tell a reader to do works."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from stored import rewrite

from study.config import StudyConfig, load_config
from study.engine.driver import StudyOutcome
from study.export.card import NOT_STATED
from study.export.export import export_trial, parse_formats
from study.export.registry import register_export
from study.report.page import write_report
from study.show.sentences import NO_SAMPLES
from study.tracking import relocate
from wake2vec import ConfigError, WorkFolder

Done = tuple[Path, StudyOutcome]
DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")


@pytest.fixture(scope="module")
def results(done: Done, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card") / "mlruns"
    shutil.copytree(done[0], folder)
    relocate(folder / "mlflow.db", done[0], folder)
    return folder


def card_of(config: StudyConfig, results: Path, target: Path, rights: str | None = None) -> str:
    export_trial(config, results, None, target, (), rights)
    return (target / "README.md").read_text(encoding="utf-8")


def test_the_hub_reads_its_front_matter_and_no_path_of_the_machine_is_told(
    results: Path, study_config: StudyConfig, tmp_path: Path
) -> None:
    card = card_of(study_config, results, tmp_path / "out")
    data = ModelCard(card).data.to_dict()
    assert (data["library_name"], data["license"]) == ("transformers", "other")
    assert "base_model" not in data
    for path in (study_config.run.model.path, study_config.run.corpus.path, str(tmp_path), str(results)):
        assert path not in card
        assert str(Path(path).parent) + "/" not in card
    for heading in ("Method", "Data and rights", "Results against the baseline", "Limits", "How to cite"):
        assert f"\n## {heading}\n" in card
    assert "mean + noise_scale * std * N(0, 1)" in card


def test_rights_are_what_the_user_says_or_not_stated(results: Path, study_config: StudyConfig, tmp_path: Path) -> None:
    assert card_of(study_config, results, tmp_path / "a").count(NOT_STATED) == 3
    said = card_of(study_config, results, tmp_path / "b", rights="All three are mine, CC0.")
    assert "As stated by who exported this model: All three are mine, CC0.\n" in said


def test_the_four_stand_first_with_byte_collapse_and_how_isotropy_misleads(
    results: Path, study_config: StudyConfig, tmp_path: Path
) -> None:
    card = card_of(study_config, results, tmp_path / "out")
    rows = card[card.index("| objective |") :].split("\n\n")[0].splitlines()[2:]
    names = ["validation loss", r"norm gap \|d\|", "isotropy of new rows", "collapse", "byte collapse"]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == names
    assert rows[-1].count("–") == 3, "undefined for a model of random weights"
    assert card.count("Isotropy misleads by itself") == 1


def test_the_study_that_it_tells_to_repeat_is_the_one_that_was_run(
    results: Path, study_config: StudyConfig, tmp_path: Path
) -> None:
    card = card_of(study_config, results, tmp_path / "out")
    (block,) = re.findall(r"```yaml\n(.*?)```", card, re.DOTALL)
    tree = yaml.safe_load(block)
    tree["model"]["path"] = study_config.run.model.path
    tree["corpus"]["path"] = study_config.run.corpus.path
    tree["vocabulary"]["lexicon"] = study_config.run.vocabulary.lexicon
    (tmp_path / "repeat.yaml").write_text(yaml.safe_dump(tree))
    again = load_config(str(tmp_path / "repeat.yaml"))
    assert again.run.knobs() == study_config.run.knobs()
    assert again.study.model_dump(exclude={"trials"}) == study_config.study.model_dump(exclude={"trials"})


def test_what_the_document_says_of_loading_runs(
    results: Path, study_config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exported = export_trial(study_config, results, None, tmp_path / "out")
    register_export(results, "small", exported.trial, exported.digest, exported.folder, ("best",))
    import mlflow

    before = mlflow.get_tracking_uri()
    names: dict[str, Any] = {"folder": exported.folder, "results": results, "study": "small"}
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    try:
        for block in blocks:
            exec(block, names)  # noqa: S102
    finally:
        mlflow.set_tracking_uri(before)
    rows = torch.from_numpy(names["rows"])
    assert torch.equal(names["model"].get_input_embeddings().weight[-len(rows) :], rows)
    assert torch.equal(names["pipeline"].model.get_input_embeddings().weight[-len(rows) :], rows)
    assert list(names["vectors"].index_to_key) == names["words"]
    assert torch.equal(torch.from_numpy(names["vectors"].vectors), rows)


def test_formats_are_named_or_refused() -> None:
    assert parse_formats("projector, word2vec") == parse_formats("both") == ("word2vec", "projector")
    assert parse_formats("none") == ()
    with pytest.raises(ConfigError, match=r"can be written as word2vec, projector, both or none: not as 'csv'"):
        parse_formats("csv")


def test_a_study_that_samples_no_texts_is_shown_and_exported_too(
    results: Path, study_config: StudyConfig, tmp_path: Path
) -> None:
    without = tmp_path / "results"
    shutil.copytree(results, without)
    for path in without.glob("trials/*/result.json"):
        rewrite(WorkFolder(path.parent), {"samples": []})
    page = write_report(study_config, without)
    for path in (page, page.with_suffix(".md")):
        assert NO_SAMPLES in path.read_text(encoding="utf-8")
    assert NO_SAMPLES in card_of(study_config, without, tmp_path / "out")
