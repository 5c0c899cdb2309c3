"""The finish: rows that training hardly reached are made anew, all others stay, and to do it again changes nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wake2vec import CorpusError, RunConfig, TrialStopped, prepare, run
from wake2vec.recipe import finisher, start_training
from wake2vec.training.train import Training
from wake2vec.trial import gaps_of

Vary = Callable[..., RunConfig]


def trained(config: RunConfig) -> Training:
    training = start_training(config, prepare(config))
    while not training.is_done:
        training.update()
    return training


@pytest.mark.parametrize("rows", ["all", "new"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_rare_rows_are_made_anew_and_no_other_and_once_is_as_good_as_twice(
    vary: Vary, rows: str, precision: str
) -> None:
    config = vary(train={"finish_steps": 8, "rows": rows, "precision": precision}, init={"noise_scale": 0.1})
    material, training = prepare(config), trained(config)
    finish, model = finisher(config, material, training), training.model
    before, size = model.matrix.clone(), material.vocabulary.base_size
    gaps = gaps_of(model, material, 16)
    finish()
    after = model.matrix.clone()
    is_rare = torch.cat([torch.zeros(size, dtype=torch.bool), material.corpus.new_counts_train <= 1])
    assert 0 < is_rare.sum() < len(is_rare) - size
    assert torch.equal(after[~is_rare], before[~is_rare])
    torch.testing.assert_close(after[is_rare].norm(dim=1), before[:size].norm(dim=1).mean().expand(int(is_rare.sum())))
    told = gaps_of(model, material, 16)["teaching.hidden_gap_unseen"], gaps["teaching.hidden_gap_unseen"]
    assert told[0] is not None and told[1] is not None and told[0] < 0.9 * told[1]
    finish()
    torch.testing.assert_close(model.matrix, after, rtol=0, atol=0)


def test_its_share_of_the_text_and_its_seed_move_the_rows(vary: Vary) -> None:
    found = []
    for train, seed in (({}, 42), ({"finish_share": 0.0}, 42), ({}, 7)):
        config = vary(train={"finish_steps": 8, **train}, seed=42)
        training = trained(config)
        finisher(config.model_copy(update={"seed": seed}), prepare(config), training)()
        found.append(training.model.input.new_rows.clone())
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


@pytest.mark.parametrize("records", [2, 5, 8])
def test_cut_off_before_or_after_it_a_trial_ends_as_if_it_had_not_been(
    records: int, vary: Vary, tmp_path: Path
) -> None:
    config = vary(train={"finish_steps": 4})
    seen = iter(range(100))
    with pytest.raises(TrialStopped):
        run(config, tmp_path / "cut", stop=lambda: next(seen) == records)
    whole, resumed = (run(config, tmp_path / name) for name in ("whole", "cut"))
    assert resumed.numbers == whole.numbers and resumed.hashes["rows.safetensors"] == whole.hashes["rows.safetensors"]
    assert resumed.seconds["finish"] > 0
    plain = run(vary(), tmp_path / "plain")
    assert plain.digest != whole.digest and plain.numbers["validation.loss"] != whole.numbers["validation.loss"]


def test_what_it_cannot_do_is_said_before_training(vary: Vary) -> None:
    config = vary(train={"finish_steps": 4, "finish_rare": 0}, init={"distil_contexts": "own"})
    material = prepare(config)
    with pytest.raises(CorpusError, match=r"train\.finish_steps=0"):
        finisher(config, material, start_training(config, material))
    nothing = vary(train={"finish_steps": 0, "finish_rare": 0}, init={"distil_contexts": "own"})
    finisher(nothing, material, start_training(nothing, material))()
