"""What a new row tells: against the stock model, with nulls that read what they say."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wake2vec import METRICS, RunConfig, WorkFolder, prepare, read_result, remeasure, run, stale_metrics, write_result
from wake2vec.data.corpus import split_text
from wake2vec.data.forms import FORMS
from wake2vec.inputs import Material
from wake2vec.metrics.validation import losses_without_targets, validate
from wake2vec.recipe import start_training
from wake2vec.result import stored_content
from wake2vec.training.model import load_model, merged_model
from wake2vec.trial import figures_of_base, gaps_of

Vary = Callable[..., RunConfig]
Span = tuple[int, int, int]


def targets_of(material: Material, text: str, words: str, tokens: int) -> dict[Span, tuple[int, int, int]]:
    """By plain counting: under begin, end and id of each target its block, its place, the token before."""
    vocabulary = material.vocabulary
    tokenizer = vocabulary.base_tokenizer if words == "base" else vocabulary.tokenizer
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, ends = encoded["input_ids"], [end for _, end in encoded["offset_mapping"]]
    return {
        (ends[at - 1], ends[at], ids[at]): (at // tokens, at % tokens, ids[at - 1])
        for at in range(len(ids) // tokens * tokens)
        if at % tokens
    }


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_behind_new_tokens_is_the_stock_models_and_so_is_its_null(form: str, vary: Vary) -> None:
    config = vary(vocabulary={"form": form})
    material = prepare(config)
    vocabulary, corpus, tokens = material.vocabulary, material.corpus, config.corpus.block_tokens
    text = split_text(Path(config.corpus.path).read_text("utf-8"), config.corpus.validation_share)[1]
    own, base = (targets_of(material, text, words, tokens) for words in ("new", "base"))
    both = [span for span, (_, _, before) in own.items() if before >= vocabulary.base_size and span in base]
    assert len(both) > 1
    model = start_training(config, material).model
    ids = corpus.validation["input_ids"][:]
    assert corpus.behind_new is not None
    stock = {
        "new": (merged_model(material.base.folder, model.matrix), ids, own),
        "base": (load_model(material.base.folder), corpus.behind_new.base_ids, base),
    }
    found = {}
    for words, (stock_model, blocks, targets) in stock.items():
        with torch.no_grad():
            logs = stock_model(input_ids=blocks).logits.double().log_softmax(-1)
        found[words] = torch.stack([-logs[block, at - 1, span[2]] for span in both for block, at, _ in [targets[span]]])
    counts = corpus.new_counts_train[torch.tensor([own[span][2] - vocabulary.base_size for span in both])]
    numbers = validate(model, corpus, vocabulary.base_size, blocks_at_once=3) | figures_of_base(material)
    assert material.constants["validation.targets_base_after_new"] == len(both)
    limits = {"new": (0, 10**9), "unseen": (0, 0), "seen_1": (1, 1), "seen_2_4": (2, 4), "seen_5_up": (5, 10**9)}
    for name, (fewest, most) in limits.items():
        members = (counts >= fewest) & (counts <= most)
        for words, ending in (("new", ""), ("base", "_null")):
            expected = found[words][members].mean().item() if members.any() else None
            address = f"validation.loss_base_after_{name}{ending}"
            assert numbers[address] == (expected and pytest.approx(expected, rel=1e-5)), address
    without = losses_without_targets(replace(corpus, behind_new=None), vocabulary.base_size)
    assert "validation.loss_base_after_new" in without


@pytest.mark.parametrize("form", FORMS)
def test_the_gap_is_that_of_the_stock_models_last_hidden_states(form: str, vary: Vary) -> None:
    config = vary(vocabulary={"form": form})
    material = prepare(config)
    training = start_training(config, material)
    training.update()
    model, gaps = training.model, gaps_of(training.model, material, 5)
    stock = merged_model(material.base.folder, model.matrix)
    size, matrix = material.vocabulary.base_size, model.matrix.clone()
    matrix[size:] = matrix[:size].mean(0)
    mean = merged_model(material.base.folder, matrix)
    for name, address in (("held_out", "teaching.hidden_gap"), ("unseen", "teaching.hidden_gap_unseen")):
        passages = material.passages[name]
        if passages is None:
            assert material.constants[address] is None and address not in gaps
            continue
        squares, untold = [], []
        for passage, at, base_at in passages.positions.tolist():  # one by one: nothing right of it is read
            ends = passages.extended_ids[passage, : at + 1], passages.base_ids[passage, : base_at + 1]
            with torch.no_grad():
                own, pieces, nothing = (
                    reader.base_model(input_ids=ids[None]).last_hidden_state[0, -1].double()
                    for reader, ids in ((stock, ends[0]), (stock, ends[1]), (mean, ends[0]))
                )
            squares.append((own - pieces).square().sum())
            untold.append((nothing - pieces).square().sum())
        assert gaps[address] == pytest.approx((sum(squares) / sum(untold)).item(), rel=1e-4)
    assert gaps, "the text has new words that are whole"


def test_a_row_that_tells_nothing_reads_1_and_pieces_less(vary: Vary) -> None:
    def gap(name: str) -> float:
        config = vary(init={"name": name, "noise_scale": 0.0})
        material = prepare(config)
        found = gaps_of(start_training(config, material).model, material, 16)["teaching.hidden_gap"]
        assert found is not None
        return found

    assert gap("mean") == pytest.approx(METRICS["teaching.hidden_gap"].null, rel=1e-3)
    assert gap("piece_mean") < 0.9, "the control"


def test_an_earlier_trial_gets_them_from_its_rows_bit_for_bit(vary: Vary, tmp_path: Path) -> None:
    config = vary(machine={"threads": 1})
    before = run(config, tmp_path)
    work = WorkFolder(tmp_path / before.digest)
    wanted = [address for address in METRICS if address.startswith("teaching.") or address.endswith("_after_new_null")]
    assert len(wanted) == 3
    content = stored_content(work)
    for address in wanted:
        del content["numbers"][address]
    write_result(work, content)
    stale = stale_metrics(work)
    assert sorted(stale) == sorted(wanted)
    remeasure(work, stale, config)
    assert read_result(work).numbers == before.numbers
