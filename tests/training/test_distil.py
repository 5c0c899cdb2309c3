"""Distillation: its gradient is the stock model's, and its rows tell more of words, also of those that no text has."""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from wake2vec import RunConfig, TrainingDivergedError, TrialStopped, prepare, run
from wake2vec.data.corpus import split_text
from wake2vec.data.lessons import Lessons
from wake2vec.inputs import Material
from wake2vec.recipe import initialise, model_at_start
from wake2vec.training.distil import Distance, distance_and_gradient, distil, new_ids
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.model import load_model, merged_model
from wake2vec.trial import gaps_of

Vary = Callable[..., RunConfig]


def lessons_of(config: RunConfig, material: Material) -> Lessons:
    text = Path(config.corpus.path).read_text("utf-8")
    return Lessons(split_text(text, config.corpus.validation_share)[0], material.vocabulary, "any", 0)


def distance_by_hand(kind: str, own: Tensor, taught: Tensor, head: Tensor) -> Tensor:
    if kind == "states":
        return ((own - taught).norm(dim=1) / taught.norm(dim=1)).square().sum()
    if kind == "cosine":
        return len(own) - ((own * taught).sum(1) / own.norm(dim=1) / taught.norm(dim=1)).sum()
    wanted, given = (taught @ head.T).softmax(1), (own @ head.T).softmax(1)
    return (wanted * (wanted / given).log()).sum()


@pytest.mark.parametrize("base", ["tied", "untied"])
@pytest.mark.parametrize("kind", ["states", "cosine", "next_token"])
def test_the_gradient_is_that_of_the_stock_model_in_float64(
    kind: str, base: str, vary: Vary, twins: dict[str, Path]
) -> None:
    config = vary(model={"path": str(twins[base])}, init={"name": "piece_mean"}, train={"rows": "new"})
    material = prepare(config)
    new = initialise(config, material)
    model = EmbeddingModel(material.base.body, material.base_rows, new, "new", material.base.scales)
    passages = lessons_of(config, material).draw(5)
    assert passages is not None
    head = material.base_rows if material.head_rows is None else material.head_rows
    distance = Distance(kind, head, material.base.scales)
    loss, gradient = distance_and_gradient(model, passages, distance, at_once=2)

    teacher = load_model(material.base.folder).double()
    student = merged_model(material.base.folder, model.matrix).double().base_model
    rows = model.matrix.double().requires_grad_()
    own, taught = [], []
    for passage, at, base_at in passages.positions.tolist():  # one by one: nothing right of it is read
        inputs = F.embedding(passages.extended_ids[passage : passage + 1, : at + 1], rows)
        own.append(student(inputs_embeds=inputs).last_hidden_state[0, -1])
        ids = passages.base_ids[passage : passage + 1, : base_at + 1]
        with torch.no_grad():
            taught.append(teacher.base_model(input_ids=ids).last_hidden_state[0, -1])
    expected = distance_by_hand(kind, torch.stack(own), torch.stack(taught), head.double()) / len(own)
    expected.backward()
    assert rows.grad is not None
    of_new = rows.grad[material.vocabulary.base_size :][new_ids(model, passages)]
    assert loss == pytest.approx(expected.item(), rel=1e-3)
    assert (gradient - of_new).norm() < 2e-3 * of_new.norm()
    assert of_new.norm(dim=1).min() > 0
    other, _ = distance_and_gradient(model, passages, Distance(kind, 2 * head, material.base.scales), 5)
    assert (other == pytest.approx(loss, rel=1e-3)) == (kind != "next_token"), "which alone asks the head"


def taught(vary: Vary, **init: object) -> tuple[Tensor, dict[str, float]]:
    """The new rows, and their gaps."""
    train = init.pop("train", {})
    config = vary(init={"name": "distilled", "distil_steps": 30, **init}, train=train)
    material = prepare(config)
    model = model_at_start(config, material)
    gaps = gaps_of(model, material, 16)
    return model.input.new_rows, {name: gap for name, gap in gaps.items() if gap is not None}


def test_a_map_reaches_words_without_a_lesson_and_rows_learn_from_their_own_alone(vary: Vary) -> None:
    start, before = taught(vary, distil_steps=0)
    assert set(before) == {"teaching.hidden_gap", "teaching.hidden_gap_unseen"}
    mapped, by_map = taught(vary)
    assert all(by_map[name] < 0.9 * gap for name, gap in before.items())
    own, _ = taught(vary, distil_contexts="own")
    assert (own != start).any(dim=1).all() and (own != mapped).any()
    rows, by_rows = taught(vary, distil_contexts="own", distil_learner="rows", distil_rate=0.2)
    assert by_rows["teaching.hidden_gap"] < 0.95 * before["teaching.hidden_gap"]
    stay = (rows == start).all(dim=1)
    assert stay.any() and not stay.all()
    assert by_rows["teaching.hidden_gap_unseen"] == pytest.approx(before["teaching.hidden_gap_unseen"], rel=0.1)


def test_it_hangs_on_the_seed_and_hardly_on_how_many_passages_are_read_at_once(vary: Vary) -> None:
    config = vary(init={"name": "distilled", "distil_steps": 3})
    again, one_by_one, other = (
        initialise(changed, prepare(changed))
        for changed in (
            config,
            config.model_copy(update={"machine": config.machine.model_copy(update={"micro_batch_blocks": 1})}),
            config.model_copy(update={"seed": 7}),
        )
    )
    rows = initialise(config, prepare(config))
    assert torch.equal(rows, again)
    torch.testing.assert_close(one_by_one, rows, atol=1e-3, rtol=1e-3)
    assert (other - rows).abs().max() > 1e-2, "the control"


def test_rows_have_the_base_rows_mean_norm_or_their_own(vary: Vary) -> None:
    norm = prepare(vary()).base_rows.norm(dim=1).mean()
    rows, _ = taught(vary)
    torch.testing.assert_close(rows.norm(dim=1), norm.expand(len(rows)))
    free, _ = taught(vary, distil_norm="free")
    assert free.norm(dim=1).std() > 0.01 * norm


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_teaches_as_much(vary: Vary, precision: str) -> None:
    _, exact = taught(vary)
    _, half = taught(vary, train={"precision": precision})
    assert half != exact, "the control: it was used"
    assert half == pytest.approx(exact, rel=0.1)


def test_a_distance_that_is_no_number_is_told(vary: Vary) -> None:
    config = vary(init={"name": "piece_mean"}, train={"rows": "new"})
    material, model = prepare(config), model_at_start(config, prepare(config))
    init = config.init.model_copy(update={"distil_loss": "next_token", "distil_steps": 2})
    for heads in (material.base_rows, math.inf * material.base_rows):
        tells = pytest.raises(TrainingDivergedError, match=r"lower init\.distil_rate")
        with tells if heads.isinf().any() else contextlib.nullcontext():
            distil(model, material.base_rows, heads, material.pieces, lessons_of(config, material), init, 8)


def test_a_trial_that_was_cut_off_ends_as_if_it_had_not_been(vary: Vary, tmp_path: Path) -> None:
    config = vary(init={"name": "distilled", "distil_steps": 3})
    calls = iter(range(100))
    with pytest.raises(TrialStopped):
        run(config, tmp_path / "cut", stop=lambda: next(calls) == 4)
    whole, resumed = (run(config, tmp_path / name) for name in ("whole", "cut"))
    assert resumed.numbers == whole.numbers and resumed.hashes["rows.safetensors"] == whole.hashes["rows.safetensors"]
    plain = run(vary(init={"name": "distilled", "distil_steps": 0}), tmp_path / "control")
    assert plain.hashes["rows.safetensors"] != whole.hashes["rows.safetensors"]
