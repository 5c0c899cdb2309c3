"""Base models that can't be used, each a good folder with one thing spoiled.

A folder comes from a download that broke off, from another library, from an editor, or from somebody who means harm.
"""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

Spoil = Callable[[Path], object]
WEIGHTS = "model.safetensors"
EMBEDDING = "model.embed_tokens.weight"
NORM = "model.norm.weight"


def _replaced(name: str, data: bytes | str) -> Spoil:
    """Whatever lay there: a link to the good folder's file is taken away, never written through."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)

    return spoil


def _settings(name: str = "config.json", **changes: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / name).read_bytes())
        _replaced(name, json.dumps(content | changes))(folder)

    return spoil


def _without(name: str, *keys: str) -> Spoil:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / name).read_bytes())
        _replaced(name, json.dumps({key: value for key, value in content.items() if key not in keys}))(folder)

    return spoil


def _tokenizer(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_bytes())
        change(content)
        _replaced("tokenizer.json", json.dumps(content))(folder)

    return spoil


def _weights(change: Callable[[dict[str, np.ndarray]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        change(weights)
        (folder / WEIGHTS).unlink()
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})

    return spoil


def _header(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Change what a safetensors file says of itself, and leave its numbers."""

    def spoil(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        _replaced(WEIGHTS, struct.pack("<Q", len(text)) + text + data[8 + length :])(folder)

    return spoil


def _cut(name: str, share: float) -> Spoil:
    def spoil(folder: Path) -> None:
        data = (folder / name).read_bytes()
        _replaced(name, data[: int(share * len(data))])(folder)

    return spoil


def _all(*spoils: Spoil) -> Spoil:
    def spoil(folder: Path) -> None:
        for one in spoils:
            one(folder)

    return spoil


def _gone(*names: str) -> Spoil:
    return _all(*(_made(name, lambda path: None) for name in names))


def _filled(name: str, number: float, part: slice = slice(None)) -> Spoil:
    """Of a tensor, some rows; of every tensor, where no name is given."""

    def spoil(folder: Path) -> None:
        def fill(weights: dict[str, np.ndarray]) -> None:
            for key in filter(lambda key: name in key, weights):
                weights[key][part] = number

        _weights(fill)(folder)

    return spoil


def _made(name: str, make: Callable[[Path], object]) -> Spoil:
    """Something else in the place of a file."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return spoil


def _sharded(change: Callable[[dict[str, Any], Path], object]) -> Spoil:
    """The weights in two files, and an index that `change` spoils."""

    def spoil(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).unlink()
        names = sorted(weights)
        half = len(names) // 2
        parts = {"model-00001-of-00002.safetensors": names[:half], "model-00002-of-00002.safetensors": names[half:]}
        for file, own in parts.items():
            save_file({name: weights[name] for name in own}, folder / file, metadata={"format": "pt"})
        total = sum(weight.nbytes for weight in weights.values())
        index: dict[str, Any] = {
            "metadata": {"total_size": total},
            "weight_map": {name: file for file, own in parts.items() for name in own},
        }
        change(index, folder)
        _replaced("model.safetensors.index.json", json.dumps(index))(folder)

    return spoil


def _unreadable(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0)


def _move(file: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(file)


def _rename(index: dict[str, Any], file: str) -> None:
    first = next(iter(index["weight_map"]))
    index["weight_map"][first] = file


def _nested(depth: int) -> str:
    return '{"model_type": ' + "[" * depth + "]" * depth + "}"


def _vocabulary(content: dict[str, Any], word: str, id_: int) -> None:
    content["model"]["vocab"][word] = id_


HUGE = 10**12
DIGITS = "9" * 5000

FILES: dict[str, Spoil] = {
    "no config.json": _made("config.json", lambda path: None),
    "no tokenizer": _gone("tokenizer.json", "tokenizer_config.json"),
    "no weights": _made(WEIGHTS, lambda path: None),
    "pickled weights alone": lambda folder: [
        _made(WEIGHTS, lambda path: None)(folder),
        _replaced("pytorch_model.bin", b"\x80\x02.")(folder),
    ],
    "weights are a folder": _made(WEIGHTS, Path.mkdir),
    "config.json is a folder": _made("config.json", Path.mkdir),
    "tokenizer.json is a folder": _made("tokenizer.json", Path.mkdir),
    "weights are a FIFO": _made(WEIGHTS, os.mkfifo),
    "config.json is a FIFO": _made("config.json", os.mkfifo),
    "tokenizer.json is a FIFO": _made("tokenizer.json", os.mkfifo),
    "tokenizer_config.json is a FIFO": _made("tokenizer_config.json", os.mkfifo),
    "a FIFO of another name that libraries read": _made("special_tokens_map.json", os.mkfifo),
    "a chat template that is a FIFO": _made("chat_template.jinja", os.mkfifo),
    "weights are /dev/zero": _made(WEIGHTS, _move("/dev/zero")),
    "config.json is /dev/zero": _made("config.json", _move("/dev/zero")),
    "tokenizer.json is /dev/zero": _made("tokenizer.json", _move("/dev/zero")),
    "config.json is /dev/null": _made("config.json", _move("/dev/null")),
    "weights are a link to themselves": _made(WEIGHTS, _move(WEIGHTS)),
    "config.json is a link to itself": _made("config.json", _move("config.json")),
    "a tokenizer that is a link to itself": _made("tokenizer.json", _move("tokenizer.json")),
    "a link to nothing": _made("config.json", _move("nowhere/config.json")),
    "weights are a link to nothing": _made(WEIGHTS, _move("../blobs/nowhere")),
}
"""What lies in place of a plain file."""

WEIGHT_FILES: dict[str, Spoil] = {
    "weights cut in half": _cut(WEIGHTS, 0.5),
    "weights cut by a byte": _cut(WEIGHTS, 0.9999999),
    "weights cut in their header": _cut(WEIGHTS, 0.0001),
    "empty weights": _replaced(WEIGHTS, b""),
    "four bytes": _replaced(WEIGHTS, b"\x00\x01\x02\x03"),
    "zeros": _replaced(WEIGHTS, bytes(4096)),
    "a web page in place of weights": _replaced(WEIGHTS, "<!doctype html><title>404</title>" * 40),
    "a pointer of git-lfs": _replaced(
        WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7872784\n"
    ),
    "a header of 2^63 bytes": _replaced(WEIGHTS, struct.pack("<Q", 2**63) + b"{}"),
    "a header that is a list": _replaced(WEIGHTS, struct.pack("<Q", 2) + b"[]"),
    "a header that is no JSON": _replaced(WEIGHTS, struct.pack("<Q", 4) + b"{{{{"),
    "a header that nests deeply": _replaced(WEIGHTS, struct.pack("<Q", 200_000) + b"[" * 200_000),
    "no tensor": _header(dict.clear),
    "an unknown type": _header(lambda header: header[NORM].update(dtype="F7")),
    "a negative shape": _header(lambda header: header[NORM].update(shape=[-8])),
    "a shape that its bytes don't fill": _header(lambda header: header[NORM].update(shape=[HUGE])),
    "offsets beyond the file": _header(lambda header: header[NORM].update(data_offsets=[0, HUGE])),
    "offsets that overlap": _header(lambda header: header[NORM].update(data_offsets=header[EMBEDDING]["data_offsets"])),
    "offsets that are words": _header(lambda header: header[NORM].update(data_offsets=["a", "b"])),
    "a tensor that says nothing": _header(lambda header: header.update({NORM: {}})),
    "a missing tensor": _weights(lambda weights: weights.pop(NORM)),
    "no embedding": _weights(lambda weights: weights.pop(EMBEDDING)),
    "a tensor too many": _weights(lambda weights: weights.update({"model.layers.0.odd.weight": np.zeros(3, "f4")})),
    "tensors of another family": _weights(
        lambda weights: [weights.update({f"transformer.h.{name}": weights.pop(name)}) for name in list(weights)]
    ),
    "NaN in the weights": _filled(NORM, np.nan),
    "infinity in the embedding": _filled(EMBEDDING, np.inf, slice(3, 4)),
    "weights of zeros alone": _filled("", 0),
    "weights of 1e38": _filled("", 1e38),
    "a wrong shape": _weights(lambda weights: weights.update({NORM: np.ones(3, "f4")})),
    "an embedding that is too narrow": _weights(
        lambda weights: weights.update({EMBEDDING: weights[EMBEDDING][:, :-1].copy()})
    ),
    "an embedding of one dimension": _weights(
        lambda weights: weights.update({EMBEDDING: weights[EMBEDDING].reshape(-1).copy()})
    ),
    "an embedding of no rows": _weights(lambda weights: weights.update({EMBEDDING: weights[EMBEDDING][:0].copy()})),
    "an embedding of int32": _weights(lambda weights: weights.update({EMBEDDING: weights[EMBEDDING].astype("i4")})),
    "weights of int8": _weights(
        lambda weights: weights.update({name: weight.astype("i1") for name, weight in weights.items()})
    ),
    "weights of yes and no": _weights(lambda weights: weights.update({NORM: weights[NORM].astype("?")})),
    "complex weights": _weights(lambda weights: weights.update({NORM: weights[NORM].astype("c8")})),
    "weights of fp8": _header(
        lambda header: header.update(
            {NORM: {**header[NORM], "dtype": "F8_E4M3", "shape": [4 * header[NORM]["shape"][0]]}}
        )
    ),
    "an index that names a missing file": _sharded(
        lambda index, folder: (folder / "model-00002-of-00002.safetensors").unlink()
    ),
    "an index that leads out of the folder": _sharded(lambda index, folder: _rename(index, "../../etc/passwd")),
    "an index that names a file by a number": _sharded(lambda index, folder: index["weight_map"].update({NORM: 7})),
    "an index without a map": _sharded(lambda index, folder: index.pop("weight_map")),
    "an index whose map is a list": _sharded(lambda index, folder: index.update(weight_map=[1, 2])),
    "an index whose map is empty": _sharded(lambda index, folder: index.update(weight_map={})),
    "an index that leaves a tensor out": _sharded(lambda index, folder: index["weight_map"].pop(NORM)),
    "an index that names a tensor that isn't there": _sharded(
        lambda index, folder: index["weight_map"].update(odd="model-00001-of-00002.safetensors")
    ),
    "a shard cut in half": _sharded(lambda index, folder: _cut("model-00002-of-00002.safetensors", 0.5)(folder)),
    "a shard that is a FIFO": _sharded(
        lambda index, folder: _made("model-00002-of-00002.safetensors", os.mkfifo)(folder)
    ),
    "an empty index": lambda folder: [
        _made(WEIGHTS, lambda path: None)(folder),
        _replaced("model.safetensors.index.json", "")(folder),
    ],
}
"""Weights, and what says where they are."""

ODD_JSON: dict[str, bytes | str] = {
    "empty": b"",
    "spaces": "  \n ",
    "a list": "[]",
    "a number": "7",
    "null": "null",
    "a text": '"config"',
    "no JSON": "{model_type: llama}",
    "cut in the middle": '{"model_type": "lla',
    "not UTF-8": b'{"model_type": "caf\xe9"}',
    "UTF-16": '{"model_type": "llama"}'.encode("utf-16"),
    "with a byte order mark": b'\xef\xbb\xbf{"model_type": "llama"}',
    "NULs": b"\x00" * 64,
    "nested deeply": _nested(400),
    "nested more deeply": _nested(100_000),
    "a number of 5,000 digits": '{"model_type": "llama", "vocab_size": ' + DIGITS + "}",
    "a web page": "<!doctype html><title>404</title>",
    "half a surrogate": '{"model_type": "\\ud800"}',
    "an empty object": "{}",
}
JSON_FILES: dict[str, Spoil] = {
    f"{name}: {what}": _replaced(name, data)
    for name in ("config.json", "tokenizer.json")
    for what, data in ODD_JSON.items()
} | {
    f"tokenizer_config.json: {what}": _replaced("tokenizer_config.json", data)
    for what, data in ODD_JSON.items()
    if what not in ("an empty object", "with a byte order mark", "a number of 5,000 digits", "half a surrogate")
}

CONFIGS: dict[str, Spoil] = {
    "config: vocab_size 10^12": _settings(vocab_size=HUGE),
    "config: vocab_size 0": _settings(vocab_size=0),
    "config: vocab_size -1": _settings(vocab_size=-1),
    "config: vocab_size null": _settings(vocab_size=None),
    "config: vocab_size text": _settings(vocab_size="many"),
    "config: vocab_size list": _settings(vocab_size=[4096]),
    "config: vocab_size a little more": _settings(vocab_size=5000),
    "config: vocab_size 10^30": _settings(vocab_size=10**30),
    "config: hidden_size 10^12": _settings(hidden_size=HUGE, head_dim=HUGE),
    "config: hidden_size 0": _settings(hidden_size=0),
    "config: hidden_size -8": _settings(hidden_size=-8),
    "config: hidden_size text": _settings(hidden_size="wide"),
    "config: 10^9 layers": _settings(num_hidden_layers=10**9),
    "config: 10^30 layers": _settings(num_hidden_layers=10**30),
    "config: 100,000 layers": _settings(num_hidden_layers=100_000),
    "config: -1 layers": _settings(num_hidden_layers=-1),
    "config: layers a float": _settings(num_hidden_layers=1.5),
    "config: layers a list": _settings(num_hidden_layers=[2]),
    "config: one layer more": lambda folder: _settings(
        num_hidden_layers=1 + json.loads((folder / "config.json").read_bytes())["num_hidden_layers"]
    )(folder),
    "config: no heads": _settings(num_attention_heads=0),
    "config: heads don't divide": _settings(num_attention_heads=5),
    "config: no key heads": _settings(num_key_value_heads=0),
    "config: head_dim text": _settings(head_dim="wide"),
    "config: wide intermediate": _settings(intermediate_size=HUGE),
    "config: unknown activation": _settings(hidden_act="evil"),
    "config: activation a list": _settings(hidden_act=["silu"]),
    "config: unknown rope": _settings(rope_parameters={"rope_type": "evil", "rope_theta": 1e4}),
    "config: rope a text": _settings(rope_parameters="default"),
    "config: rope theta text": _settings(rope_parameters={"rope_type": "default", "rope_theta": "x"}),
    "config: norm epsilon text": _settings(rms_norm_eps="small"),
    "config: dtype unknown": _settings(dtype="float7"),
    "config: dtype int32": _settings(dtype="int32"),
    "config: dtype a list": _settings(dtype=["float32"]),
    "config: tied text": _settings(tie_word_embeddings="yes"),
    "config: untied without a head": _settings(tie_word_embeddings=False),
    "config: bos a text": _settings(bos_token_id="<s>"),  # noqa: S106
    "config: pad beyond the matrix": _settings(pad_token_id=10**9),
    "config: pad negative beyond the matrix": _settings(pad_token_id=-(10**9)),
    "config: no model_type": _without("config.json", "model_type"),
    "config: unknown model_type": _settings(model_type="evil"),
    "config: model_type a number": _settings(model_type=3),
    "config: model_type a list": _settings(model_type=["llama"]),
    "config: model_type a path": _settings(model_type="../../etc"),
    "config: an encoder": _settings(model_type="bert", architectures=["BertModel"]),
    "config: a translator": _settings(model_type="t5", architectures=["T5ForConditionalGeneration"]),
    "config: a vision model": _settings(model_type="vit"),
    "config: architectures a number": _settings(architectures=3),
    "config: code of its own": lambda folder: [
        _replaced("evil.py", "raise SystemExit('ran')")(folder),
        _settings(auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})(folder),
    ],
    "config: code of its own, of an unknown type": lambda folder: [
        _replaced("evil.py", "raise SystemExit('ran')")(folder),
        _settings(model_type="evil", auto_map={"AutoConfig": "evil.Config"})(folder),
    ],
    "config: code on the hub": _settings(auto_map={"AutoConfig": "somebody/evil--evil.Config"}),
    "config: auto_map a text": _settings(auto_map="evil.Config"),
    **{
        f"config: quantized by {method}": _settings(quantization_config={"quant_method": method, "bits": 4})
        for method in ("gptq", "awq", "bitsandbytes", "fp8", "compressed-tensors", "mxfp4", "evil")
    },
    "config: quantization a text": _settings(quantization_config="gptq"),
    "config: quantization without a method": _settings(quantization_config={"bits": 4}),
    "config: a subfolder's config": _settings(text_config={"model_type": "evil"}),
    "config: layer types of another length": _settings(layer_types=["full_attention"]),
    "config: layer types unknown": _settings(layer_types=["odd", "odd"]),
    "config: an adapter's folder": _all(
        _gone("config.json"),
        _replaced("adapter_config.json", '{"base_model_name_or_path": "x", "peft_type": "LORA"}'),
    ),
    "config: an adapter beside it": _replaced(
        "adapter_config.json", '{"base_model_name_or_path": "x", "peft_type": "LORA"}'
    ),
    "config: an adapter that is no JSON": _replaced("adapter_config.json", "{"),
    "generation_config.json: a list": _replaced("generation_config.json", "[]"),
    "generation_config.json: no JSON": _replaced("generation_config.json", "{"),
    "generation_config.json: text for numbers": _replaced(
        "generation_config.json", '{"temperature": "hot", "top_p": [], "max_new_tokens": "x"}'
    ),
}
"""What config.json says."""

TOKENIZERS: dict[str, Spoil] = {
    "tokenizer: an id of 10^9": _tokenizer(lambda content: _vocabulary(content, "far", 10**9)),
    "tokenizer: an id of 10^6": _tokenizer(lambda content: _vocabulary(content, "far", 10**6)),
    "tokenizer: an id of 10^12": _tokenizer(lambda content: _vocabulary(content, "far", HUGE)),
    "tokenizer: an id of 2^32 - 1": _tokenizer(lambda content: _vocabulary(content, "far", 2**32 - 1)),
    "tokenizer: an id below 0": _tokenizer(lambda content: _vocabulary(content, "far", -1)),
    "tokenizer: an id that is text": _tokenizer(lambda content: content["model"]["vocab"].update(far="1")),
    "tokenizer: an added id of 10^9": _tokenizer(
        lambda content: content["added_tokens"].append({**content["added_tokens"][0], "id": 10**9, "content": "<far>"})
    ),
    "tokenizer: 5,000 tokens without rows": _tokenizer(
        lambda content: content["model"]["vocab"].update(
            {f"odd{n}": n + len(content["model"]["vocab"]) for n in range(5000)}
        )
    ),
    "tokenizer: no model": _tokenizer(lambda content: content.pop("model")),
    "tokenizer: model null": _tokenizer(lambda content: content.update(model=None)),
    "tokenizer: unknown model": _tokenizer(lambda content: content["model"].update(type="Evil")),
    "tokenizer: no vocabulary": _tokenizer(lambda content: content["model"].pop("vocab")),
    "tokenizer: an empty vocabulary": _tokenizer(
        lambda content: [content["model"].update(vocab={}, merges=[], unk_token=None), content.update(added_tokens=[])]
    ),
    "tokenizer: a vocabulary of one": _tokenizer(
        lambda content: [
            content["model"].update(vocab={"a": 0}, merges=[], unk_token=None),
            content.update(added_tokens=[], post_processor=None),
        ]
    ),
    "tokenizer: vocabulary a list": _tokenizer(lambda content: content["model"].update(vocab=["a", "b"])),
    "tokenizer: merges of unknown pieces": _tokenizer(lambda content: content["model"].update(merges=[["xyz", "uvw"]])),
    "tokenizer: merges text": _tokenizer(lambda content: content["model"].update(merges="all")),
    "tokenizer: merges of three": _tokenizer(lambda content: content["model"].update(merges=["a b c"])),
    "tokenizer: unknown token that isn't there": _tokenizer(
        lambda content: content["model"].update({"unk_token": "<odd>"})
    ),
    "tokenizer: unknown pre-tokenizer": _tokenizer(lambda content: content.update(pre_tokenizer={"type": "Evil"})),
    "tokenizer: a pattern that is none": _tokenizer(
        lambda content: content.update(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated", "invert": False}
        )
    ),
    "tokenizer: unknown normalizer": _tokenizer(lambda content: content.update(normalizer={"type": "Evil"})),
    "tokenizer: normalizer text": _tokenizer(lambda content: content.update(normalizer="NFC")),
    "tokenizer: a charsmap that is none": _tokenizer(
        lambda content: content.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"})
    ),
    "tokenizer: unknown decoder": _tokenizer(lambda content: content.update(decoder={"type": "Evil"})),
    "tokenizer: unknown post-processor": _tokenizer(lambda content: content.update(post_processor={"type": "Evil"})),
    "tokenizer: added tokens text": _tokenizer(lambda content: content.update(added_tokens="all")),
    "tokenizer: an added token without a text": _tokenizer(lambda content: content.update(added_tokens=[{"id": 1}])),
    "tokenizer: truncation text": _tokenizer(lambda content: content.update(truncation="8")),
    "tokenizer: version a number": _tokenizer(lambda content: content.update(version=7)),
    "tokenizer: everything is the unknown token": _tokenizer(
        lambda content: [
            content["model"].update(vocab={"<unk>": 0, "<s>": 1, "</s>": 2}, merges=[], byte_fallback=False),
        ]
    ),
    "tokenizer_config.json: an unknown class": _settings("tokenizer_config.json", tokenizer_class="EvilTokenizer"),
    "tokenizer_config.json: class a number": _settings("tokenizer_config.json", tokenizer_class=7),
    "tokenizer_config.json: class a path": _settings("tokenizer_config.json", tokenizer_class="../../evil.Evil"),
    "tokenizer_config.json: code of its own": _settings(
        "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Slow", "evil.Fast"]}
    ),
    "tokenizer_config.json: unknown token without letters": _settings("tokenizer_config.json", unk_token=""),
    "tokenizer_config.json: bos without letters": _settings("tokenizer_config.json", bos_token=""),
    "tokenizer_config.json: bos a number": _settings("tokenizer_config.json", bos_token=7),
    "tokenizer_config.json: bos a list": _settings("tokenizer_config.json", bos_token=["<s>"]),
    "tokenizer_config.json: tokens a text": _settings("tokenizer_config.json", added_tokens_decoder="all"),
    "tokenizer_config.json: an id beyond the matrix": _settings(
        "tokenizer_config.json", added_tokens_decoder={"1000000000": {"content": "<far>", "special": True}}
    ),
    "tokenizer_config.json: extra tokens a number": _settings("tokenizer_config.json", extra_special_tokens=7),
    "tokenizer_config.json: length a text": _settings("tokenizer_config.json", model_max_length="long"),
    "special_tokens_map.json: a list": _replaced("special_tokens_map.json", "[]"),
    "special_tokens_map.json: no JSON": _replaced("special_tokens_map.json", "{"),
    "added_tokens.json: no JSON": _replaced("added_tokens.json", "{"),
    "added_tokens.json: ids of text": _replaced("added_tokens.json", '{"odd": "x"}'),
    "a tokenizer.model alone, cut off": _all(
        _gone("tokenizer.json"), _replaced("tokenizer.model", b"\x0a\x0e\x0a\x05<unk")
    ),
}
"""What tokenizer files say."""

BAD_MODELS: dict[str, Spoil] = {**FILES, **WEIGHT_FILES, **JSON_FILES, **CONFIGS, **TOKENIZERS}
TAKEN = {
    "an index that leaves a tensor out": "the files are read whole",
    "config: architectures a number": "the model's type tells",
    "tokenizer: an added id of 10^9": "added tokens are numbered anew",
    "tokenizer: an added token without a text": "a token that nothing matches",
    "tokenizer: a vocabulary of one": "the text is read without its other letters",
    "tokenizer: unknown token that isn't there": "letters become bytes",
    "tokenizer_config.json: an unknown class": "tokenizer.json is the whole tokenizer",
    "tokenizer_config.json: class a path": "tokenizer.json is the whole tokenizer",
    "tokenizer_config.json: code of its own": "tokenizer.json is the whole tokenizer; no code is run",
    "tokenizer_config.json: an id beyond the matrix": "added tokens are numbered anew",
}
"""Of these folders, and why: what is spoiled is never used, so they run."""
