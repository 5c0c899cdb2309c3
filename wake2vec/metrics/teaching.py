"""Teaching: how much a new row tells the model of its word, against the word's base tokens, which the model knows.

After Token Distillation (Dobler, Elliott, de Melo 2025, arXiv 2505.20133), whose training loss is such a distance.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.data.places import Passages
from wake2vec.metrics.registry import Metric, Shown, When, with_null
from wake2vec.workfolder import Numbers

METRICS = (
    *with_null(
        Metric(
            "teaching.hidden_gap",
            "distance of hidden states behind a new token from those behind the word's base tokens, mean square",
            better="lower",
            when=When.END,
            shown=Shown("hidden gap", "hidden gap", first=24),
        ),
        meaning="the same with the mean base row for every word",
    ),
    *with_null(
        Metric(
            "teaching.hidden_gap_unseen",
            "the same of new words never seen in training, put into the same places",
            better="lower",
            when=When.END,
            shown=Shown("hidden gap, never seen", "hidden gap, never seen", first=25),
        ),
        meaning="the same with the mean base row for every word",
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


def hidden_gaps(model: Reader, base_size: int, passages: Passages, at_once: int) -> tuple[float, float]:
    """Mean over positions and dimensions of the squared difference of hidden states, those that the head is given.

    Between `model` reading the new tokens, whose ids run from `base_size`, and the same model reading the same letters
    in base tokens: 0 is a row that says what its word's base tokens say there. Then the null: the same with the mean
    base row for every new token. Positions are the word's end and the next three tokens behind which both cuts have the
    same letters. They go with the scale of a model's hidden states: compare a gap with its null, not between models.
    """
    pieces = states_behind(model, passages.base_ids, passages.positions[:, [0, 2]], at_once)
    own, untold = (
        states_behind(model, passages.extended_ids, passages.positions[:, :2], at_once, untold_from)
        for untold_from in (None, base_size)
    )
    return float((own - pieces).square().mean()), float((untold - pieces).square().mean())


def undefined_gaps(passages: Mapping[str, Passages | None]) -> Numbers:
    """Figures that no trial has: there are no such passages."""
    lacking = [GAPS[name] for name, found in passages.items() if found is None]
    return {address: None for gap in lacking for address in (gap, f"{gap}_null")}
