"""Export: a trained trial as a Hugging Face folder that plain transformers loads."""

import filecmp
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from wake2vec.config import RunConfig
from wake2vec.errors import ExportError
from wake2vec.material import Material, prepare
from wake2vec.model import merged_model
from wake2vec.origin import Origin, write_origin
from wake2vec.precision import DTYPES, LOSS_TOLERANCE
from wake2vec.result import RunResult
from wake2vec.workfolder import WorkFolder

STORAGE_TOLERANCE = 1e-3
"""Nats a token by which storing the rows in the base model's type may move the validation loss."""


def export_folder(result: RunResult, work: WorkFolder, target: Path, card: str) -> float:
    """Write merged model, tokenizer, generation settings and `card` (README.md); give the reloaded loss.

    The folder is written beside `target`, loaded again with plain transformers, and renamed only when its
    validation loss is the logged one. A second export of the same trial leaves the first as it is.

    Raises:
        ExportError: `target` holds something else, or the reloaded model isn't the trained one.
    """
    material = prepare(result.config)
    beside = target.with_name(f".{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        _write(result.config, material, work, beside)
        (beside / "README.md").write_text(card, encoding="utf-8")
        corpus = result.config.corpus
        base_size = material.vocabulary.base_size
        write_origin(
            beside,
            Origin(
                digest=result.digest,
                base_size=base_size,
                block_tokens=corpus.block_tokens,
                validation_share=corpus.validation_share,
            ),
        )
        loss = _reloaded_loss(beside, material)
        logged = result.numbers["validation.loss"]
        if logged is None or abs(loss - logged) > tolerance(logged, result.computed.precision):
            raise ExportError(
                f"the export must have the logged validation loss: reloaded {loss:.5f}, logged {logged}; "
                "nothing was exported"
            )
        if target.exists():
            if not _same_files(beside, target):
                raise ExportError(f"{target} holds another export: remove it, or give another OUT=<folder>")
        else:
            beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return loss


def tolerance(logged: float, precision: str) -> float:
    """Nats a token by which the reloaded loss, in float32, may differ from one logged in this precision."""
    return max(STORAGE_TOLERANCE, LOSS_TOLERANCE[DTYPES[precision]] * logged)


def _write(config: RunConfig, material: Material, work: WorkFolder, folder: Path) -> None:
    rows = torch.from_numpy(work.read_arrays("rows")["rows"])
    matrix = rows if config.train.rows == "all" else torch.cat([material.base_rows.cpu(), rows])
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
    names = sorted(path.name for path in folder.iterdir())
    if names != sorted(path.name for path in other.iterdir()):
        return False
    return not any(filecmp.cmpfiles(folder, other, names, shallow=False)[1:])
