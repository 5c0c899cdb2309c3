"""`python -m bench.notebook`: MLflow with 500 trials. What logging a trial costs, and whether the UI's pages come up.

One trial of the profile `tiny` is run; 499 work folders are varied from it, each with 120 records of training and three
evaluations, and the study is brought to MLflow as a driver does that finds its database gone. Twenty trials are logged
once more as while they run, for the cost. A trial of the profile `t4` is planted too, with 3,000 records and 16
evaluations; its time is the least that a Tesla T4 can take, by its peak of 65 TFLOPS. Then the pages are opened in the
machine's Chromium (`CHROMIUM=path` for another).
"""

import math
import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import create_trial
from playwright.sync_api import Browser, ConsoleMessage

from bench.browser import open_browser
from bench.figures import Figure, publish
from bench.screenshots import open_page
from study.config import StudyConfig, load_config
from study.runs.objectives import objective_values
from study.runs.reader import read_record
from study.runs.run import Run, State
from study.runs.storage import fingerprint_of, open_study
from study.search.proposal import distributions, suggest
from study.server.process import mlflow_server
from study.settings import Choices, Value
from study.tracking import Tracker
from study.tracking.sync import Projection
from wake2vec import Progress, RunResult, WorkFolder, fingerprint_inputs, run, write_json

TRIALS = 500
LIVE = 20
KEPT = ("geometry.safetensors", "embedding.png", "audit.json", "sample.txt")
T4_STEPS, T4_EVALUATIONS = 3000, 16
T4_TOKENS, T4_PARAMETERS, T4_FLOPS = 16 * 256, 1.1e9, 65e12
T4_LEAST_S = T4_STEPS * T4_TOKENS * T4_PARAMETERS * 4 / T4_FLOPS
"""Forward 2 operations a parameter and token, backward through a frozen body 2 more."""
OWN = ("404 (Not Found)", "ResizeObserver loop")
"""The UI asks who is logged in, and for assistant and gateway, which are shut; the other is Chromium's note of a layout
that took two passes."""


class Timed:
    """A tracker whose calls are timed."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.tracker, name)
        return self._timed(found) if callable(found) else found

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def main() -> None:
    with open_browser():
        pass  # that there is none is told now, not after minutes
    config = load_config("tiny", [f"study.trials={TRIALS}"])
    inputs = fingerprint_inputs(config.run)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(config.run_config({**config.study.baseline, "seed": 1}), folder / "warm")  # loads the model
        started = time.perf_counter()
        first = run(config.run_config(config.study.baseline), folder / "trials")
        trial_s = time.perf_counter() - started
        projection = Projection(config, folder, inputs)
        projection.show(Run(State.FINISHED, 0, config.study.baseline, digest=first.digest))
        plant(config, folder, first, inputs)
        figures = [
            *live_cost(projection, config, folder, trial_s),
            *projected(projection, config, folder),
            *pages(config, folder),
        ]
    publish("notebook", "python -m bench.notebook", figures)


def plant(config: StudyConfig, folder: Path, first: RunResult, inputs: dict[str, str]) -> None:
    """The first trial as trial 0, and 499 that are varied from it, in their work folders and told to Optuna."""
    study = open_study(folder, config, fingerprint_of(config, inputs))
    baseline = study.ask()
    suggest(baseline, config)
    baseline.set_user_attr("digest", first.digest)
    study.tell(baseline.number, objective_values(first, config))
    dice = random.Random(0)
    source = WorkFolder(folder / "trials" / first.digest)
    for _ in range(TRIALS - 1):
        params = drawn(config, dice)
        result = varied(config, first, params, dice)
        work = WorkFolder(folder / "trials" / result.digest)
        write_trial(work, source, result, dice)
        study.add_trial(
            create_trial(
                values=list(objective_values(result, config)),
                params=params,
                distributions=distributions(config),
                user_attrs={"digest": result.digest},
            )
        )


def drawn(config: StudyConfig, dice: random.Random) -> dict[str, Value]:
    params: dict[str, Value] = {}
    for address, space in config.study.space.items():
        if isinstance(space, Choices):
            params[address] = dice.choice(space.choices)
        else:
            value = math.exp(dice.uniform(math.log(space.low), math.log(space.high)))
            params[address] = round(value) if address.endswith("steps") else value
    return params


def varied(config: StudyConfig, first: RunResult, params: dict[str, Value], dice: random.Random) -> RunResult:
    run_config = config.run_config(params)
    numbers = {key: None if value is None else value * dice.uniform(0.7, 1.3) for key, value in first.numbers.items()}
    digest = run_config.digest(first.fingerprints)
    return first.model_copy(update={"config": run_config, "digest": digest, "numbers": numbers})


def write_trial(work: WorkFolder, source: WorkFolder, result: RunResult, dice: random.Random) -> None:
    """All 120 records, whatever its steps: they are what is logged."""
    factor = dice.uniform(0.8, 1.2)
    log = work.start_progress()
    for record in source.progress():
        log.add(record.step, {key: None if value is None else value * factor for key, value in record.numbers.items()})
    log.close()
    for name in KEPT:
        os.link(source.path / name, work.path / name)
    write_json(work.result_path, result.model_dump())


def live_cost(projection: Projection, config: StudyConfig, folder: Path, trial_s: float) -> list[Figure]:
    """Seconds in MLflow for a trial that is logged while it runs, with one batch on the way."""
    record = read_record(config, folder)
    timed = Timed(projection.tracker)
    tiny = [
        log_live(timed, projection, config, trial, record.progress(trial.digest)) for trial in record.finished[:LIVE]
    ]
    one = sorted(tiny)[len(tiny) // 2]
    long = long_records(record.progress(record.baseline.digest))
    t4 = log_long(projection.tracker, config, record.finished[LIVE], long)
    share, t4_share = one / trial_s, t4 / T4_LEAST_S
    return [
        Figure("logging a trial of `tiny`", one, "s"),
        Figure("the trial itself", trial_s, "s"),
        Figure("share of a trial of `tiny`", share, "", "< 0.01", share < 0.01),
        Figure("logging a trial of `t4`: 3,000 steps, 16 evaluations", t4, "s"),
        Figure("the least that a Tesla T4 takes for it", T4_LEAST_S, "s"),
        Figure("share of a trial of `t4`", t4_share, "", "< 0.01", t4_share < 0.01),
    ]


def log_live(timed: Timed, projection: Projection, config: StudyConfig, trial: Run, records: list[Progress]) -> float:
    before = timed.seconds
    tracker: Any = timed
    projection.tracker = tracker
    live = projection.open(trial, fingerprint_inputs(config.run))
    tracker.log_progress(live.run_id, records[:60])
    live.sent += records[:60]
    projection.ended(trial, live)
    projection.tracker = timed.tracker
    return timed.seconds - before


def long_records(short: list[Progress]) -> list[Progress]:
    """Those of a long trial: the short one's evaluations and updates, over and over."""
    updates = [record for record in short if "training.loss" in record.numbers]
    evaluations = [record for record in short if "validation.loss" in record.numbers]
    every = T4_STEPS // (T4_EVALUATIONS - 1)
    records = [Progress(step, evaluations[-1].numbers, 1e9 + step) for step in range(0, T4_STEPS + 1, every)]
    return records + [
        Progress(step, updates[step % len(updates)].numbers, 2e9 + step) for step in range(1, T4_STEPS + 1)
    ]


def log_long(tracker: Tracker, config: StudyConfig, trial: Run, records: list[Progress]) -> float:
    """A batch every 15 seconds, which are 50 updates at the least that they take."""
    started = time.perf_counter()
    again, inputs = replace(trial, number=10_000), fingerprint_inputs(config.run)
    run_id = tracker.open(again, config.run_config(trial.params), inputs)
    for start in range(0, len(records), 50):
        tracker.log_progress(run_id, records[start : start + 50])
    return time.perf_counter() - started


def projected(projection: Projection, config: StudyConfig, folder: Path) -> list[Figure]:
    """All trials that MLflow doesn't hold yet, then the study as a whole."""
    record = read_record(config, folder)
    started = time.perf_counter()
    projection.missing(record)
    brought = time.perf_counter() - started
    started = time.perf_counter()
    projection.study(record)
    described = time.perf_counter() - started
    started = time.perf_counter()
    projection.study(record)
    again = time.perf_counter() - started
    return [
        Figure("a trial brought to an empty MLflow", brought / (TRIALS - LIVE), "s"),
        Figure(f"pictures, note and marks of {TRIALS} trials", described, "s"),
        Figure("the same once more, when no mark changed", again, "s"),
    ]


def pages(config: StudyConfig, folder: Path) -> list[Figure]:
    """Seconds from a link to what it is for."""
    troubles: list[str] = []
    with open_browser() as browser, mlflow_server(folder, 0) as first_page:
        links = Tracker(folder, config).links(first_page)
        compared = links.comparison.count("%22%2C%22") + 1
        opened(browser, first_page, "text=Experiments", troubles)  # the first page loads the UI itself
        listed = opened(browser, links.sorted_list, ".ag-row >> text=/^trial \\d+/", troubles)
        charts = opened(browser, links.charts, ".js-plotly-plot >> nth=1", troubles)
        lines = opened(browser, links.comparison, ".js-plotly-plot .parcoords, .parcoords", troubles)
        study = opened(browser, links.study, "text=chosen:", troubles)
    for trouble in troubles:
        print("console:", trouble)
    bar = "<= 20"
    return [
        Figure(f"sorted list of {TRIALS} trials: rows are there after", listed, "s", bar, listed <= 20),
        Figure(f"charts of {TRIALS} trials: drawn after", charts, "s", bar, charts <= 20),
        Figure(f"comparison of {compared} trials, the front and baseline: drawn after", lines, "s", bar, lines <= 20),
        Figure("the study's run: note after", study, "s", bar, study <= 20),
        Figure("console errors", len(troubles), "", "= 0", not troubles),
    ]


def opened(browser: Browser, link: str, wanted: str, troubles: list[str]) -> float:
    started = time.perf_counter()
    page = open_page(browser, "about:blank")
    page.on(
        "console",
        lambda message: troubles.append(message.text) if is_trouble(message) else None,
    )
    page.goto(link)
    page.wait_for_selector(wanted, timeout=300_000)
    seconds = time.perf_counter() - started
    page.wait_for_timeout(3000)  # for what goes wrong after it is drawn
    page.close()
    return seconds


def is_trouble(message: ConsoleMessage) -> bool:
    return message.type == "error" and not any(own in message.text for own in OWN)


if __name__ == "__main__":
    main()
