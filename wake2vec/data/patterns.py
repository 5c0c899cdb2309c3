"""Patterns that find many words at once."""

from collections.abc import Iterable
from enum import Enum, auto
from typing import Any

import regex


class Match(Enum):
    """Where a word is found in a text."""

    AFTER_SPACE = auto()
    """After a space, with it, and with no letter or digit behind."""
    WHOLE = auto()
    """With no letter or digit before or behind."""
    ANYWHERE = auto()


BEHIND = r"(?![\p{L}\p{M}\p{N}_])"
"""No letter or digit follows."""
BEFORE = r"(?<![\p{L}\p{M}\p{N}_])"
"""No letter or digit stands before."""


def any_of(words: Iterable[str]) -> str:
    """The words as one pattern in which common beginnings stand once: fast with 45,000 words."""
    trie: dict[str, Any] = {}
    for word in words:
        node = trie
        for letter in word:
            node = node.setdefault(letter, {})
        node[""] = {}
    return f"(?:{_node_pattern(trie)})"


def _node_pattern(node: dict[str, Any]) -> str:
    branches = [regex.escape(letter) + _node_pattern(child) for letter, child in node.items() if letter]
    if not branches:
        return ""
    joined = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
    return f"(?:{joined})?" if "" in node else joined


def found(words: Iterable[str], space: str, match: Match) -> str:
    """Finds each word as the match says; `space` is how a space is written."""
    match match:
        case Match.AFTER_SPACE:
            return f"{regex.escape(space)}{any_of(words)}{BEHIND}"
        case Match.WHOLE:
            return f"{BEFORE}{any_of(words)}{BEHIND}"
        case Match.ANYWHERE:
            return any_of(words)


def found_in_chunks(words: Iterable[str]) -> str:
    """Finds each word after a space, between the borders of a byte-level tokenizer's chunks, whatever splits them.

    A chunk of letters ends where they end. One of signs takes the signs and line ends behind it along, so a word that
    ends in a sign is found before a space alone; and a space that belongs to no letters is a part of the run of spaces
    before it, so a word that begins with a sign or a digit is found after a single space.
    """
    kinds: dict[tuple[str, str], list[str]] = {}
    for word in words:
        before = "" if word[:1].isalpha() else r"(?<!\s)"
        behind = BEHIND if regex.fullmatch(r"[\p{L}\p{M}\p{N}_]", word[-1:]) else r"(?![^ ])"
        kinds.setdefault((before, behind), []).append(word)
    return "|".join(f"{before} {any_of(chosen)}{behind}" for (before, behind), chosen in kinds.items())
