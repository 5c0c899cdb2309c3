"""The study `tiny` of mlruns/, and once more from nothing: what the baseline shows, what beats it, whether it repeats.

Then the export, loaded with nothing but transformers. Part of `make figures`.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.figures import ROOT, Figure, publish
from study.choose import choose
from study.config import StudyConfig, load_config
from study.export import export_trial
from study.storage import finished_trials, load_study
from study.table import shown_name
from study.trials import FinishedTrial, beats_baseline
from wake2vec import RunResult, WorkFolder, prepare, read_result
from wake2vec.config import DEFAULT_FOLDER

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
    config = load_config("tiny")
    folder = ROOT / "mlruns"
    trials = run_study(folder, config)
    figures = [*base_model_figures(), *issue_figures(trials, folder), *comparison_figures(trials, config, folder)]
    figures += export_figures(config, folder)
    keep_pictures(trials, config, folder)
    with tempfile.TemporaryDirectory() as again:
        same = run_study(Path(again), config) == trials
    figures.append(Figure("the same seeds twice: all parameters and objectives equal", str(same), "", "True", same))
    publish("study", "make figures", figures)


def run_study(folder: Path, config: StudyConfig) -> list[FinishedTrial]:
    subprocess.run([sys.executable, "-m", "study", "run", "tiny", "--folder", str(folder)], check=True)
    return finished_trials(load_study(folder, config.study.name))


def keep_pictures(trials: list[FinishedTrial], config: StudyConfig, folder: Path) -> None:
    """The pictures that the README and the docs show, as the study made them."""
    chosen = choose(trials, config).trial
    PICTURES.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "studies" / config.study.name / "front.png", PICTURES / "front.png")
    for name, trial in (("baseline", trials[0]), ("chosen", chosen)):
        shutil.copy(folder / "trials" / trial.digest / "embedding.png", PICTURES / f"{name}.png")


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


def comparison_figures(trials: list[FinishedTrial], config: StudyConfig, folder: Path) -> list[Figure]:
    """The trials that beat the baseline in every objective, and the best of them by loss."""
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


def export_figures(config: StudyConfig, folder: Path) -> list[Figure]:
    """The chosen trial's folder, loaded with `AutoModelForCausalLM` and `AutoTokenizer` alone."""
    target = Path(tempfile.mkdtemp()) / "export"
    exported = export_trial(config, folder, None, target)
    model = AutoModelForCausalLM.from_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    run = config.run_config(finished_trials(load_study(folder, config.study.name))[exported.trial].params)
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
