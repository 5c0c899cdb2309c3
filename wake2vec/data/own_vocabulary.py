"""Words and pieces as tokens of a BPE model's own vocabulary: the tokenizer's steps and model find them as its own.

`ignore_merges` makes a chunk that the vocabulary has one token, without merges that lead there: merges would need rows
for what lies between, and act inside other words. What else that would change is kept as it was: `_guard`.
"""

from collections.abc import Iterable, Sequence

import regex
from tokenizers import models

from wake2vec.data.backend import Spelling, State, sequence_of, steps_of
from wake2vec.data.patterns import Match, any_of, found, found_in_chunks

GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What a ByteLevel step with `use_regex` splits by: it is in the tokenizers library, not in its files."""
PUNCTUATION = r"[\p{P}$+<=>^`|~]"
"""What a Punctuation step splits at: Unicode's punctuation and ASCII's."""


def add_words(
    state: State, spelling: Spelling, pieces: Sequence[str], words: Sequence[str], first: int, match: Match
) -> None:
    """Put words into the vocabulary, with the ids from `first` on.

    `pieces` are their tokens, which have the space before a word if that is to be matched; `words` are the same as they
    are written in a normalised text, without it.
    """
    ignored_merges = state["model"].get("ignore_merges")
    own = set(state["model"]["vocab"])
    known = _numbered(state, pieces, first)
    state["model"]["ignore_merges"] = True
    steps = steps_of(state["pre_tokenizer"])
    if spelling.byte_level:
        whole = match is Match.AFTER_SPACE
        cut = [at for at, word in enumerate(words) if not whole or len(spelling.chunks(f" {word}")) != 1]
        if cut:
            steps = _found_first(steps, [words[at] for at in cut], [pieces[at] for at in cut], match)
    else:
        steps = [*steps, _split(found(words, spelling.space or " ", match))]
    _guarded(state, steps, spelling, known if ignored_merges else known | own)


def add_merges(state: State, spelling: Spelling, merges: Sequence[tuple[str, str]], first: int) -> None:
    """Put pairs of tokens behind the merges of the base, and what each makes into the vocabulary, from the id `first`
    on."""
    known = _numbered(state, ["".join(pair) for pair in merges], first)
    state["model"]["merges"] += map(list, merges)
    if state["model"].get("ignore_merges"):
        _guarded(state, steps_of(state["pre_tokenizer"]), spelling, known)


def _numbered(state: State, pieces: Sequence[str], first: int) -> set[str]:
    """Give the pieces their ids; the tokens that the vocabulary got beside them.

    The file numbers added tokens that the model's vocabulary lacks anew when it is read, behind the pieces: these get
    the ids that they have.
    """
    vocabulary = state["model"]["vocab"]
    lacking = {token["content"]: token["id"] for token in state["added_tokens"] if token["content"] not in vocabulary}
    vocabulary |= lacking | {piece: first + index for index, piece in enumerate(pieces)}
    return set(lacking)


def _guarded(state: State, steps: list[State], spelling: Spelling, known: Iterable[str]) -> None:
    """These steps, and one that cuts tokens which `ignore_merges` would find, as merges do."""
    guard = _guard(spelling.backend.model, known)
    state["pre_tokenizer"] = sequence_of([*steps, _split(guard)] if guard else steps)


def _split(pattern: str, behavior: str = "Isolated", invert: bool = False) -> State:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def _found_first(steps: list[State], words: list[str], pieces: list[str], match: Match) -> list[State]:
    """Steps that part these words from the text before they do anything else, and never cut them."""
    space = " " if match is Match.AFTER_SPACE else ""
    whole, whole_in_bytes = rf"\A{space}{any_of(words)}\z", rf"\A{any_of(pieces)}\z"
    opened = [_split(found_in_chunks(words) if space else found(words, space, match))]
    if steps[0]["type"] == "ByteLevel" and steps[0]["add_prefix_space"]:
        # The same space before each text, by a step that cuts nothing: only a text's beginning may have it.
        prefix = {"type": "Metaspace", "replacement": " ", "prepend_scheme": "always", "split": False}
        opened = [prefix, *opened]
        steps = [{**steps[0], "add_prefix_space": False}, *steps[1:]]
    in_bytes = False
    for step in steps:
        opened += _sparing(step, whole_in_bytes if in_bytes else whole)
        in_bytes = in_bytes or step["type"] == "ByteLevel"
    return opened


def _sparing(step: State, whole: str) -> list[State]:
    """A step that leaves a chunk as it is if the pattern `whole` is all of it; the same to all other chunks."""
    match step["type"]:
        case "Split" if step["behavior"] != "Removed" or step["invert"]:
            pattern = step["pattern"].get("Regex") or regex.escape(step["pattern"]["String"])
            return [_split(f"{whole}|(?:{pattern})", step["behavior"], step["invert"])]
        case "Digits":
            return [_split(rf"{whole}|\p{{N}}{'' if step['individual_digits'] else '+'}")]
        case "Punctuation":
            return [_split(f"{whole}|{PUNCTUATION}", step["behavior"])]
        case "ByteLevel" if step["use_regex"]:
            return [_split(f"{whole}|{GPT2_SPLIT}"), {**step, "use_regex": False}]
        case _:
            return [step]


def _guard(model: models.Model, known: Iterable[str]) -> str:
    """A pattern that cuts each chunk which is a token that merges don't make, such as `<0x41>`, as merges cut it.

    It parts the chunk at one border of what the merges leave of it: they never worked across that, so both sides are
    cut as before.
    """
    cuts = {piece: borders for piece in known if (borders := _borders(model, piece))}
    ends: dict[str, list[str]] = {}
    for piece, borders in cuts.items():
        at = next((at for at in borders if not {piece[:at], piece[at:]} & cuts.keys()), borders[0])
        ends.setdefault(piece[:at], []).append(piece[at:])
    parted = (rf"{regex.escape(start)}(?={any_of(rest)}\z)" for start, rest in ends.items())
    return rf"\A(?:{'|'.join(parted)})" if ends else ""


def _borders(model: models.Model, piece: str) -> list[int]:
    """Where the model's merges cut a token of its vocabulary; none where they make it."""
    ends = [token.offsets[1] for token in model.tokenize(piece)][:-1]  # in bytes
    before = ((end, piece.encode()[:end].decode(errors="ignore")) for end in ends)
    return [len(text) for end, text in before if len(text.encode()) == end]
