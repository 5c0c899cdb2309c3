"""Memory of a trial on a GPU, reckoned from a model's configuration: no weights, no GPU."""

from typing import Literal

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModel, PretrainedConfig

from wake2vec.config import Quantization
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.machine import pass_of_shapes
from wake2vec.training.quantized import BYTES_A_WEIGHT


def reckon_memory(
    config: PretrainedConfig,
    new_rows: int,
    *,
    own_head: bool,
    rows: Literal["all", "new"],
    quantization: Quantization = "none",
    dtype: torch.dtype = torch.float16,
    block_tokens: int = 256,
    blocks: int = 1,
) -> dict[str, int]:
    """Bytes by part, for Adafactor and so many blocks in one pass; their sum lies there at once.

    The parts are those of a plan. Attention is torch's fused one. A quantized layer is brought to `dtype` when it is
    its turn: the largest counts.
    """
    base, dim = config.vocab_size, config.hidden_size
    with FakeTensorMode():
        body = AutoModel.from_config(config, dtype=dtype, attn_implementation="sdpa")
        body.get_input_embeddings().weight = nn.Parameter(torch.empty(0, dim, dtype=dtype))
        head = (torch.empty(base, dim), torch.empty(new_rows, dim)) if own_head else None
        model = EmbeddingModel(body, torch.empty(base, dim), torch.empty(new_rows, dim), rows, head=head)
        passing = pass_of_shapes(model, block_tokens).of(blocks)
        linear = [module.weight.numel() for module in body.modules() if isinstance(module, nn.Linear)]
    weights = sum(weight.numel() for weight in body.parameters())
    in_bits = sum(linear) if quantization == "nf4" else 0
    matrices = model.trained.values()
    trained = sum(matrix.trained_rows.numel() for matrix in matrices)
    return {
        "frozen body": round(in_bits * BYTES_A_WEIGHT) + (weights - in_bits) * dtype.itemsize,
        "a layer's weights while it computes": max(linear) * dtype.itemsize if in_bits else 0,
        "matrices that the products read": sum(matrix.operand.nbytes for matrix in matrices),
        "trained rows in float32": sum(matrix.bytes_beside_operand for matrix in matrices),
        "gradient of the trained rows": 4 * trained,
        "optimizer state": sum(4 * sum(matrix.trained_rows.shape) for matrix in matrices),
        "a pass": passing,
    }
