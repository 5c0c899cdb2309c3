"""The closing report and the base tokens that it names."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from wake2vec.data.forms import ExtendedVocabulary
from wake2vec.data.tokenizer import KINDS, base_kinds, reference_rows
from wake2vec.metrics.measure import measure, measure_end
from wake2vec.metrics.mutual import kth_cosines, mutual_collapse
from wake2vec.metrics.readings import Subject
from wake2vec.metrics.rows import read_group
from wake2vec.nearest import nearest_tokens
from wake2vec.training.model import load_tokenizer


def gaussian(count: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def byte_level(text: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE of 500 tokens, with a token that no merge leads to and two reserved ones."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = decoders.ByteLevel()
    learner.train_from_iterator(
        text.splitlines(),
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=["<|end|>", "<|reserved_0|>", "[unused1]"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    state = json.loads(learner.to_str())
    state["model"]["vocab"]["Ġzzunreached"] = len(state["model"]["vocab"])
    loaded = Tokenizer.from_str(json.dumps(state))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=loaded, clean_up_tokenization_spaces=False)
    tokenizer.add_special_tokens({"eos_token": "<|end|>"})
    return tokenizer


def kinds_of(tokenizer: PreTrainedTokenizerFast) -> dict[str, str]:
    vocabulary = tokenizer.get_vocab()
    kinds = base_kinds(tokenizer, 2 + max(vocabulary.values()))
    assert KINDS[int(kinds[-1])] == "special"  # an id without a token
    return {token: KINDS[int(kinds[id_])] for token, id_ in vocabulary.items()}


def test_kinds_of_sentencepiece_tokens(inputs: Path) -> None:
    kinds = kinds_of(load_tokenizer(inputs / "model"))
    expected = {
        "<0x41>": "byte",
        "</s>": "special",
        ",": "punctuation",
        "▁": "punctuation",
        "▁the": "word",
        "e": "piece",
    }
    assert {token: kinds[token] for token in expected} == expected


def test_kinds_of_byte_level_tokens(byte_level: PreTrainedTokenizerFast) -> None:
    kinds = kinds_of(byte_level)
    expected = {"Ã": "byte", "<|end|>": "special", "[unused1]": "special", ",": "punctuation", "Ġ": "punctuation"}
    expected |= {"Ġthe": "word", "e": "piece", "Ċ": "punctuation"}
    assert {token: kinds[token] for token in expected} == expected


def test_references_of_byte_level_tokens_are_what_no_text_reaches(byte_level: PreTrainedTokenizerFast) -> None:
    references = reference_rows(byte_level, torch.zeros(0, 4))
    tokens = set(byte_level.convert_ids_to_tokens(list(references.ids)))
    never = {chr(byte) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}  # these stand for themselves there
    assert tokens >= {"Ġzzunreached", "<|reserved_0|>", "[unused1]"} | never
    assert not tokens & {"e", "Ġthe", "Ã", "<|end|>", "Ġ", "Ċ", ","}
    for id_ in set(references.ids) - set(byte_level.convert_tokens_to_ids(["<|reserved_0|>", "[unused1]"])):
        assert id_ not in byte_level(byte_level.decode([id_]), add_special_tokens=False)["input_ids"]
    assert "reserved" in references.meaning


def test_a_tokenizer_that_reaches_all_says_that_it_has_no_references() -> None:
    plain = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, "?"))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    references = reference_rows(PreTrainedTokenizerFast(tokenizer_object=plain), torch.zeros(0, 4))
    assert references.ids == () and references.meaning.startswith("every token is reached")


def test_special_tokens_that_training_never_showed_are_references_where_nothing_else_is() -> None:
    """As in SmolLM2: eleven of its special tokens lie in one place, and those that its texts had elsewhere."""
    plain = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, "?"))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    names = ["<|end|>", *(f"<|spare {number}|>" for number in range(5)), "<|used|>"]
    plain.add_special_tokens(names)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<|end|>")  # noqa: S106
    rows = gaussian(len(tokenizer), 16)
    assert reference_rows(tokenizer, rows).ids == ()  # the control: rows that lie anywhere
    spare = tokenizer.convert_tokens_to_ids(names[1:6])
    rows[[*spare, tokenizer.eos_token_id]] = rows[spare[0]] + 1e-3 * gaussian(6, 16, seed=1)
    references = reference_rows(tokenizer, rows)
    assert references.ids == tuple(spare) and "lie in one place" in references.meaning


def test_each_new_word_has_its_neighbours_and_the_table_begins_with_phase_1s(inputs: Path) -> None:
    tokenizer = load_tokenizer(inputs / "model")
    base, new = gaussian(590, 16), gaussian(8, 16, seed=1)
    new[3] = base[77] * 2
    new[6] = 0
    words = ("haue", "vpon", "loue", "cask", "giue", "paco", "euer", "ouer")
    counts = torch.tensor([3, 0, 1, 0, 0, 1, 5, 9])
    kinds = torch.arange(590) % len(KINDS)
    subject = Subject(torch.cat([base, new]), 590, new_counts=counts, base_kinds=kinds)
    closing = measure_end(subject, measure(subject).numbers)
    ids, cosines = closing.arrays["neighbour_ids"], closing.arrays["neighbour_cosines"]
    truth = torch.nn.functional.normalize(new) @ torch.nn.functional.normalize(base).T
    assert ids.dtype == np.int32 and ids.shape == (8, 5) and cosines.nbytes == 8 * 5 * 2
    assert ids[6].tolist() == [-1] * 5 and np.isnan(cosines[6]).all()
    others = [0, 1, 2, 3, 4, 5, 7]
    assert np.array_equal(ids[others], truth.topk(5).indices[others].numpy())
    assert cosines[others] == pytest.approx(truth.topk(5).values[others].numpy(), abs=5e-4)
    nearest = [KINDS[int(kinds[ids[index, 0]])] for index in others]
    for kind in KINDS:
        assert closing.numbers[f"geometry.neighbour_{kind}_share"] == nearest.count(kind) / 8
    seen_once = (float(truth[2].max()) + float(truth[5].max())) / 2
    assert closing.numbers["geometry.neighbour_cosine_mean_seen_1"] == pytest.approx(seen_once, rel=1e-6)
    vocabulary = ExtendedVocabulary(tokenizer, tokenizer, 590, words, 0)
    table = nearest_tokens(closing.arrays, vocabulary.row_names, counts, of_each=1)
    assert [near.word for near in table] == ["cask", "paco", "ouer", "euer", "loue", "vpon"]
    assert table[0].tokens[0] == tokenizer.convert_ids_to_tokens(77) and table[0].cosines[0] == 1
    assert table[3].tokens == [] and table[3].seen == 5


@pytest.mark.parametrize("k", [1, 10])
def test_the_kth_cosine_tells_mutual_collapse_at_any_tau(k: int) -> None:
    place, own = gaussian(1, 24, seed=3), gaussian(700, 24, seed=4)
    rows = place + torch.linspace(0.1, 3, 700)[:, None] * own
    rows[5] = 0
    group = read_group(rows)
    cosines = kth_cosines(group, k)
    for tau in (0.3, 0.5, 0.8, 0.95):
        assert torch.equal(cosines >= tau, mutual_collapse(group, torch.eye(24), tau, k))
    sampled = kth_cosines(group, k, sample_rows=300)
    assert len(sampled) == 300 and torch.isin(sampled[~sampled.isnan()], cosines).all()
    assert kth_cosines(read_group(rows[:k]), k).isnan().all()


def test_a_common_direction_is_taken_off() -> None:
    """Rows that lie at .99 of each other for a shared direction alone aren't collapsed without it."""
    matrix = 10 * gaussian(1, 32) / 32**0.5 + gaussian(900, 32, seed=1) / 32**0.5
    subject = Subject(matrix, 400)
    measured = measure(subject).numbers
    numbers = measured | measure_end(subject, measured).numbers
    assert numbers["geometry.collapse_share"] == 1 and numbers["geometry.collapse_centred_share"] == 0
    assert (numbers["geometry.cosine_new_new_mean"] or 0) > 0.98
    less = (matrix.double() - matrix.double().mean(0)).numpy()
    units = less / np.linalg.norm(less, axis=1, keepdims=True)
    pairs = units[400:] @ units[400:].T
    truth = (pairs.sum() - 500) / (500 * 499)
    assert numbers["geometry.cosine_new_new_centred_mean"] == pytest.approx(truth, abs=1e-6)
    across = (units[:400] @ units[400:].T).mean()
    assert numbers["geometry.cosine_base_new_centred_mean"] == pytest.approx(across, abs=1e-6)
    common = np.linalg.norm(matrix[400:].double().mean(0)) / matrix[400:].double().norm(dim=1).mean()
    assert numbers["geometry.common_share_new"] == pytest.approx(float(common), rel=1e-9)
