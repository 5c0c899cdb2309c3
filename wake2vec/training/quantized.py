"""A frozen body in 4 bits: NF4 (Dettmers et al. 2023, "QLoRA", arXiv 2305.14314), by bitsandbytes.

Each weight of the linear layers is one of 16 numbers, the quantiles of a normal distribution, times one scale for 64
weights; the scales are stored in 8 bits. Embedding, head and norms aren't quantized. Products are in the type of the
trial: a layer's weights are brought to it when it is their turn, forward and backward.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from wake2vec.errors import ModelError

NEEDED = ("accelerate", "bitsandbytes")
REMEDY = ".venv/bin/python scripts/setup.py quantized"
BYTES_A_WEIGHT = 0.5 + 1 / 64 + 4 / (64 * 256)
"""The weight, a byte of scale for 64 of them, a float32 for 256 scales."""


def loading_options(device: torch.device) -> dict[str, Any]:
    """What transformers' `from_pretrained` is told, so that weights are quantized as they are read.

    Raises:
        ModelError: a package isn't installed.
    """
    lacking = [name for name in NEEDED if find_spec(name) is None]
    if lacking:
        raise ModelError(
            f"model.quantization=nf4 needs {' and '.join(NEEDED)}: {' and '.join(lacking)} missing; run `{REMEDY}`, or "
            "give model.quantization=none"
        )
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    return {"quantization_config": config, "device_map": {"": str(device)}}


def compute_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Let quantized layers multiply in this type, and give gradients.

    On processors with AVX512-BF16 bitsandbytes repacks the weights of a model that isn't in training mode, for a
    product that autograd doesn't know: the gradients behind it would be wrong without a word.
    """
    module: Any
    for module in model.modules():
        if hasattr(module, "compute_dtype") and hasattr(module, "compute_type_is_set"):
            module.compute_dtype, module.compute_type_is_set = dtype, True
            module.support_avx512bf16_for_cpu = False


def stored_bytes(body: nn.Module) -> int:
    """Of all weights, and of the scales of the quantized ones."""
    states = (getattr(weight, "quant_state", None) for weight in body.parameters())
    scales = 0
    for state in states:
        if state is not None:
            scales += state.absmax.nbytes + (state.state2.absmax.nbytes if state.nested else 0)
    return sum(weight.nbytes for weight in body.parameters()) + scales


def weight_count(body: nn.Module) -> int:
    """Weights, two of which share a byte where they are quantized."""
    states = ((weight, getattr(weight, "quant_state", None)) for weight in body.parameters())
    return sum(weight.numel() if state is None else state.shape.numel() for weight, state in states)


def is_quantized(body: nn.Module) -> bool:
    return any(getattr(weight, "quant_state", None) is not None for weight in body.parameters())
