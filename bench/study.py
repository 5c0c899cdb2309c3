"""The study `tiny` of mlruns/, and once more from nothing: what the baseline shows, what beats it, whether it repeats.

Then the export, loaded with nothing but transformers. Part of `make figures`.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.figures import ROOT, Figure, publish
from study.companions import repeats
from study.config import StudyConfig, load_config
from study.export.export import export_trial
from study.names import shown_name
from study.noise import Interval, interval
from study.record import StudyRecord, read_record
from study.trials import FinishedTrial, beats_baseline
from wake2vec import RunResult, WorkFolder, prepare, read_result
from wake2vec.config import DEFAULT_FOLDER

SETTINGS = ["study.seeds=5"]
PICTURES = ROOT / "docs" / "pictures"
ISSUES = (
    ("geometry.norm_gap_d", "norm gap d (Phase 1: 5.49)"),
    ("geometry.norm_ratio", "mean norm, new / base (Phase 1: .55)"),
    ("geometry.byte_collapse_share", "new rows collapsed onto byte rows (Phase 1: ~.6 of 20)"),
    ("geometry.collapse_share", "new rows collapsed onto byte rows or each other"),
    ("geometry.top1_share_new", "variance of the new rows in one direction (Phase 1: .33)"),
    ("geometry.isotropy_new", "isotropy of the new rows (Phase 1: .73)"),
    ("validation.loss", "validation loss, nats a token"),
    ("validation.bits_per_byte", "bits per byte"),
)


def main() -> None:
    config = load_config("tiny", SETTINGS)
    folder = ROOT / "mlruns"
    record = run_study(folder, config)
    figures = [*base_model_figures(), *issue_figures(record.finished, folder), *comparison_figures(record)]
    figures += [*best_figures(record), *export_figures(record)]
    keep_pictures(record)
    publish("study", "make figures", figures)  # what a machine that is taken away meanwhile leaves
    with tempfile.TemporaryDirectory() as again:
        repeated = run_study(Path(again), config)
        same = (repeated.finished, repeated.stopped) == (record.finished, record.stopped)
    figures.append(Figure("the same seeds twice: all parameters and objectives equal", str(same), "", "True", same))
    publish("study", "make figures", figures)


def run_study(folder: Path, config: StudyConfig) -> StudyRecord:
    command = [sys.executable, "-m", "study", "run", "tiny", *SETTINGS, "--folder", str(folder)]
    subprocess.run(command, check=True)
    return read_record(config, folder)


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


def issue_figures(trials: list[FinishedTrial], folder: Path) -> list[Figure]:
    """Phase 1's known issues in the baseline."""
    numbers = result_of(trials[0], folder).numbers
    return [Figure(f"baseline: {meaning}", numbers[address] or 0.0, "") for address, meaning in ISSUES]


def comparison_figures(record: StudyRecord) -> list[Figure]:
    """The trials that beat the baseline in every objective, and the best of them by loss."""
    trials, config, folder = record.finished, record.config, record.folder
    better = [trial for trial in trials if beats_baseline(trial, trials[0], config)]
    figures = [
        Figure("trials, baseline included", len(trials), "", ">= 12", len(trials) >= 12),
        Figure("trials that beat the baseline in every objective", len(better), "", ">= 1", bool(better)),
    ]
    if better:
        best = min(better, key=lambda trial: trial.values[0])
        figures.append(Figure("the best of them by loss: trial", best.number, ""))
        for objective, value in zip(config.study.objectives, best.values, strict=True):
            figures.append(Figure(f"  its {shown_name(objective)}", value, ""))
        numbers = result_of(best, folder).numbers
        figures += [Figure(f"  its {meaning}", numbers[address] or 0.0, "") for address, meaning in ISSUES[2:5]]
    return figures


def best_figures(record: StudyRecord) -> list[Figure]:
    """The chosen trial against Phase 1's recipe, means over seeds with 95 % intervals."""
    chosen = record.choice.trial
    figures = [Figure("the chosen trial", chosen.number, ""), Figure("  seeds", record.config.study.seeds, "")]

    def told(address: str, bar: str, holds: Callable[[Interval, Interval], bool]) -> None:
        before, after = (over_seeds(record, trial, address) for trial in (record.baseline, chosen))
        text = f"{shown(after)}, baseline {shown(before)}"
        figures.append(Figure(f"  {address}", text, "", bar, holds(before, after)))

    told("validation.loss", "<= baseline's", lambda before, after: after.mean <= before.mean)
    told("geometry.collapse_share", "<= .1 x baseline's", lambda before, after: after.mean <= 0.1 * before.mean)
    told("geometry.norm_gap_d", "-.2 to .2", lambda before, after: abs(after.mean) <= 0.2)
    base = over_seeds(record, chosen, "geometry.top1_share_base")
    told("geometry.top1_share_new", f"<= base rows' {base.mean:.3g}", lambda before, after: after.mean <= base.mean)
    for address in ("geometry.cosine_new_new_mean", "geometry.isotropy_new", "geometry.norm_ratio"):
        before, after = (over_seeds(record, trial, address) for trial in (record.baseline, chosen))
        figures.append(Figure(f"  {address}", f"{shown(after)}, baseline {shown(before)}", ""))
    return figures


def over_seeds(record: StudyRecord, trial: FinishedTrial, address: str) -> Interval:
    result = record.result(trial.digest)
    digests = [companion.digest(result.fingerprints) for companion in repeats(trial, record.config)]
    return interval([run.numbers[address] or 0.0 for run in (result, *map(record.result, digests))])


def shown(found: Interval) -> str:
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


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


def result_of(trial: FinishedTrial, folder: Path) -> RunResult:
    return read_result(WorkFolder(folder / "trials" / trial.digest))


if __name__ == "__main__":
    main()
