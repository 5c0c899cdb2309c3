"""The report as a reader meets it: in a real browser, by pointer, keyboard and finger, and in Markdown."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from conftest import Silent
from playwright.sync_api import Browser, Page
from stored import rewrite

from bench.report import plant
from study.config import StudyConfig, check_config, make_command, profile_text
from study.engine.drive import drive
from study.engine.driver import StudyOutcome
from study.format import signed
from study.report.page import write_report
from study.runs.compare import pair_of
from study.runs.judge import standing
from study.runs.reader import read_record
from study.runs.trials import costs_of
from study.show.sentences import title
from study.show.table import in_markdown
from study.show.tables import comparison_table
from study.tracking import Links
from study.tracking.note import study_note
from wake2vec import ConfigError, WorkFolder, read_result, write_result
from wake2vec.result import stored_content

HOSTILE = "</script><img src=x onerror=alert(1)>"
Lab = tuple[Path, StudyConfig]
Open = Callable[..., Page]


@pytest.fixture(scope="session")
def lab(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A finished study with all that a report can tell of: repeats, a reference, bounds, stopped trials."""
    study = {
        **tree["study"],
        "trials": 7,
        "seeds": 2,
        "finalists": 1,
        "space": {**tree["study"]["space"], "train.steps": {"low": 6, "high": 9}},
        "startup_trials": 6,
        "sampler": "random",  # Optuna's Gaussian process warns of more than four objectives
        "objectives": [*tree["study"]["objectives"], {"result": "geometry.cosine_new_new_mean", "goal": "minimize"}],
        "anchors": {
            "noise 1.0": {"init.noise_scale": 1.0},
            "mean row": {"init.name": "mean"},
            "norm-matched sphere": {"init.name": "sphere"},
            "the longest name that an anchor may have": {"init.name": "library_default"},
        },
        "bounds": ["validation.loss <= baseline + 0.5"],
        "choice": {"rule": "nearest_to_ideal"},
        "stopping": {"grace_steps": 3, "keep_share": None, "stuck_nats": 0.05, "diverged_nats": None},
    }
    config = check_config({**tree, "study": study})
    folder = tmp_path_factory.mktemp("lab") / "mlruns"
    drive(config, folder, Silent())
    return folder, config


@pytest.fixture
def show(browser: Browser) -> Iterator[Open]:
    """Opens a page; at the end nothing was asked for but the page, and nothing complained."""
    troubles: list[str] = []
    asked: list[str] = []
    contexts = []

    def opened(path: Path, **settings: Any) -> Page:
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.goto(path.as_uri())
        return page

    yield opened
    assert troubles == []
    assert len(asked) == len(contexts), asked
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def page_path(lab: Lab) -> Path:
    """Of a report whose lexicon, base tokens and samples hold words that are markup; byte collapse is planted."""
    folder, config = lab
    for path in folder.glob("trials/*/result.json"):
        work = WorkFolder(path.parent)
        rewrite(work, {"numbers": {**read_result(work).numbers, "geometry.byte_collapse_share": 0.0625}})
    for trial in read_record(config, folder).finished:
        work = WorkFolder(folder / "trials" / trial.digest)
        result = stored_content(work)
        result["neighbours"][0] |= {"word": HOSTILE, "tokens": [HOSTILE] * 5}
        result["samples"] = [f"{HOSTILE}'\"&|"]
        result["audit"]["worst_cuts"] = [{"new": HOSTILE, "word": HOSTILE, "places": 3}]
        write_result(work, result)
    return write_report(config, folder)


def lit(page: Page) -> int:
    """In how many charts a run stands out."""
    return page.locator("svg:has(.run.lit)").count()


def test_a_trial_that_is_pointed_at_is_lit_in_every_chart_and_its_values_are_shown(
    lab: Lab, page_path: Path, show: Open
) -> None:
    folder, config = lab
    chosen = read_record(config, folder).choice.trial
    page = show(page_path)
    assert lit(page) == 0 and not page.locator("#inspector").is_visible()
    page.locator(f"[data-trial='{chosen.number}'] .hit").nth(3).hover(force=True)
    # Parallel coordinates, the curves, two of hypervolume, byte collapse; per objective an interval and a cost; pairs.
    goals = len(config.study.objectives)
    assert lit(page) == 5 + 2 * goals + goals * (goals - 1) / 2
    told = page.locator("#inspector").inner_text()
    assert f"Trial {chosen.number}: " in told and "chosen" in told
    for value in (*chosen.values, *chosen.params.values()):
        assert (f"{value:.4g}" if isinstance(value, float) else str(value)) in told
    page.mouse.move(2, 2)
    assert lit(page) == 0 and not page.locator("#inspector").is_visible()


def test_the_keyboard_and_a_finger_do_the_same(lab: Lab, page_path: Path, show: Open) -> None:
    stopped = read_record(lab[1], lab[0]).stopped[0]
    page = show(page_path, has_touch=True, viewport={"width": 390, "height": 844})
    page.get_by_role("button", name=f"{stopped.number}: show in all charts").first.focus()
    assert lit(page) > 0
    assert f"Trial {stopped.number}: stopped at {stopped.step}" in page.locator("#inspector").inner_text()
    assert stopped.reason in page.locator("#inspector").inner_text()
    page.keyboard.press("Escape")
    assert lit(page) == 0
    # In the first chart each trial has a row to itself; against seconds, marks lie on each other by chance.
    page.locator("[data-trial='0'] .hit").first.tap(force=True)
    assert "Trial 0: baseline, on the front" in page.locator("#inspector").inner_text()
    page.get_by_role("button", name="Next trial").tap()
    assert "Trial 1: " in page.locator("#inspector").inner_text()
    page.get_by_role("button", name="Close").tap()
    assert lit(page) == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 390, "only tables scroll sideways"


def test_words_that_are_markup_are_words(page_path: Path, show: Open) -> None:
    page = show(page_path)
    assert page.locator("img").count() == 0
    for place in (".sides pre", "td", "tbody th", "li"):
        assert page.locator(place, has_text=HOSTILE).count(), place
    page.get_by_role("button", name="mean row: show in all charts").first.focus()
    assert "Mean row: reference" in page.locator("#inspector").inner_text()


BEYOND = """() => {
  const found = [], page = document.documentElement;
  const beyond = (what, own, room) => {
    if (own.width && (own.left < room.left - 1 || own.right > room.right + 1)) found.push(what);
  };
  for (const one of document.querySelectorAll("main *, #inspector *")) {
    if (one.closest(".parallel")) continue;  // that picture scrolls in a box of its own
    const box = one.parentElement.closest(".wide") ?? page;
    beyond(one.outerHTML.slice(0, 90), one.getBoundingClientRect(), box.getBoundingClientRect());
  }
  for (const one of document.querySelectorAll("svg text")) {
    const own = one.getBoundingClientRect(), room = one.ownerSVGElement.getBoundingClientRect();
    beyond(one.outerHTML, own, room);
    if (own.width && (own.top < room.top - 1 || own.bottom > room.bottom + 1)) found.push(one.outerHTML);
  }
  if (page.scrollWidth > page.clientWidth) found.push("the page");
  return found;
}"""
"""What lies beyond the page, its table's box or its picture."""


@pytest.mark.parametrize("width", [400, 800, 1100, 1600])
def test_nothing_lies_beyond_the_page_its_box_or_its_picture(page_path: Path, show: Open, width: int) -> None:
    page = show(page_path, viewport={"width": width, "height": 900})
    page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
    assert page.locator("svg text", has_text="norm-matched sphere").count() >= 5, "a name is cut where it has no room"
    assert page.evaluate(BEYOND) == []
    page.locator("#front ~ .wide td").first.evaluate("cell => (cell.style.cssText = 'display: block; width: 2000px')")
    page.locator("svg text", has_text="norm-matched sphere").first.evaluate("words => words.setAttribute('x', -9)")
    assert len(page.evaluate(BEYOND)) >= 2


def test_the_four_stand_first_with_byte_collapse_and_how_isotropy_misleads(page_path: Path, show: Open) -> None:
    page = show(page_path)
    first = ["validation loss", "norm gap |d|", "isotropy of new rows", "collapse", "byte collapse"]
    assert page.locator(".answer .cards tbody th").all_inner_texts() == [*first, "mean cosine of new rows"]
    for table in ("The front and the baseline", "References", "All trials"):
        heads = page.locator(f"[aria-label='{table}'] thead th").all_text_contents()
        assert heads[1:6] == first
    assert page.locator(".issue h3").all_inner_texts()[:3] == ["Norm gap", "Isotropy", "Collapse"]
    assert page.get_by_text("Isotropy misleads by itself").count() == 1
    assert "Isotropy misleads by itself" in page_path.with_suffix(".md").read_text()


def test_a_script_that_isn_t_the_page_s_own_does_not_run(page_path: Path, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(page_path.as_uri())
    add = "document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = \"taken\"'}))"
    page.evaluate(add)
    assert page.title() != "taken"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_passes_axe(page_path: Path, show: Open, scheme: str) -> None:
    page = show(page_path, color_scheme=scheme, reduced_motion="reduce")
    page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
    page.get_by_role("button", name="0: show in all charts").first.focus()
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21aa"]}})
    assert found.violations_count == 0, found.generate_report()


def test_without_a_script_the_charts_are_there(page_path: Path, show: Open) -> None:
    page = show(page_path, java_script_enabled=False)
    assert page.locator("svg .run").count() > 50
    assert not page.locator("#inspector").is_visible()


def test_intervals_bounds_references_and_stopped_trials_are_told(lab: Lab, page_path: Path) -> None:
    folder, config = lab
    record = read_record(config, folder)
    text = page_path.with_suffix(".md").read_text()
    assert "Over 2 seeds, paired seed by seed" in text
    less = record.differences(record.choice.trial)[0]
    assert f"| {signed(less)} |" in text
    mean, half = signed(less).split()
    assert f">{mean} <small>{half}</small></td>" in page_path.read_text()
    assert "| validation.loss <= baseline + 0.5 |".replace("<", "&lt;") in text
    assert "init.name mean" in text and "&lt;img" in text and "<img src" not in text.replace(HOSTILE, "")
    for trial in record.stopped:
        assert f"| {trial.number} | at step {trial.step}: {trial.reason} |" in text


def test_one_seed_is_said_to_give_no_interval(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(done[0], tmp_path / "mlruns")
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(profile_text(study_config))
    page = write_report(study_config, folder, "small.yaml", ["study.trials=4"]).read_text()
    assert "no interval was measured" in page and "study.seeds=3" in page
    assert "make export PROFILE=small.yaml TRIALS=4" in page
    assert "http://" not in page and "https://" not in page
    assert write_report(study_config, folder, "small.yaml", ["study.trials=4"]).read_text() == page


def test_other_settings_than_the_study_s_are_refused(
    done: tuple[Path, StudyOutcome], tree: dict[str, Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(done[0], tmp_path / "mlruns")
    other = check_config({**tree, "study": {**tree["study"], "objectives": tree["study"]["objectives"][::-1]}})
    with pytest.raises(ConfigError, match=r"made with another configuration \(study\.objectives"):
        write_report(other, folder)
    assert not (folder / "studies" / "small" / "report.html").exists()


def test_what_beats_the_baseline_is_said_of_the_same_trials_everywhere(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, tmp_path: Path
) -> None:
    plant(read_record(study_config, done[0]), tmp_path, 40)
    record = read_record(study_config, tmp_path)
    baseline, said = costs_of(record.baseline, study_config), "beats the baseline"
    found = []
    for trial in record.finished[1:]:
        record.__dict__["choice"] = replace(record.choice, trial=trial, runners_up=())
        own = costs_of(trial, study_config)
        found.append(own != baseline and all(a <= b for a, b in zip(own, baseline, strict=True)))
        note = study_note(record, Links("", "", "", ""), [])
        (row,) = (line for line in note.splitlines() if line.startswith(f"| {trial.number}&ensp;"))
        card = in_markdown(comparison_table(record, pair_of(record, record.baseline, trial)))
        assert [said in title(record), said in standing(trial, record).words, said in row] == [found[-1]] * 3
        assert not found[-1] or "| worse |" not in card
    assert len(set(found)) == 2, "some beat it, some don't"


def test_a_hundred_trials_stay_small(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, tmp_path: Path, show: Open
) -> None:
    plant(read_record(study_config, done[0]), tmp_path, 100)
    path = write_report(study_config, tmp_path)
    assert path.stat().st_size < 5e6
    page = show(path)
    assert page.locator(".parallel .run").count() == 100
    assert page.locator("tr[data-trial]").count() >= 100


def test_the_profile_that_it_prints_is_the_study_s(lab: Lab, study_config: StudyConfig) -> None:
    for config in (lab[1], study_config):
        assert check_config(yaml.safe_load(profile_text(config))) == config


def test_the_commands_are_those_of_make() -> None:
    assert make_command("report", "tiny", []) == "make report"
    overrides = ["corpus.path=a b.txt", "train.rows=new", "study.trials=9", "study.trials=20", "study.name=x"]
    assert make_command("export", "t4", overrides) == (
        "make export PROFILE=t4 CORPUS='a b.txt' TRIALS=20 LEXICON=... SET='train.rows=new study.name=x'"
    )
