"""A base model's folder, looked at as plain files before any library gets it.

Folders come from downloads that broke off, from other libraries, from editors, and from people who mean harm. What
libraries do then is theirs: they wait for ever on a named pipe, reserve a terabyte that a config asks for, or end in an
error about their own insides. So this says first what a folder holds: regular files, JSON objects of a bounded size and
depth, weights whose header fits their file, and settings that the weights can fill. What libraries still raise is told
in one line, by `quietly`.
"""

import contextlib
import json
import os
import re
import stat
import struct
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.utils import logging

from wake2vec.errors import ModelError, Wake2VecError, in_one_line

SETTINGS = "config.json"
OBJECTS = (
    SETTINGS,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "adapter_config.json",
    "model.safetensors.index.json",
)
"""JSON files that libraries look for by name, each an object."""
READ = (".json", ".jinja", ".model", ".safetensors", ".txt")
"""How the files end that libraries read without being asked."""
LARGEST_JSON_BYTES = 100_000_000
"""Gemma 3's tokenizer, one of 262,144 tokens, has 33 million."""
DEEPEST = 50
LARGEST_HEADER_BYTES = 100_000_000
"""What the safetensors library takes."""
MOST_LAYERS, FEW_LAYERS = 10_000, 1_000
"""That any model has; that are built on paper in a second or two, whatever the weights hold."""
SPARE_NUMBERS = 10**8
"""That a model may have beside its weights, such as masks and rotary frequencies."""
FLOATS = ("F64", "F32", "F16", "BF16")
AGAIN = "get the model again"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


@dataclass(frozen=True)
class Stored:
    """A tensor as a header tells of it."""

    file: Path
    dtype: str
    """In safetensors' words: `F32`, `BF16`, `I8`."""
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


def check_folder(folder: Path) -> None:
    """Look at the files that libraries would read; nothing but a plain file is opened.

    Raises:
        ModelError: one isn't a plain file or can't be read; a JSON file isn't an object, or is too large or too deep.
    """
    try:
        entries = sorted(path for path in folder.iterdir() if path.suffix in READ)
        extra = folder / "additional_chat_templates"
        entries += sorted(extra.iterdir()) if extra.is_dir() else []
    except OSError as fault:
        raise ModelError(
            f"a base model's folder must be readable: {folder}: {in_one_line(fault)}; see who owns it"
        ) from None
    _check_files(tuple((path, *_version(path)) for path in entries))


@lru_cache(maxsize=16)
def _check_files(versions: tuple[tuple[Path, int, int], ...]) -> None:
    for path, _, _ in versions:
        if path.name in OBJECTS:
            content = read_object(path)
            if path.name == SETTINGS:
                _check_layers(content, path, MOST_LAYERS)


def check_model(folder: Path) -> None:
    """What a base model must be besides: whole, without code of its own, not quantized, filled by its weights.

    Raises:
        ModelError: it isn't.
    """
    check_folder(folder)
    files = sorted(path for pattern in ("*.json", "*.safetensors") for path in folder.glob(pattern))
    _check_model(folder, tuple((path, *_version(path)) for path in files))


@lru_cache(maxsize=16)
def _check_model(folder: Path, versions: tuple[tuple[Path, int, int], ...]) -> None:
    path = folder / SETTINGS
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"a base model must be whole: {folder} holds an adapter (adapter_config.json); merge it into its base, or "
            "give the base"
        )
    if not path.exists():
        raise ModelError(f"a base model has a {SETTINGS}: {folder} has none; give the folder of a language model")
    settings = read_object(path)
    if settings.get("auto_map"):
        raise ModelError(
            f"a base model must not bring code of its own: {folder} has an auto_map; give a model that transformers "
            "knows by itself"
        )
    if "quantization_config" in settings:
        given = settings["quantization_config"]
        method = given.get("quant_method") if isinstance(given, dict) else given
        raise ModelError(
            f"a base model's weights must not be quantized: {folder} was by {method}; give the model that it was made "
            "of (model.quantization=nf4 quantizes that one as it is loaded)"
        )
    if not isinstance(settings.get("model_type"), str):
        raise ModelError(f"{path} must name its model_type: it has none; {AGAIN}, or give a language model's folder")
    tensors = stored_tensors(folder)
    _check_layers(settings, path, max(FEW_LAYERS, len(tensors)))
    _check_size(folder, tensors)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that is an object, as libraries need it.

    Raises:
        ModelError: it isn't.
    """
    _version(path)
    rule = f"{path} must be a JSON object in UTF-8"
    if (size := path.stat().st_size) > LARGEST_JSON_BYTES:
        raise ModelError(f"{rule} of at most {LARGEST_JSON_BYTES:,} bytes: it has {size:,}; {AGAIN}")
    try:
        content = json.loads(path.read_bytes().decode())
    except UnicodeDecodeError as fault:
        raise ModelError(f"{rule}: it isn't at byte {fault.start}; {AGAIN}") from None
    except RecursionError:
        raise ModelError(f"{rule} of at most {DEEPEST} levels: it has more; {AGAIN}") from None
    except ValueError as fault:
        reason = "it is empty" if not size else "a number has too many digits" if "digits" in str(fault) else str(fault)
        raise ModelError(f"{rule}: {reason}; {AGAIN}") from None
    except OSError as fault:
        raise ModelError(f"{path} can't be read: {in_one_line(fault)}; {AGAIN}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{rule}: it is {_named(content)}; {AGAIN}")
    if _depth(content) > DEEPEST:
        raise ModelError(f"{rule} of at most {DEEPEST} levels: it has more; {AGAIN}")
    return content


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """What the weights' headers say, under the tensors' names: of `model.safetensors`, or of all that the index names.

    Raises:
        ModelError: there are no weights, a file is missing or broken, or its numbers aren't floating-point ones.
    """
    if (folder / WEIGHTS).exists():
        tensors = read_header(folder / WEIGHTS)
    elif (folder / INDEX).exists():
        tensors = _indexed(folder)
    else:
        pickled = any(next(folder.glob(pattern), None) for pattern in PICKLED)
        remedy = "save them as safetensors (save_pretrained)" if pickled else "give the folder of a whole model"
        found = "its weights are pickled, which could run code" if pickled else "it has no weights"
        raise ModelError(f"a base model has its weights in {WEIGHTS}: {folder}: {found}; {remedy}")
    odd = [name for name, tensor in tensors.items() if name.endswith("weight") and tensor.dtype not in FLOATS]
    if odd:
        raise ModelError(
            f"weights must be floating-point numbers ({', '.join(FLOATS)}): {folder}: {odd[0]} is "
            f"{tensors[odd[0]].dtype}; give the model as it was before it was quantized"
        )
    return tensors


def _indexed(folder: Path) -> dict[str, Stored]:
    index = folder / INDEX
    files = read_object(index).get("weight_map")
    if not isinstance(files, dict) or not files or not all(isinstance(file, str) for file in files.values()):
        raise ModelError(f"{index} must map tensors to files under `weight_map`: it doesn't; {AGAIN}")
    names = sorted(set(files.values()))
    outside = [name for name in names if Path(name).name != name or name in (".", "..")]
    if outside:
        raise ModelError(f"{index} must name files of its own folder: {outside[0]!r} isn't one; {AGAIN}")
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise ModelError(
            f"all files that {INDEX} names must be there: {folder}: {', '.join(missing[:3])} "
            f"{'is' if len(missing) == 1 else 'are'} missing; {AGAIN}"
        )
    tensors = {name: tensor for file in names for name, tensor in read_header(folder / file).items()}
    absent = sorted(name for name, file in files.items() if name not in tensors or tensors[name].file.name != file)
    if absent:
        raise ModelError(f"{index} must name what its files hold: {absent[0]} isn't in {files[absent[0]]}; {AGAIN}")
    return tensors


def read_header(path: Path) -> dict[str, Stored]:
    """What a safetensors file says of its tensors, once that fits its length.

    Raises:
        ModelError: it isn't such a file, or not the whole of one.
    """
    size, _ = _version(path)
    rule = f"{path} must be a whole safetensors file"
    if not size:
        raise ModelError(f"{rule}: it is empty; {AGAIN}")
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else LARGEST_HEADER_BYTES + 1
            header = _header_in(file.read(length)) if length <= min(LARGEST_HEADER_BYTES, size - 8) else None
    except OSError as fault:
        raise ModelError(f"{path} can't be read: {in_one_line(fault)}; {AGAIN}") from None
    whole = None if header is None else 8 + length + max([0, *map(_end, header.values())])
    if whole is not None and size < whole:
        raise ModelError(f"{rule}: it has {size:,} of {whole:,} bytes, a download may have broken off; {AGAIN}")
    try:
        with safe_open(path, framework="pt") as stored:
            parts = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
            tensors = {name: Stored(path, part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
    except (OSError, SafetensorError) as fault:
        raise ModelError(f"{rule}: {in_one_line(fault)}; {AGAIN}") from None
    if not tensors:
        raise ModelError(f"{rule}: it holds no tensor; {AGAIN}")
    return tensors


def _header_in(data: bytes) -> dict[str, Any] | None:
    """None where it is none: the library says why."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _end(entry: Any) -> int:
    """Where the bytes of a tensor end, by its header; 0 where that can't be."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    last = offsets[-1] if isinstance(offsets, list) and offsets else 0
    return last if isinstance(last, int) and 0 <= last < 2**62 else 0


def _check_layers(settings: Mapping[str, Any], path: Path, most: int) -> None:
    """Each layer is made, if only on paper: a billion of them would take for ever."""
    for name, value in settings.items():
        if isinstance(value, dict):
            _check_layers(value, path, most)
        elif re.search("layer|expert|block", name) and isinstance(value, int) and value > most:
            raise ModelError(f"{path} must fit the weights: {name} is {_short(value)}, more than they fill; {AGAIN}")


def _check_size(folder: Path, tensors: Mapping[str, Stored]) -> None:
    """The model is built on paper first: what it would take must be there as weights."""
    config = load_config(folder)
    with quietly(f"{folder / SETTINGS} describes no causal language model that can be built"):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        asked = sum(part.numel() for part in (*model.parameters(), *model.buffers()))
    stored = sum(tensor.numbers for tensor in tensors.values())
    if asked > 2 * stored + SPARE_NUMBERS:
        raise ModelError(
            f"{folder / SETTINGS} must fit the weights: it asks for {asked:,} numbers, they are {stored:,}; {AGAIN}"
        )


def load_config(folder: Path) -> PretrainedConfig:
    """Raises ModelError: it isn't of a model that transformers knows, or has settings that it doesn't take."""
    with quietly(f"{folder / SETTINGS} describes no model that transformers knows"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if config.dtype is not None and not getattr(config.dtype, "is_floating_point", False):
        raise ModelError(
            f"a model's numbers must be floating-point ones: {folder / SETTINGS}: dtype is {config.dtype}; {AGAIN}"
        )
    return config


def is_there(path: Path) -> bool:
    """Also of a link to nothing; False for a name that no file can have."""
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True


def is_folder(path: Path) -> bool:
    """False for a name that no folder can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def quietly(what: str, remedy: str = AGAIN) -> Iterator[None]:
    """Let libraries work without a word of their own; what they raise is told in one line that begins with `what`.

    Raises:
        ModelError: whatever they raised. Theirs to choose: files of other people make them raise all there is.
    """
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (Wake2VecError, torch.OutOfMemoryError):
        raise
    except BaseException as fault:
        # What Rust code calls a panic is no `Exception`.
        if not isinstance(fault, Exception) and type(fault).__name__ != "PanicException":
            raise
        raise ModelError(f"{what}: {in_one_line(fault)}; {remedy}") from None
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """Rust's libraries write there themselves, with their own file names, before Python hears of a fault."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _version(path: Path) -> tuple[int, int]:
    """Size and time of change of a plain file.

    Raises:
        ModelError: it is none, or can't be read.
    """
    try:
        found = path.stat()  # through links: the hub's cache is made of them
    except OSError as fault:
        raise ModelError(f"{path} can't be read: {in_one_line(fault)}; {AGAIN}") from None
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise ModelError(f"a base model's files must be plain files: {path} is {KINDS.get(kind, 'a device')}; {AGAIN}")
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as fault:
        raise ModelError(f"{path} can't be read: {in_one_line(fault)}; see who owns it (chmod u+r)") from None
    return found.st_size, found.st_mtime_ns


def _named(content: object) -> Literal["a list", "text", "null", "a number"]:
    if content is None:
        return "null"
    return "a list" if isinstance(content, list) else "text" if isinstance(content, str) else "a number"


def _short(number: int) -> str:
    return f"{number:,}" if abs(number) < 10**15 else "a number of more than 15 digits"


def _depth(content: Any) -> int:
    """Levels of lists and objects, one inside another."""
    depth, level = 0, [content]
    while level and depth <= DEEPEST:
        depth += 1
        parts = (part for each in level for part in (each.values() if isinstance(each, dict) else each))
        level = [part for part in parts if isinstance(part, dict | list)]
    return depth
