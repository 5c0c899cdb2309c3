"""Export: a trained trial as a Hugging Face folder that plain transformers loads."""

import filecmp
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from wake2vec.config import RunConfig
from wake2vec.errors import ExportError
from wake2vec.material import Material, fingerprint_inputs, prepare
from wake2vec.model import merged_model
from wake2vec.origin import Origin, read_origin, write_origin
from wake2vec.precision import DTYPES, LOSS_TOLERANCE
from wake2vec.remeasure import matrix_of
from wake2vec.result import RunResult
from wake2vec.vectors import TEXT_FORMATS, Vectors, fitting_formats, write_vectors
from wake2vec.workfolder import WorkFolder, sync

STORAGE_TOLERANCE = 1e-3
"""Nats a token by which storing the rows in the base model's type may move the validation loss."""


@dataclass(frozen=True)
class ExportedFolder:
    """What `export_folder` wrote."""

    loss: float
    """Validation loss of the folder when it was loaded again, nats a token."""
    text_formats: tuple[str, ...]
    """Those of `wake2vec.vectors.TEXT_FORMATS` that were written."""


def export_folder(
    result: RunResult, work: WorkFolder, target: Path, card: str, text_formats: Sequence[str] | None = None
) -> ExportedFolder:
    """Write merged model, tokenizer, generation settings, the new rows alone and `card` (README.md).

    The folder is written beside `target`, loaded again with plain transformers, and renamed only when its
    validation loss is the logged one: a process that is killed leaves no `target`. A second export of the same trial
    leaves the first as it is. `text_formats` are further formats of the new rows, of `TEXT_FORMATS`; None: those
    that `fitting_formats` gives.

    Raises:
        ExportError: `target` holds something else, an input has changed since the training, or the
            reloaded model isn't the trained one.
    """
    _check_before(result, target, text_formats)
    material = prepare(result.config)
    rows = work.read_arrays("rows")["rows"]
    formats = fitting_formats(len(material.vocabulary.words), rows.shape[1]) if text_formats is None else text_formats
    beside = target.with_name(f".{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        _write_model(result.config, material, rows, beside)
        write_vectors(_vectors(material, rows, work), beside / "vectors", tuple(formats))
        (beside / "README.md").write_text(card, encoding="utf-8")
        _write_origin(result, material, beside)
        loss = _reloaded_loss(beside, material)
        logged = result.numbers["validation.loss"]
        if logged is None or abs(loss - logged) > tolerance(logged, result.computed.precision):
            raise ExportError(
                f"the export must have the logged validation loss: reloaded {loss:.5f}, logged {logged}; "
                "nothing was exported"
            )
        if target.exists():
            if not _same_files(beside, target):
                raise _holds_another(target)
        else:
            for path in [*beside.rglob("*"), beside]:
                sync(path)
            beside.rename(target)
            sync(target.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return ExportedFolder(loss, tuple(formats))


def tolerance(logged: float, precision: str) -> float:
    """Nats a token by which the reloaded loss, in float32, may differ from one logged in this precision."""
    return max(STORAGE_TOLERANCE, LOSS_TOLERANCE[DTYPES[precision]] * logged)


def _check_before(result: RunResult, target: Path, text_formats: Sequence[str] | None) -> None:
    """Raises ExportError: what can be told before anything is computed."""
    assert set(text_formats or ()) <= TEXT_FORMATS.keys()
    if target.exists():
        origin = read_origin(target)
        if origin is None or origin.digest != result.digest:
            raise _holds_another(target)
    now = fingerprint_inputs(result.config)
    changed = [address for address in now if now[address] != result.fingerprints[address]]
    if changed:
        raise ExportError(
            f"the inputs of a trial must be as they were in training: {', '.join(changed)} has another content now; "
            "put the old file back"
        )


def _holds_another(target: Path) -> ExportError:
    return ExportError(f"{target} holds another export: remove it, or give another OUT=<folder>")


def _write_model(config: RunConfig, material: Material, trained: np.ndarray, folder: Path) -> None:
    matrix = matrix_of(config, material, torch.from_numpy(trained)).cpu()
    model = merged_model(material.base.folder, matrix)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=config.sample.temperature,
        top_p=config.sample.top_p,
        top_k=config.sample.top_k,
        repetition_penalty=config.sample.repetition_penalty,
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
    )
    model.to(material.base.stored_dtype).save_pretrained(folder)
    material.vocabulary.tokenizer.save_pretrained(folder)


def _vectors(material: Material, trained: np.ndarray, work: WorkFolder) -> Vectors:
    words = material.vocabulary.words
    nearest = work.read_arrays("geometry")["neighbour_ids"][:, :1].ravel().tolist()
    tokens = material.vocabulary.base_tokenizer.convert_ids_to_tokens([max(id_, 0) for id_ in nearest])
    return Vectors(
        words,
        trained[len(trained) - len(words) :],
        material.corpus.new_counts_train.numpy(),
        tuple(str(token) if id_ >= 0 else "" for id_, token in zip(nearest, tokens, strict=True)),
    )


def _write_origin(result: RunResult, material: Material, folder: Path) -> None:
    corpus = result.config.corpus
    write_origin(
        folder,
        Origin(
            digest=result.digest,
            base_size=material.vocabulary.base_size,
            block_tokens=corpus.block_tokens,
            validation_share=corpus.validation_share,
        ),
    )


@torch.no_grad()
def _reloaded_loss(folder: Path, material: Material) -> float:
    """Validation loss of the exported folder, with nothing of ours: stock model, stock tokenizer, full logits."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = material.corpus.validation["input_ids"][:]
    text = material.vocabulary.tokenizer.decode(ids[0])
    if tokenizer(text)["input_ids"] != material.vocabulary.tokenizer(text)["input_ids"]:
        raise ExportError(
            f"the exported tokenizer must cut text as in training: {folder} doesn't; nothing was exported"
        )
    model.to(material.device)
    parts = (part.to(material.device) for part in ids.split(8))
    losses = [model(input_ids=part, labels=part).loss.item() * len(part) for part in parts]
    return sum(losses) / len(ids)


def _same_files(folder: Path, other: Path) -> bool:
    """Whether both hold the same files with the same bytes, at every depth."""
    trees = [{path.relative_to(root): path.is_dir() for path in root.rglob("*")} for root in (folder, other)]
    files = [str(path) for path, is_folder in trees[0].items() if not is_folder]
    return trees[0] == trees[1] and not any(filecmp.cmpfiles(folder, other, files, shallow=False)[1:])
