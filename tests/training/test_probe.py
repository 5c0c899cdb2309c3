"""What lies between a matrix and a model is read from the model, whatever it is called; what isn't that is refused."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM, PreTrainedModel
from transformers.utils import ModelOutput

from wake2vec.errors import ModelError
from wake2vec.training.probe import PLAIN, read_scales

SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": True,
}
FOLDER = Path("toy")


class Layered(nn.Embedding):
    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.layer_norm(super().forward(input), (self.embedding_dim,))


def twice_of_tokens(body: nn.Module, given: object, options: dict[str, Tensor], output: ModelOutput) -> None:
    if "input_ids" in options:
        output.last_hidden_state = 2 * output.last_hidden_state


@pytest.fixture(scope="module")
def granite() -> PreTrainedModel:
    torch.manual_seed(0)
    return GraniteForCausalLM(GraniteConfig(**SIZES)).eval()


@settings(max_examples=20)
@given(scaling=st.floats(1e-2, 1e2))
def test_a_factor_on_logits_is_read_back(granite: PreTrainedModel, scaling: float) -> None:
    granite.config.logits_scaling = scaling
    before = granite.lm_head.weight
    read = read_scales(granite, FOLDER)
    assert (read.inputs, read.logits, read.cap) == (1, pytest.approx(1 / scaling, rel=1e-5), None)
    assert granite.lm_head.weight is before is granite.model.embed_tokens.weight
    granite.config.logits_scaling = 1.0
    assert read_scales(granite, FOLDER) == PLAIN


@settings(max_examples=20)
@given(cap=st.floats(0.5, 500), width=st.sampled_from([16, 48]))
def test_a_cap_and_a_factor_on_inputs_are_read_back(cap: float, width: int) -> None:
    torch.manual_seed(0)
    sizes = {**SIZES, "hidden_size": width, "head_dim": 8}
    model = Gemma2ForCausalLM(Gemma2Config(**sizes, final_logit_softcapping=cap)).eval()
    read = read_scales(model, FOLDER)
    assert read.cap == pytest.approx(cap, rel=1e-5)
    assert (read.inputs, read.logits) == (pytest.approx(width**0.5, rel=1e-5), pytest.approx(1.0, rel=1e-5))


def test_each_refusal_names_its_own_reason(granite: PreTrainedModel) -> None:
    def refused(model: PreTrainedModel, reason: str) -> None:
        with pytest.raises(ModelError, match=f"a base model must .*: toy: {reason}; choose another"):
            read_scales(model, FOLDER)

    biased = copy.deepcopy(granite)
    biased.lm_head = nn.Linear(32, 40)
    refused(biased, "it adds one to its logits, and new words have none")
    layered = copy.deepcopy(granite)
    layered.model.embed_tokens = Layered.from_pretrained(granite.model.embed_tokens.weight.detach())
    refused(layered, "it transforms them in another way")
    shifted = copy.deepcopy(granite)
    shifted.lm_head.register_forward_hook(lambda head, given, logits: logits + 1)
    refused(shifted, "it makes them in another way")
    clipped = copy.deepcopy(granite)
    clipped.lm_head.register_forward_hook(lambda head, given, logits: logits.clamp(-3, 3))
    refused(clipped, "it makes them in another way")
    knowing = copy.deepcopy(granite)
    knowing.model.register_forward_hook(twice_of_tokens, with_kwargs=True)
    refused(knowing, "given rows it computes something else than given their tokens")
    assert read_scales(granite, FOLDER) == PLAIN  # another model of its size
