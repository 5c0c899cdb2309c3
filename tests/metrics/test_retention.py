"""Retention: against the stock model, with its null, and measured without a trace in what is trained."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from study.engine.measures import stale_runs
from wake2vec import (
    METRICS,
    CorpusError,
    RunConfig,
    TrialStopped,
    WorkFolder,
    prepare,
    read_result,
    remeasure,
    retention_hash,
    run,
    stale_metrics,
    write_result,
)
from wake2vec.config import DEFAULT_FOLDER
from wake2vec.data.corpus import MOST_RETENTION_BLOCKS, MOST_RETENTION_TOKENS, retention_blocks
from wake2vec.inputs import Material
from wake2vec.metrics.retention import retention_bits
from wake2vec.recipe import initialise, start_training
from wake2vec.remeasure import matrix_of
from wake2vec.result import stored_content
from wake2vec.training.model import load_model, merged_model
from wake2vec.workfolder import Progress

Vary = Callable[..., RunConfig]
RETENTION = {address for address in METRICS if address.startswith("retention.")}


def stock_bits(material: Material, matrix: torch.Tensor | None, words: str = "base") -> float:
    """In plain transformers: the stock model, its own loss, a tokenizer from the folder, bytes counted by decoding."""
    folder = material.base.folder
    model = load_model(folder) if matrix is None else merged_model(folder, matrix)
    tokenizer = AutoTokenizer.from_pretrained(folder) if words == "base" else material.vocabulary.tokenizer
    text, tokens = (DEFAULT_FOLDER / "retention.txt").read_text(encoding="utf-8"), 32
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    count = len(encoded["input_ids"]) // tokens
    nats = size = 0.0
    for block in [place * count // MOST_RETENTION_BLOCKS for place in range(MOST_RETENTION_BLOCKS)]:
        part = slice(block * tokens, (block + 1) * tokens)
        ids, offsets = torch.tensor([encoded["input_ids"][part]]), encoded["offset_mapping"][part]
        nats += model(input_ids=ids, labels=ids).loss.item() * (tokens - 1)
        size += len(text[offsets[0][1] : offsets[-1][1]].encode())
    return nats / math.log(2) / size


@pytest.mark.parametrize("rows", ["all", "new"])
def test_it_is_the_stock_models_loss_on_the_base_tokenizers_words(rows: str, vary: Vary, tmp_path: Path) -> None:
    config = vary(train={"rows": rows, "lr": 0.05})
    result, material = run(config, tmp_path), prepare(config)
    work = WorkFolder(tmp_path / result.digest)
    trained = matrix_of(config, material, torch.from_numpy(work.read_arrays("rows")["rows"]))
    before = torch.cat([material.base_rows, initialise(config, material)])
    found = {address: result.numbers[address] for address in RETENTION}
    stock = {
        "retention.bits_per_byte": stock_bits(material, trained),
        "retention.start_bits_per_byte": stock_bits(material, before),
        "retention.base_bits_per_byte": stock_bits(material, None),
    }
    stock["retention.bits_per_byte_change"] = stock["retention.bits_per_byte"] - stock["retention.start_bits_per_byte"]
    assert found == pytest.approx(stock, rel=1e-5, abs=1e-6)
    apart = [stock["retention.bits_per_byte"], *(value for key, value in stock.items() if "_change" not in key)]
    assert len({round(value, 4) for value in apart}) == 3, "the control: trained, begun and base model differ"
    assert stock_bits(material, trained, "extended") != pytest.approx(found["retention.bits_per_byte"], rel=1e-5)


def test_it_has_a_curve_that_begins_at_a_change_of_0(config: RunConfig, tmp_path: Path) -> None:
    result = run(config, tmp_path)
    records = [at for at in WorkFolder(tmp_path / result.digest).progress() if "retention.bits_per_byte" in at.numbers]
    start = result.numbers["retention.start_bits_per_byte"]
    assert [at.step for at in records] == [0, 3, 6]
    changes = [at.numbers["retention.bits_per_byte_change"] for at in records]
    assert changes[0] == METRICS["retention.bits_per_byte_change"].null == 0
    assert changes == [(at.numbers["retention.bits_per_byte"] or 0) - (start or 0) for at in records]
    assert changes[-1] == result.numbers["retention.bits_per_byte_change"] != 0
    assert result.start["retention.bits_per_byte"] == start
    assert read_result(WorkFolder(tmp_path / result.digest)).start == result.start


def test_reading_it_leaves_rows_gradients_and_random_state_as_they_are(config: RunConfig) -> None:
    material = prepare(config)
    training = start_training(config, material)
    training.update()
    model = training.model
    before = [torch.get_rng_state(), model.matrix.clone(), model.trained_rows.grad.clone()]  # type: ignore[union-attr]
    one, many = (retention_bits(model, material.retention, blocks) for blocks in (1, 8))
    assert one == pytest.approx(many, rel=1e-6)
    assert all(map(torch.equal, before, [torch.get_rng_state(), model.matrix, model.trained_rows.grad]))  # type: ignore[arg-type]
    torch.rand(1)
    assert not torch.equal(before[0], torch.get_rng_state()), "the control"


def test_the_text_is_no_part_of_the_digest_and_another_one_is_measured_again(vary: Vary, tmp_path: Path) -> None:
    config, path = vary(), tmp_path / "other.txt"
    path.write_text("Ordinary English of another kind, which no page of the default text holds. " * 40)
    other = vary(retention={"path": str(path)})
    first = run(config, tmp_path)
    work = WorkFolder(tmp_path / first.digest)
    rows = work.read_arrays("rows")["rows"].tobytes()
    assert run(other, tmp_path).digest == first.digest
    assert stale_metrics(work) == stale_metrics(work, config) == []
    assert {*stale_metrics(work, other)} == RETENTION
    assert stale_metrics(work, vary(retention={"path": str(path)}, model={"path": "elsewhere"})) == []
    remeasure(work, stale_metrics(work, other), other)
    again = read_result(work)
    assert again.fingerprints["retention.path"] == retention_hash(other) != first.fingerprints["retention.path"]
    assert again.config.retention == other.retention and stale_metrics(work, other) == []
    changed = {address for address, value in again.numbers.items() if value != first.numbers[address]}
    assert changed == RETENTION
    trained = run(other, tmp_path / "anew")
    assert {address: trained.numbers[address] for address in RETENTION} == {
        address: again.numbers[address] for address in RETENTION
    }
    assert work.read_arrays("rows")["rows"].tobytes() == rows
    remeasure(work, stale_metrics(work, config), config)
    assert read_result(work).numbers == first.numbers


def test_a_trial_of_an_earlier_version_gets_it_bit_for_bit(vary: Vary, tmp_path: Path) -> None:
    """Finished, from its rows; cut off in its middle, when it goes on."""
    config = vary(machine={"checkpoint_every_s": 0.0})
    expected = run(config, tmp_path / "whole")
    work = WorkFolder(tmp_path / "whole" / expected.digest)
    forget(work)
    content = stored_content(work)
    content["numbers"] = {key: value for key, value in content["numbers"].items() if key not in RETENTION}
    del content["fingerprints"]["retention.path"], content["config"]["retention"]
    write_result(work, content)
    assert read_result(work).start.get("retention.bits_per_byte") is None
    (digest,) = stale_runs_of(tmp_path / "whole")
    remeasure(work, stale_metrics(work), config)
    assert read_result(work).numbers == expected.numbers and digest == expected.digest
    assert read_result(work).start["retention.bits_per_byte"] == expected.start["retention.bits_per_byte"]

    seen: list[Progress] = []
    with pytest.raises(TrialStopped):
        run(config, tmp_path / "cut", seen.append, stop=lambda: seen[-1].step == 4)
    forget(WorkFolder(tmp_path / "cut" / expected.digest))
    assert run(config, tmp_path / "cut").numbers == expected.numbers


def forget(work: WorkFolder) -> None:
    """Take it out of the record of progress, as a version before it would have written that."""
    log = work.path / "progress.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()]
    for record in records:
        del record["crc32"]
        record["numbers"] = {key: value for key, value in record["numbers"].items() if key not in RETENTION}
    log.write_text("".join(json.dumps(record) + "\n" for record in records))


def stale_runs_of(folder: Path) -> list[str]:
    """`stale_runs` looks into the folder `trials`."""
    (folder / "trials").symlink_to(folder)
    return list(stale_runs(folder))


@pytest.mark.parametrize("tokens", [8, 64, 1024])
def test_what_is_read_is_bounded_and_spread_over_the_text(tokens: int, config: RunConfig) -> None:
    vocabulary = prepare(config).vocabulary
    text = (DEFAULT_FOLDER / "retention.txt").read_text(encoding="utf-8")
    blocks = retention_blocks(text, vocabulary, tokens)
    ids = vocabulary.base_tokenizer(text, add_special_tokens=False)["input_ids"]
    read = blocks["input_ids"][:]
    assert len(read) <= MOST_RETENTION_BLOCKS and read.numel() <= MOST_RETENTION_TOKENS
    assert read[0].tolist() == ids[:tokens]
    last = len(ids) // tokens * (len(read) - 1) // len(read)
    assert read[-1].tolist() == ids[last * tokens : (last + 1) * tokens]


@pytest.mark.parametrize(
    ("content", "said"), [("Two words.", "the retention text must fill a block of 32 tokens"), (None, "does not exist")]
)
def test_a_text_that_cant_be_read_is_told_before_anything_is_trained(
    content: str | None, said: str, vary: Vary, tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CorpusError, match=said):
        run(vary(retention={"path": str(path)}), tmp_path / "trials")
    assert not (tmp_path / "trials").exists()
