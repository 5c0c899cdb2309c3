"""Two matrices where the base has two: trained against a stock loop, started, stopped, named and found again."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Adafactor, get_linear_schedule_with_warmup

from bench.kills import outcome
from wake2vec import RunConfig, TrialStopped, WorkFolder, fingerprint_inputs, prepare, read_result, run, write_result
from wake2vec.config import ADDED_KNOBS, OWN_HEAD
from wake2vec.inputs import Material
from wake2vec.metrics.validation import validate
from wake2vec.recipe import initialise, start_training
from wake2vec.result import stored_content
from wake2vec.training.model import merged_model
from wake2vec.training.optimizer import batch_at
from wake2vec.training.train import Training

Vary = Callable[..., RunConfig]
Twins = dict[str, Path]
OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], float], torch.optim.Optimizer]] = {
    "adafactor": lambda rows, lr: Adafactor(rows, lr=lr, scale_parameter=False, relative_step=False, warmup_init=False),
    "adamw": lambda rows, lr: torch.optim.AdamW(rows, lr=lr, weight_decay=0.0),
}


def stock_loop(config: RunConfig, material: Material, training: Training) -> Iterator[tuple[float, list[Tensor]]]:
    """Plain transformers with both matrices as parameters and one optimizer: losses, and gradients as they are used."""
    model = merged_model(material.base.folder, training.model.matrix.clone(), training.model.head.matrix.clone())
    assert not model.config.tie_word_embeddings
    model.requires_grad_(False)
    rows = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    for matrix in rows:
        matrix.requires_grad_(True)
    optimizer = OPTIMIZERS[config.train.optimizer](rows, config.train.lr)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(0.1 * config.train.steps), config.train.steps)
    for step in range(config.train.steps):
        size = config.train.batch_blocks
        indices = batch_at(step, blocks=len(material.corpus.train), batch_blocks=size, seed=config.seed)
        ids = torch.stack([material.corpus.train[index]["input_ids"] for index in indices])
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rows, config.train.max_grad_norm)
        yield loss.item(), [matrix.grad.clone() for matrix in rows]
        optimizer.step()
        schedule.step()


def ours(training: Training) -> Iterator[tuple[float, list[Tensor]]]:
    while not training.is_done:
        loss = training.update()["training.loss"]
        assert loss is not None
        yield loss, [matrix.gradient.clone() for matrix in training.model.trained.values()]


def apart(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_20_steps_of_both_matrices_agree_with_a_stock_loop(vary: Vary, twins: Twins, optimizer: str) -> None:
    knobs = {"steps": 20, "optimizer": optimizer, "max_grad_norm": 0.3}  # which clips all of these gradients
    config = vary(model={"path": str(twins["untied"])}, train=knobs, machine={"micro_batch_blocks": 2})
    material = prepare(config)
    training = start_training(config, material)
    expected = list(stock_loop(config, material, training))
    found = list(ours(training))
    for (loss, gradients), (stock_loss, stock_gradients) in zip(found, expected, strict=True):
        assert loss == pytest.approx(stock_loss, rel=1e-5)
        assert max(map(apart, gradients, stock_gradients)) <= 1e-5
    assert not torch.equal(training.model.matrix, training.model.head.matrix)
    # The controls: each matrix clipped by its own norm, and one optimizer step more.
    for used, gradient in zip(expected[0][1], found[0][1], strict=True):
        assert used.norm() < 0.3 - 1e-4
        assert apart(used * 0.3 / used.norm(), gradient) > 1e-3
    assert min(map(apart, found[-2][1], expected[-1][1])) > 1e-3


def test_what_an_untied_base_can_is_kept_by_native_and_lost_by_tied(vary: Vary, twins: Twins) -> None:
    def start(**model: str) -> dict[str, float | None]:
        # `piece_mean` makes the head's new rows from the head's base rows: the twins stay one function.
        config = vary(model=model, init={"name": "piece_mean"})
        material = prepare(config)
        training = start_training(config, material)
        return validate(training.model, material.corpus, material.vocabulary.base_size, 8)

    twin = start(path=str(twins["tied"]))["validation.loss"]
    native = start(path=str(twins["untied"]))["validation.loss"]
    tied = start(path=str(twins["untied"]), head="tied")["validation.loss"]
    assert native == pytest.approx(twin, rel=1e-5)
    assert tied is not None and native is not None and tied > native + 0.1


def test_the_heads_new_rows_are_made_by_the_same_rule_and_the_inputs_draw_stays(vary: Vary, twins: Twins) -> None:
    config = vary(model={"path": str(twins["untied"])}, init={"noise_scale": 1.0})
    material = prepare(config)
    rows, head = initialise(config, material), initialise(config, material, "head_rows")
    assert material.head_rows is not None

    def noise(new: Tensor, base: Tensor) -> Tensor:
        return (new - base.mean(0)) / base.std(0, correction=0)

    drawn = torch.randn(rows.shape, generator=torch.Generator().manual_seed(config.seed))
    torch.testing.assert_close(noise(rows, material.base_rows), drawn, rtol=1e-4, atol=1e-4)
    of_head = noise(head, material.head_rows)
    assert 0.8 < of_head.std() < 1.2
    assert abs(torch.corrcoef(torch.stack([of_head.flatten(), drawn.flatten()]))[0, 1]) < 0.2


@pytest.mark.parametrize("train", [{}, {"optimizer": "adamw"}, {"rows": "new"}, {"precision": "float16"}])
def test_stopped_an_untied_trial_goes_on_bit_equal(
    vary: Vary, twins: Twins, train: dict[str, str], tmp_path: Path
) -> None:
    config = vary(model={"path": str(twins["untied"])}, train=train)
    whole = run(config, tmp_path / "whole")
    expected = outcome(whole, tmp_path / "whole")
    steps = iter([False] * 5 + [True])
    with pytest.raises(TrialStopped):
        run(config, tmp_path / "cut", stop=lambda: next(steps))
    (folder,) = (tmp_path / "cut").iterdir()
    assert outcome(run(config, tmp_path / "cut"), tmp_path / "cut") == expected
    kept = WorkFolder(folder).read_arrays("rows")
    assert kept.keys() == {"rows", "head_rows"} and kept["rows"].shape == kept["head_rows"].shape
    other = run(config.model_copy(update={"seed": 7}), tmp_path / "cut")  # the control
    assert outcome(other, tmp_path / "cut") != expected


def test_untied_a_tied_base_begins_as_it_was_and_its_gradient_parts_in_two(vary: Vary, twins: Twins) -> None:
    def start(base: str, head: str) -> Training:
        config = vary(model={"path": str(twins[base]), "head": head}, init={"name": "piece_mean"})
        return start_training(config, prepare(config))

    ids = start("tied", "native").corpus.train[:4]["input_ids"]
    losses = {}
    for head in ("native", "untied"):
        training = start("tied", head)
        assert training.model.has_own_head == (head == "untied")
        losses[head] = training.model.add_gradients(ids, 1.0), [of.gradient for of in training.model.trained.values()]
    assert losses["untied"][0] == losses["native"][0]
    (whole,), parts = (gradients for _, gradients in losses.values())
    torch.testing.assert_close(sum(parts), whole, rtol=1e-4, atol=1e-4)
    assert apart(parts[0], whole) > 0.1, "the control"
    training = start("tied", "untied")
    training.update()
    training.update()
    assert not torch.equal(training.model.matrix, training.model.head.matrix)


def test_untied_is_native_where_the_base_has_a_head_and_a_trial_of_its_own_where_it_has_none(
    vary: Vary, twins: Twins
) -> None:
    def digest(base: str, head: str) -> str:
        config = vary(model={"path": str(twins[base]), "head": head})
        return config.digest(fingerprint_inputs(config))

    assert digest("untied", "untied") == digest("untied", "native")
    assert len({digest("tied", head) for head in ("untied", "native", "tied")}) == 2


def test_a_digest_is_todays_where_nothing_changed_and_another_where_two_matrices_are_trained(
    vary: Vary, twins: Twins
) -> None:
    def digests(name: str) -> tuple[str, str, str]:
        """As native, as tied, and as the version named it that knew none of today's added knobs."""
        native, tied = (vary(model={"path": str(twins[name]), "head": head}) for head in ("native", "tied"))
        inputs = fingerprint_inputs(native)
        assert inputs["model.path"].endswith(OWN_HEAD) == (name == "untied")
        bare = {address: value.removesuffix(OWN_HEAD) for address, value in inputs.items()}
        knobs = {address: value for address, value in native.knobs().items() if address not in ADDED_KNOBS}
        return native.digest(inputs), tied.digest(inputs), old_digest({**knobs, **bare})

    native, tied, old = digests("tied")
    assert native == tied == old
    native, tied, old = digests("untied")
    assert tied == old != native


def old_digest(content: dict[str, Any]) -> str:
    import hashlib

    text = json.dumps({**content, "format": 4}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_what_an_earlier_version_trained_on_an_untied_base_is_found_under_tied(
    vary: Vary, twins: Twins, tmp_path: Path
) -> None:
    config = vary(model={"path": str(twins["untied"]), "head": "tied"})
    result = run(config, tmp_path)
    work = WorkFolder(tmp_path / result.digest)
    content = stored_content(work)
    del content["config"]["model"]["head"], content["numbers"]["validation.start_loss_own_head"]
    content["fingerprints"]["model.path"] = content["fingerprints"]["model.path"].removesuffix(OWN_HEAD)
    write_result(work, content)
    found = run(config, tmp_path)
    assert found.digest == result.digest and found.numbers["validation.loss"] == result.numbers["validation.loss"]
    assert read_result(work).config.model.head == "tied"
    native = run(vary(model={"path": str(twins["untied"])}), tmp_path)  # the control
    assert native.digest != result.digest
    assert native.numbers["validation.start_loss"] != result.numbers["validation.start_loss"]


def test_tying_says_what_it_costs(vary: Vary, twins: Twins, tmp_path: Path) -> None:
    tied = run(vary(model={"path": str(twins["untied"]), "head": "tied"}), tmp_path).numbers
    native = run(vary(model={"path": str(twins["untied"])}), tmp_path)
    assert tied["validation.start_loss_own_head"] == native.numbers["validation.start_loss"]
    assert tied["validation.start_loss_own_head"] < tied["validation.start_loss"]  # type: ignore[operator]
    assert "validation.start_loss_own_head" not in native.numbers
    assert "validation.start_loss_own_head" not in run(vary(model={"path": str(twins["tied"])}), tmp_path).numbers
