"""What a base folder says beside its weights, as an export keeps it: in words that transformers 4 and 5 both read.

The base's own files are the ground: what they say stays, as far as new rows don't change it. That is more than a loaded
model knows, which is the present transformers' view of it. What one of the two names in another way is said twice: 4
takes a rotary base that it doesn't find to be 10,000, without a word, and knows no class of 5's for the tokenizer.
"""

import json
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from wake2vec.config import SampleConfig
from wake2vec.data.forms import ExtendedVocabulary

Settings = dict[str, Any]

OWN = ("architectures", "dtype", "tie_word_embeddings", "vocab_size")
"""What the export says of its model; the rest is the base's."""
NAMED_TOKENS = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
NOT_KEPT = (
    # In tokenizer.json, with the new words.
    "added_tokens_decoder",
    # In the words of 5; in those of 4 it stands as additional_special_tokens.
    "extra_special_tokens",
    # How and from where the base's tokenizer was made: the export has its own file.
    *("auto_map", "backend", "fix_mistral_regex", "from_slow", "is_local", "local_files_only", "name_or_path"),
    *("merges_file", "special_tokens_map_file", "tokenizer_file", "vocab_file"),
)


def save_model(
    model: PreTrainedModel, vocabulary: ExtendedVocabulary, base: Path, sampling: SampleConfig, folder: Path
) -> None:
    """Write weights, config, generation settings and tokenizer into `folder`, with all else that `base` says.

    Generation ends where the base's ends, and draws as `sampling` says.
    """
    ends = model.config.to_dict()
    model.generation_config = GenerationConfig()  # written below: what a base says isn't always valid in 5's eyes
    model.save_pretrained(folder)
    _write(folder / "config.json", model_config(_read(base / "config.json"), _read(folder / "config.json")))
    _write(folder / "generation_config.json", generation_config(_read(base / "generation_config.json"), ends, sampling))
    vocabulary.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    said = _read(base / "tokenizer_config.json")
    _write(folder / "tokenizer_config.json", tokenizer_config(said, vocabulary.base_tokenizer))
    template = vocabulary.base_tokenizer.chat_template
    if isinstance(template, str):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8", newline="")


def model_config(said: Settings, saved: Settings) -> Settings:
    """A config.json of the base's, `said`, and the present transformers', `saved`."""
    said = {} if "text_config" in saved else {key: value for key, value in said.items() if key != "quantization_config"}
    config = {**saved, **said, **{key: saved[key] for key in OWN if key in saved}}
    return {**_older_names(config), **config, "torch_dtype": config["dtype"]}


def _older_names(config: Settings) -> Settings:
    """transformers 4's names for what `rope_parameters` says."""
    rope = config.get("rope_parameters") or {}
    older: Settings = {}
    if "full_attention" in rope:
        older["rope_local_base_freq"] = rope.get("sliding_attention", rope["full_attention"])["rope_theta"]
        rope = rope["full_attention"]
    if not rope:
        return {}
    is_neox = config["model_type"] == "gpt_neox"
    older["rotary_emb_base" if is_neox else "rope_theta"] = rope["rope_theta"]
    if "partial_rotary_factor" in rope:
        older["rotary_pct" if is_neox else "partial_rotary_factor"] = rope["partial_rotary_factor"]
    if (kind := rope.get("rope_type", "default")) != "default":
        scaling = {key: value for key, value in rope.items() if key not in ("rope_theta", "partial_rotary_factor")}
        if kind == "longrope" and config["model_type"] == "phi3":  # 4 asks for these three and no other
            scaling = {"type": kind, **{key: rope[key] for key in ("short_factor", "long_factor")}}
        older["rope_scaling"] = scaling
    return older


def generation_config(said: Settings, config: Settings, sampling: SampleConfig) -> Settings:
    """The base's own generation settings, its end tokens and padding at least, with the study's way to draw."""
    ids = [f"{name}_id" for name in ("bos_token", "eos_token", "pad_token")]
    return {
        **{key: config[key] for key in ids if config.get(key) is not None},
        **{key: value for key, value in said.items() if key != "_from_model_config"},
        "do_sample": True,
        **sampling.model_dump(include={"temperature", "top_p", "top_k", "repetition_penalty"}),
    }


def tokenizer_config(said: Settings, base: PreTrainedTokenizerFast) -> Settings:
    """The base's own settings, for a class whose file is its whole truth in 4 as in 5.

    Decoding never tidies up spaces, whatever the base says: it would take some that the text has.
    """
    before = json.loads(base.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    others = [str(token) for token in base.extra_special_tokens]
    # Tokens with names of their own, as those of images.
    named = (
        {}
        if not isinstance(said.get("extra_special_tokens"), dict)
        else {"extra_special_tokens": said["extra_special_tokens"]}
    )
    template = base.chat_template
    if isinstance(template, dict):
        template = [{"name": name, "template": text} for name, text in template.items()]
    return {
        **{key: value for key, value in said.items() if key not in NOT_KEPT},
        **{name: getattr(base, name) for name in NAMED_TOKENS},
        **named,
        **({"additional_special_tokens": others} if others else {}),
        **({"add_prefix_space": before["add_prefix_space"]} if "add_prefix_space" in before else {}),
        **({"chat_template": template} if template else {}),
        "clean_up_tokenization_spaces": False,
        "model_input_names": base.model_input_names,
        "model_max_length": base.model_max_length,
        "padding_side": base.padding_side,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "truncation_side": base.truncation_side,
    }


def _read(path: Path) -> Settings:
    """What the file says; nothing where it isn't."""
    content: Settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content


def _write(path: Path, content: Settings) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
