"""Whole studies of the profile `tiny`, one a sampler seed: what a newcomer's study chooses, and how far that is luck.

Each study runs as the profile has it, two runs side by side, with one thread each. Studies lie in mlruns/studies and
go on where they stopped. Then the first study's export, loaded with nothing but transformers, and the first study again
with one run at a time and two threads. `python -m bench.study 0 1 2` runs these seeds alone, `python -m bench.study
threads` the last part. Part of `make figures`.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.figures import ROOT, Figure, publish
from study.config import load_config
from study.export.export import export_trial
from study.format import figure_name, shown_name
from study.runs.judge import beats_baseline
from study.runs.reader import read_record
from study.runs.record import StudyRecord
from study.runs.run import Run
from study.runs.trials import units_of
from wake2vec import RunResult, prepare
from wake2vec.config import DEFAULT_FOLDER

SEEDS = tuple(range(8))
FOLDER = ROOT / "mlruns" / "studies"
PICTURES = ROOT / "docs" / "pictures"
FIGURES = (
    "validation.loss",
    "geometry.norm_gap_d",
    "geometry.isotropy_new",
    "geometry.collapse_share",
    "geometry.byte_collapse_share",
    "geometry.cosine_new_new_mean",
    "geometry.top1_share_new",
    "geometry.top1_share_base",
)
PHASE1 = {
    "geometry.norm_gap_d": "5.49",
    "geometry.isotropy_new": ".73",
    "geometry.byte_collapse_share": "~.6 of 20",
    "geometry.top1_share_new": ".33",
}
LARGEST_RANGE = 0.1
"""Nats a token by which the chosen trials of all studies may differ."""


def main() -> None:
    if sys.argv[1:] != ["threads"]:
        whole_studies(tuple(map(int, sys.argv[1:])) or SEEDS)
    other = run_study(SEEDS[0], "two-threads", ["machine.threads=2", "study.workers=1"])
    publish("study-threads", "python -m bench.study threads", other_figures(other))


def whole_studies(seeds: Sequence[int]) -> None:
    records = [run_study(seed, "one-thread", ["machine.threads=1"]) for seed in seeds]
    figures = [
        *base_model_figures(),
        *study_figures(records),
        *unit_figures(records[0]),
        *choice_figures(records),
        *export_figures(records[0]),
    ]
    keep_pictures(records[0])
    publish("study", "make figures", figures)


def run_study(seed: int, folder: str, also: Sequence[str]) -> StudyRecord:
    """Studies in one folder share baseline, references and the cache."""
    settings = [f"study.seed={seed}", f"study.name=tiny-{seed}", *also]
    command = [sys.executable, "-m", "study", "run", "tiny", *settings, "--folder", str(FOLDER / folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return read_record(load_config("tiny", settings), FOLDER / folder)


def keep_pictures(record: StudyRecord) -> None:
    """The pictures that the README and the docs show, as the study made them."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    shutil.copy(record.folder / "studies" / record.config.study.name / "front.png", PICTURES / "front.png")
    for name, trial in (("baseline", record.baseline), ("chosen", record.choice.trial)):
        shutil.copy(record.work_folder(trial.digest).path / "embedding.png", PICTURES / f"{name}.png")


def base_model_figures() -> list[Figure]:
    """What the script that built the embedded default measured at its end."""
    found = json.loads((DEFAULT_FOLDER / "base_model" / "training.json").read_text(encoding="utf-8"))
    loss = found["held_out_loss"]
    return [
        Figure("base model: parameters", found["parameters"], ""),
        Figure("base model: held-out loss", loss, "nats a token", "< 3.86", loss < 3.86),
        Figure("base model: held-out bits per byte", found["held_out_bits_per_byte"], "bits"),
    ]


def study_figures(records: Sequence[StudyRecord]) -> list[Figure]:
    """How many trials beat the baseline, and how many keep all bars."""
    better = [sum(beats_baseline(trial, record) for trial in record.finished) for record in records]
    keeping = [sum(trial.keeps_bars for trial in record.finished) for record in records]
    trials = min(len(record.finished) + len(record.stopped) for record in records)
    return [
        Figure("studies, each with a sampler seed of its own", len(records), "", ">= 8", len(records) >= 8),
        Figure("trials a study, baseline included", trials, "", ">= 12", trials >= 12),
        Figure("trials that beat the baseline in every objective, study by study", listed(better), ""),
        Figure("trials that keep all bars, study by study", listed(keeping), ""),
    ]


def unit_figures(record: StudyRecord) -> list[Figure]:
    """What volumes and distances are measured in, as a share of the baseline's values, which were the units before."""
    units = units_of(record.finished, record.baseline, record.config)
    told = [
        f"{shown_name(objective)}: {unit:.3g} ({unit / abs(own):.2f})"
        for objective, unit, own in zip(record.config.study.objectives, units, record.baseline.values, strict=True)
    ]
    return [Figure("units: what the baseline lacks of the best (of the baseline's value)", "; ".join(told), "")]


def choice_figures(records: Sequence[StudyRecord]) -> list[Figure]:
    """The chosen trials, in the means over their seeds: whether they keep the bars, median and range over studies."""
    kept = [record.mean_bars(record.choice.trial) for record in records]
    holding = sum(max(excesses) <= 0 for excesses in kept)
    losses = [mean_of(record, record.choice.trial, "validation.loss") for record in records]
    spread = max(losses) - min(losses)
    bars = records[0].config.study.choice.bars
    figures = [
        Figure("the chosen trial, study by study", listed([record.choice.trial.number for record in records]), ""),
        Figure("  its knobs, study by study", "; ".join(knobs(record) for record in records), ""),
        Figure("  seeds of each", records[0].config.study.seeds, ""),
        Figure("  studies whose chosen trial keeps all bars", holding, "", f"{len(records)}", holding == len(records)),
        Figure(
            "  range of its validation loss over the studies",
            spread,
            "nats",
            f"<= {LARGEST_RANGE}",
            spread <= LARGEST_RANGE,
        ),
    ]
    for place, bar in enumerate(bars):
        holds = sum(excesses[place] <= 0 for excesses in kept)
        figures.append(Figure(f"  studies whose chosen trial keeps {bar.told(figure_name)}", holds, ""))
    for address in FIGURES:
        chosen = [mean_of(record, record.choice.trial, address) for record in records]
        before = mean_of(records[0], records[0].baseline, address)
        note = f" (Phase 1: {PHASE1[address]})" if address in PHASE1 else ""
        value = f"{statistics.median(chosen):.3f} ({min(chosen):.3f} to {max(chosen):.3f})"
        figures.append(
            Figure(f"  {figure_name(address)}{note}: median and range; the baseline's", f"{value}; {before:.3f}", "")
        )
    return figures


def knobs(record: StudyRecord) -> str:
    noise, rate, steps = (record.choice.trial.params[key] for key in record.config.study.space)
    return f"{noise:.3g}, {rate:.3g}, {steps}"


def mean_of(record: StudyRecord, trial: Run, address: str) -> float:
    """Over the trial's seeds."""
    results: list[RunResult] = [record.result(trial.digest), *record.repeat_results(trial).values()]
    return statistics.fmean(result.numbers[address] or 0.0 for result in results)


def other_figures(record: StudyRecord) -> list[Figure]:
    """The first study with another number of threads, and so with other proposals."""
    chosen = record.choice.trial
    keeps = max(record.mean_bars(chosen)) <= 0
    return [
        Figure("one run at a time, with two threads: the chosen trial", chosen.number, ""),
        Figure("  it keeps all bars", str(keeps), "", "True", keeps),
        *(Figure(f"  {figure_name(address)}", f"{mean_of(record, chosen, address):.3f}", "") for address in FIGURES),
    ]


def listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def export_figures(record: StudyRecord) -> list[Figure]:
    """The chosen trial's folder, loaded with `AutoModelForCausalLM` and `AutoTokenizer` alone."""
    config, folder = record.config, record.folder
    target = Path(tempfile.mkdtemp()) / "export"
    exported = export_trial(config, folder, None, target)
    model = AutoModelForCausalLM.from_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    run = config.run_config(record.choice.trial.params)
    ids = prepare(run).corpus.validation["input_ids"][:]
    with torch.no_grad():
        losses = [model(input_ids=part, labels=part).loss.item() * len(part) for part in ids.split(16)]
    difference = abs(sum(losses) / len(ids) - exported.logged_loss)
    prompt = tokenizer("Enter the King", return_tensors="pt", add_special_tokens=False)
    torch.manual_seed(0)
    text = tokenizer.decode(model.generate(**prompt, max_new_tokens=24)[0], skip_special_tokens=True)
    shutil.rmtree(target.parent)
    return [
        Figure(
            "export: loss in plain transformers less the logged one", difference, "nats", "<= 1e-3", difference <= 1e-3
        ),
        Figure("export: it writes", " ".join(text.split()), ""),
    ]


if __name__ == "__main__":
    main()
