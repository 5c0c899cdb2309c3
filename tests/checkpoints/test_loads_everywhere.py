"""Exports of every family, read by transformers 4 and 5: the same tokens, the same loss, the same end.

Bases are tiny and random, and say things that are no default: a rotary base, several end tokens, where padding goes.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tools import OLDER
from training.families import FAMILIES, Family, learn
from transformers import AutoModelForCausalLM

from wake2vec import RunConfig, WorkFolder, export_folder, run
from wake2vec.checkpoints.settings import save_model
from wake2vec.config import SampleConfig
from wake2vec.data.forms import extend
from wake2vec.data.lexicon import read_lexicon
from wake2vec.training.model import load_tokenizer

Read = dict[str, Any]

TEMPLATE = "{% for message in messages %}<user>{{ message['content'] }}\n\n{% endfor %}"
SECOND_END, NO_END = 9, 7
WITH_ROPE = {
    "Llama 3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    | {"original_max_position_embeddings": 32},
    "Qwen 3": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    "Mistral": {"rope_type": "linear", "factor": 2.0},
}
AS_4_WROTE = ("Llama 3", "Gemma 3", "Pythia", "Granite 3")
"""Bases whose files have the names of transformers 4."""
OLDER_NAMES = {"rope_theta", "rope_local_base_freq", "rope_scaling"}
VERSIONS = ("5", pytest.param("4", marks=pytest.mark.needs("transformers4")))


class Exports:
    """A folder of each family; what it must read, and what each version reads of them."""

    def __init__(self, root: Path, text: str) -> None:
        self.root, self.text = root, text
        self.expected: dict[str, Read] = {}
        self._read: dict[str, dict[str, Read]] = {}

    def folder(self, name: str) -> Path:
        return self.root / name.replace(" ", "-")

    def read(self, version: str) -> dict[str, Read]:
        if version not in self._read:
            names = {str(self.folder(name)): name for name in self.expected}
            found = read_with(version, self.root, self.text, list(names))
            self._read[version] = {names[folder]: read for folder, read in found.items()}
        return self._read[version]


def read_with(version: str, root: Path, text: str, folders: list[str]) -> dict[str, Read]:
    (root / "text.txt").write_text(text, encoding="utf-8")
    script = Path(__file__).with_name("reading.py")
    shown = subprocess.run(
        [sys.executable, script, root / "text.txt", *folders],
        env={**os.environ, "PYTHONPATH": str(OLDER) if version == "4" else "", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Read] = json.loads(shown.stdout)
    assert {read["version"].split(".")[0] for read in found.values()} == {version}
    return found


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory, inputs: Path, text: str) -> Exports:
    root = tmp_path_factory.mktemp("exports")
    exports = Exports(root, text[:600] + "vpon the hore, haue (haue)")
    learned = learn(text)
    for place, family in enumerate(FAMILIES):
        base = root / "bases" / family.name
        family.build(base, learned)
        says_more(base, family)
        form = ("phase1", "word", "space")[place % 3]
        exports.expected[family.name] = export(base, inputs / "lexicon.txt", form, exports, exports.folder(family.name))
    return exports


def says_more(base: Path, family: Family) -> None:
    """What users' models say, and these would not."""
    config, tokenizer = read_json(base / "config.json"), read_json(base / "tokenizer_config.json")
    rope = config.get("rope_parameters", {})
    for parameters in [rope[key] for key in ("full_attention", "sliding_attention") if key in rope] or [rope]:
        if parameters:
            parameters["rope_theta"] *= 50
            parameters |= WITH_ROPE.get(family.name, {})
        if "partial_rotary_factor" in parameters:
            parameters["partial_rotary_factor"] = 0.5
    ends = [config["eos_token_id"], SECOND_END]
    config["eos_token_id"] = ends
    if family.name in AS_4_WROTE:
        to_names_of_4(config)
    write_json(base / "config.json", config)
    write_json(base / "generation_config.json", {"eos_token_id": ends, "pad_token_id": 3, "no_repeat_ngram_size": 40})
    tokenizer |= {"padding_side": "left", "model_max_length": 512, "pad_token": tokenizer["eos_token"]}
    write_json(base / "tokenizer_config.json", tokenizer)
    (base / "chat_template.jinja").write_text(TEMPLATE)


def to_names_of_4(config: Read) -> None:
    rope = config.pop("rope_parameters")
    config["torch_dtype"] = config.pop("dtype")
    if config["model_type"] == "gpt_neox":
        config |= {"rotary_emb_base": rope["rope_theta"], "rotary_pct": rope["partial_rotary_factor"]}
    elif config["model_type"] == "gemma3_text":
        config["rope_theta"] = rope["full_attention"]["rope_theta"]
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    else:
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope if rope["rope_type"] != "default" else None


@torch.no_grad()
def export(base: Path, lexicon: Path, form: str, exports: Exports, folder: Path) -> Read:
    """Write the base with new rows into `folder`; what it must read."""
    vocabulary = extend(load_tokenizer(base), read_lexicon(str(lexicon)), form)
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    torch.manual_seed(1)
    model.resize_token_embeddings(vocabulary.size, mean_resizing=False)
    for matrix in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        matrix[vocabulary.base_size :] = 0.1 * torch.randn(len(vocabulary.words), matrix.shape[1])
    ids = vocabulary.tokenizer(exports.text)["input_ids"]
    assert max(ids) >= vocabulary.base_size
    block = torch.tensor([ids[:64]])
    folder.mkdir()
    save_model(model, vocabulary, base, SampleConfig(), folder)
    ends = read_json(base / "generation_config.json")["eos_token_id"]
    return {
        "ids": ids,
        "plain ids": vocabulary.tokenizer(exports.text, add_special_tokens=False)["input_ids"],
        "text": exports.text,
        "inputs": ["attention_mask", "input_ids"],
        "special": sorted(vocabulary.base_tokenizer.all_special_tokens),
        "padding": "left",
        "longest": 512,
        "chat": "<user>haue vpon\n\n",
        "loss": float(model(input_ids=block, labels=block).loss),
        "dtype": "torch.float32",
        "tied": model.config.tie_word_embeddings,
        "ends": ends,
        "pad": 3,
        "length": {**{str(end): 3 for end in ends}, str(NO_END): 8},
    }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [family.name for family in FAMILIES])
def test_an_export_reads_the_same_in_both_versions(exports: Exports, name: str, version: str) -> None:
    read, expected = exports.read(version)[name], exports.expected[name]
    assert "fault" not in read, read["fault"]
    assert read.pop("loss") == pytest.approx(expected["loss"], abs=1e-5)
    batch = read.pop("batch")
    assert len(set(map(len, batch))) == 1, "padded to one length"
    assert batch[0][0] != batch[1][0], "on the left"
    del read["version"]
    assert read == {key: value for key, value in expected.items() if key != "loss"}


@pytest.mark.needs("transformers4")
def test_what_5_saves_by_itself_is_another_model_to_4(exports: Exports, tmp_path: Path) -> None:
    """The control: the same exports without what is said twice."""
    without: dict[str, Path] = {}
    for name in ("Llama 2, TinyLlama", "Gemma 3", "OLMo 2"):
        without[name] = tmp_path / exports.folder(name).name
        shutil.copytree(exports.folder(name), without[name])
        config = read_json(without[name] / "config.json")
        write_json(without[name] / "config.json", {key: config[key] for key in config if key not in OLDER_NAMES})
    plain = tmp_path / "plain"
    shutil.copytree(exports.folder("Llama 3.2"), plain)
    load_tokenizer(exports.folder("Llama 3.2")).save_pretrained(plain)
    read = {
        version: read_with(version, tmp_path, exports.text, [*map(str, without.values()), str(plain)])
        for version in "45"
    }
    for name, folder in without.items():
        assert read["5"][str(folder)]["loss"] == pytest.approx(exports.expected[name]["loss"], abs=1e-5)
        assert abs(read["4"][str(folder)]["loss"] - exports.expected[name]["loss"]) > 1e-4
    assert "TokenizersBackend" in read["4"][str(plain)]["fault"]
    assert "fault" not in read["5"][str(plain)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_trained_export_has_the_logged_loss(
    vary: Callable[..., RunConfig], text: str, tmp_path: Path, version: str
) -> None:
    config = vary(train={"steps": 1}, vocabulary={"form": "space"})
    result = run(config, tmp_path / "trials")
    folder = tmp_path / "out"
    exported = export_folder(result, WorkFolder(tmp_path / "trials" / result.digest), folder, "card")
    read = read_with(version, tmp_path, text[-2000:], [str(folder)])[str(folder)]
    assert "fault" not in read, read["fault"]
    assert exported.loss == pytest.approx(result.numbers["validation.loss"], abs=1e-3)
    assert read["text"] == text[-2000:]
    assert read["chat"] is None


def read_json(path: Path) -> Read:
    content: Read = json.loads(path.read_text())
    return content


def write_json(path: Path, content: Read) -> None:
    path.write_text(json.dumps(content))
