"""Teaching: how much a new row tells the model of its word, against the word's base tokens, which the model knows.

After Token Distillation (Dobler, Elliott, de Melo 2025, arXiv 2505.20133), whose training loss is such a distance.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.data.places import Passages
from wake2vec.metrics.registry import Metric, Shown, When
from wake2vec.workfolder import Numbers

METRICS = (
    Metric(
        "teaching.hidden_gap",
        "squared distance of hidden states behind a new token from those behind its word's base tokens, as a share of "
        "the mean base row's",
        better="lower",
        null=1.0,
        when=When.END,
        shown=Shown("hidden gap", "hidden gap", first=24),
    ),
    Metric(
        "teaching.hidden_gap_unseen",
        "the same of new words never seen in training, put into the same places",
        better="lower",
        null=1.0,
        when=When.END,
        shown=Shown("hidden gap, never seen", "hidden gap, never seen", first=25),
    ),
)
GAPS = {"held_out": "teaching.hidden_gap", "unseen": "teaching.hidden_gap_unseen"}
"""What is measured at which of a material's passages."""


@runtime_checkable  # the tests check types
class Reader(Protocol):
    """What is asked of a model that reads."""

    @property
    def device(self) -> torch.device: ...

    def hidden_states(
        self, ids: Int[Tensor, "blocks tokens"], untold_from: int | None = None
    ) -> Float[Tensor, "blocks tokens dim"]:
        """What the head is given of each token; with the mean of the rows before `untold_from` for ids from it on."""


@torch.no_grad()
def states_behind(
    model: Reader,
    ids: Int[Tensor, "passages tokens"],
    positions: Int[Tensor, "positions 2"],
    at_once: int,
    untold_from: int | None = None,
) -> Float[Tensor, "positions dim"]:
    """The hidden states at (passage, token), in float64 on the CPU; so many passages in one forward pass."""
    found = []
    for first in range(0, len(ids), at_once):
        passage, token = positions[(positions[:, 0] >= first) & (positions[:, 0] < first + at_once)].unbind(1)
        states = model.hidden_states(ids[first : first + at_once].to(model.device), untold_from)
        found.append(states[(passage - first).to(states.device), token.to(states.device)].cpu().double())
    return torch.cat(found)


def hidden_gap(model: Reader, base_size: int, passages: Passages, at_once: int) -> float | None:
    """How far the model is from reading new tokens as it reads the base tokens of the same letters, from 0.

    The squared difference of hidden states, those that the head is given, over that with the mean base row for every
    new token, whose ids run from `base_size`. So 0 is a row that says what its word's base tokens say, 1 one that says
    nothing of its word, in the same trained model; more misleads. Sums over positions and dimensions: the word's end,
    and the next three tokens behind which both cuts have the same letters. None: base rows tell nothing either.
    """
    pieces = states_behind(model, passages.base_ids, passages.positions[:, [0, 2]], at_once)
    own, untold = (
        float(
            (states_behind(model, passages.extended_ids, passages.positions[:, :2], at_once, first) - pieces)
            .square()
            .sum()
        )
        for first in (None, base_size)
    )
    return own / untold if untold else None


def undefined_gaps(passages: Mapping[str, Passages | None]) -> Numbers:
    """Figures that no trial has: there are no such passages."""
    return {GAPS[name]: None for name, found in passages.items() if found is None}
