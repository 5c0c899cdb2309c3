"""TinyLlama's shape with random weights, and the size of Phase 1's run of it on a Tesla T4."""

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from wake2vec import RunConfig
from wake2vec.data.corpus import Corpus
from wake2vec.training.device import compute_dtype, device_for
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.machine import micro_batch_blocks
from wake2vec.training.train import Training

BASE_ROWS, NEW_ROWS, DIM = 32_000, 44_500, 2_048
T4_BYTES = 14.5e9
PHASE1_STEPS, PHASE1_EVALUATIONS = 3000, 11


def llama(layers: int, rows: int) -> PreTrainedModel:
    """A model of TinyLlama's shape with random weights, on the device."""
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=DIM,
        intermediate_size=5632,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    with torch.device(device_for()):
        return LlamaForCausalLM(config)


def random_corpus() -> Corpus:
    ids = torch.randint(BASE_ROWS + NEW_ROWS, (64, 256), generator=torch.Generator().manual_seed(0))
    blocks = Dataset.from_dict({"input_ids": ids.numpy()}).with_format("torch")
    counts = torch.bincount(ids.flatten(), minlength=BASE_ROWS + NEW_ROWS)
    new = counts[BASE_ROWS:]
    return Corpus(blocks, blocks, new, new, torch.nonzero(counts[:BASE_ROWS]).flatten())


def random_training(layers: int, config: RunConfig) -> Training:
    device = device_for()
    body = llama(layers, 8).base_model.to(compute_dtype(config.train.precision, device))
    generator = torch.Generator().manual_seed(0)
    base, new = (0.0148 * torch.randn(n, DIM, generator=generator).to(device) for n in (BASE_ROWS, NEW_ROWS))
    model = EmbeddingModel(body, base, new, config.train.rows)
    blocks = micro_batch_blocks(model, config.corpus.block_tokens, config.train.batch_blocks, config.machine)
    return Training(model, random_corpus(), config, blocks)


def step_flops(layers: int) -> float:
    """Of the matrix products of one step: a frozen weight takes 2 products a token, forward and back; the head 3."""
    tokens = 16 * 255
    layer = DIM * (DIM + 256 + 256 + DIM) + 3 * DIM * 5632
    return 2.0 * tokens * (2 * layers * layer + 3 * DIM * (BASE_ROWS + NEW_ROWS))
