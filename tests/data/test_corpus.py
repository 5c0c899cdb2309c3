"""Blocks: each begins as the model's training sequences did, and their bytes are those of their targets."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import WORDS
from hypothesis import given, settings
from hypothesis import strategies as st

from wake2vec import WorkFolder, run
from wake2vec.config import ADDED_KNOBS, RunConfig
from wake2vec.data.corpus import bos_id, build_corpus
from wake2vec.data.forms import ExtendedVocabulary, extend
from wake2vec.data.lexicon import Lexicon
from wake2vec.errors import ModelError
from wake2vec.inputs import fingerprint_inputs, prepare
from wake2vec.result import read_result
from wake2vec.training.generate import sample_ids
from wake2vec.training.model import load_tokenizer
from wake2vec.workfolder import write_json

Vary = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def vocabulary(inputs: Path) -> ExtendedVocabulary:
    return extend(load_tokenizer(inputs / "model"), Lexicon(tuple(WORDS), 0), "word")


@settings(max_examples=30)
@given(words=st.lists(st.sampled_from(["haue", "vpon", "the", "ca", "☃", "é", "\n", "x.y"]), min_size=60, max_size=120))
def test_with_a_bos_the_blocks_hold_the_text_without_a_gap_and_count_all_its_bytes(
    vocabulary: ExtendedVocabulary, words: list[str]
) -> None:
    text, block = "zephyrous " + " ".join(words), 8
    ids = vocabulary.tokenizer(text, add_special_tokens=False)["input_ids"]
    corpus = build_corpus(text, text, replace(vocabulary, bos_id=1), block)
    blocks, counted = corpus.train["input_ids"][:], int(corpus.train["target_bytes"][:].sum())
    assert blocks.shape[1] == block and (blocks[:, 0] == 1).all()
    assert blocks[:, 1:].flatten().tolist() == ids[: len(blocks) * (block - 1)]
    ends = vocabulary.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert counted == len(text[: ends[len(blocks) * (block - 1) - 1][1]].encode())
    without = build_corpus(text, text, vocabulary, block)  # the control: each block's first token is no target
    assert int(without.train["target_bytes"][:].sum()) < len(text.encode())
    assert without.train["input_ids"][:].flatten().tolist() == ids[: len(ids) // block * block]


def test_the_tokenizer_decides_unless_it_is_told(inputs: Path) -> None:
    silent, speaking = (load_tokenizer(inputs / "model") for _ in range(2))
    speaking.add_bos_token = True
    speaking.update_post_processor()
    assert [bos_id(one, "auto") for one in (silent, speaking)] == [None, 1]
    assert [bos_id(one, "never") for one in (silent, speaking)] == [None, None]
    assert [bos_id(one, "always") for one in (silent, speaking)] == [1, 1]
    silent.bos_token = None
    with pytest.raises(ModelError, match=r"corpus\.bos=always needs a tokenizer that has .* give corpus\.bos=auto"):
        bos_id(silent, "always")


def test_the_digest_names_what_is_done_and_old_digests_hold(
    config: RunConfig, vary: Vary, monkeypatch: pytest.MonkeyPatch
) -> None:
    never, always = vary(corpus={"bos": "never"}), vary(corpus={"bos": "always"})
    inputs = fingerprint_inputs(config)  # of a tokenizer that adds none
    before = {key: value for key, value in config.knobs().items() if key not in ADDED_KNOBS} | inputs
    assert never.identity(inputs) == config.identity(inputs) == before
    assert config.digest(inputs) == never.digest(inputs) != always.digest(inputs)
    monkeypatch.setattr("wake2vec.inputs._begins_with_bos", lambda folder, contents: True)
    assert fingerprint_inputs(config) == {**inputs, "corpus.bos": "always"}
    assert config.digest(fingerprint_inputs(config)) == always.digest(fingerprint_inputs(always))
    assert never.digest(fingerprint_inputs(config)) == never.digest(inputs)


def test_samples_begin_as_the_blocks_do(vary: Vary) -> None:
    for bos, first in (("always", 1), ("never", None)):
        config = vary(corpus={"bos": bos})
        material = prepare(config)
        prompt = material.vocabulary.tokenizer(config.sample.prompt, add_special_tokens=False)["input_ids"]
        matrix = torch.cat([material.base_rows, material.base_rows[: len(material.vocabulary.words)]])
        with material.base.with_matrix(matrix) as model:
            (ids, *_) = sample_ids(model, material.vocabulary, config.sample, seed=0).tolist()
        expected = prompt if first is None else [first, *prompt]
        assert ids[: len(expected)] == expected


def test_a_result_from_before_the_knob_says_what_was_done(config: RunConfig, tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / run(config, tmp_path).digest)
    content = read_result(work).model_dump()
    del content["config"]["corpus"]["bos"]
    write_json(work.result_path, content)
    assert read_result(work).config.corpus.bos == "never"
