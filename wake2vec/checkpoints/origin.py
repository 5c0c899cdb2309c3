"""Where new rows begin: in an export its metadata file says so, of any other model its files are asked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from wake2vec.data.tokenizer import stands_by_itself
from wake2vec.errors import ConfigError, ModelError
from wake2vec.workfolder import write_json

FILE = "wake2vec.json"


class Origin(BaseModel):
    """What can't be read off the matrix or its tokenizer."""

    model_config = ConfigDict(frozen=True)

    digest: str
    """Of the trial's configuration and inputs."""
    base_size: int
    """Rows that the base model brought: new ids begin here."""
    block_tokens: int
    """Tokens of a training block."""
    validation_share: float
    """Share of the text, at its end, that was held out."""
    bos: bool = False
    """Whether each block began with the beginning-of-sequence token, one of its tokens."""


def write_origin(folder: Path, origin: Origin) -> None:
    write_json(folder / FILE, origin.model_dump())


def read_origin(folder: Path) -> Origin | None:
    """What the folder says; None where it says nothing.

    Raises:
        ModelError: its file isn't what an export writes.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return Origin.model_validate_json(path.read_bytes())
    except ValidationError as fault:
        field = ".".join(map(str, fault.errors()[0]["loc"])) or "JSON"
        raise ModelError(f"{path} isn't what an export writes ({field}): export again, or remove it") from None


def given_ids(tokenizer: PreTrainedTokenizerFast | None, rows: int) -> tuple[Int[Tensor, " given"], list[str]]:
    """Ids of the rows that the tokenizer gives, in order, and what is to be said of the others.

    All rows, where there is no tokenizer.

    Raises:
        ModelError: the tokenizer gives none of them.
    """
    if tokenizer is None:
        return torch.arange(rows), []
    given = np.unique(np.fromiter(tokenizer.get_vocab().values(), dtype=np.int64))
    kept, notes = given[given < rows], []
    if not len(kept):
        raise ModelError("the tokenizer gives no row of the matrix: they aren't of one model")
    size = int(kept[-1]) + 1
    if size < rows:
        notes.append(f"{rows - size:,} padding rows, ids {size:,} to {rows - 1:,}, have no token: left out")
    if len(kept) < size:
        first = int(np.setdiff1d(np.arange(size), kept)[0])
        notes.append(f"{size - len(kept):,} rows among the others, the first {first:,}, have no token: left out")
    if len(kept) < len(given):
        notes.append(f"{len(given) - len(kept):,} tokens of the tokenizer have no row")
    return torch.from_numpy(kept), notes


def base_border(
    model: Path,
    given: int | None,
    origin: Origin | None,
    before_size: int | None,
    tokenizer: PreTrainedTokenizerFast | None,
    size: int,
) -> tuple[int, str]:
    """The first id of the new rows, and what told it; `size` is one more than the last id.

    By the first of these that is there: what was given, what an export wrote, a model before with fewer rows, the words
    at the end of the tokenizer.

    Raises:
        ConfigError: nothing tells it.
    """
    if given is not None:
        return given, "as given"
    if origin is not None:
        return origin.base_size, "as the export says"
    if before_size is not None and before_size < size:
        return before_size, "as many as the model before has"
    word = first_added_word(tokenizer) if tokenizer else None
    if word is not None:
        return word[0], f"up to the first word added to the tokenizer, {word[1]}"
    raise ConfigError(f"{model} doesn't tell which rows are new: give --base-size, or the base model with --before")


def first_added_word(tokenizer: PreTrainedTokenizerFast) -> tuple[int, str] | None:
    """Id and text of the first word of the run that ends the vocabulary; None where no word was added.

    From the last id down: added tokens are passed over, and so are pieces that no merge makes, as those of
    the token form `space` are. The first word is the lowest of these that has a letter, isn't special and isn't written
    `<like_this>`. A base tokenizer whose own added tokens are words is misread: give the size then.
    """
    state: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {token["id"]: token for token in state["added_tokens"]}
    pieces = {id_: piece for piece, id_ in tokenizer.get_vocab().items()}
    made = _merged(state["model"])
    first = None
    for id_ in sorted(pieces, reverse=True):
        piece = pieces[id_]
        by_form = made is not None and len(piece) > 1 and piece not in made and not stands_by_itself(piece)
        if id_ not in added and not by_form:
            break
        special = id_ in added and added[id_]["special"]
        if not special and any(map(str.isalpha, piece)) and not (piece.startswith("<") and piece.endswith(">")):
            first = id_, piece
    return first


def _merged(model: dict[str, Any]) -> set[str] | None:
    """What the merges of a BPE model make; None for other models."""
    if model["type"] != "BPE":
        return None
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return {"".join(pair) for pair in pairs}
