"""Origin: what an exported folder says of the trial that it came from, so that it can be measured as the trial was."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from wake2vec.errors import ModelError
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
