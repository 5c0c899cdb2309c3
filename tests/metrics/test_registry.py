"""The registry: each figure is declared once, in the file that measures it, and read without running that file."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from wake2vec import HEAD_METRICS, METRICS, ConfigError
from wake2vec.metrics import registry
from wake2vec.metrics.registry import Metric, Source, gathered, read_source


def test_what_is_read_of_a_file_is_what_running_it_gives() -> None:
    for source in registry.SOURCES:
        module = importlib.import_module(source.module)
        assert source.metrics == module.METRICS, source.module
        assert source.functions == {name for name in source.functions if callable(getattr(module, name))}
    assert len(METRICS) == len({*METRICS}) > 150


def test_a_declaration_may_use_the_registrys_names_alone(tmp_path: Path) -> None:
    path = tmp_path / "late.py"
    path.write_text('import torch\n\nMETRICS = (Metric("geometry.late", "late", null=float(torch.pi)),)\n')
    with pytest.raises(ConfigError, match=r"that of late.py uses another: name 'torch' is not defined"):
        read_source(path)
    path.write_text("import torch\n")
    assert read_source(path) is None


def test_a_figure_is_declared_once() -> None:
    twice = Source("late", (Metric("geometry.late", "late"), Metric("geometry.late", "later")), frozenset())
    with pytest.raises(ConfigError, match=r"geometry\.late is twice; give one another address"):
        gathered([twice])
    first, second = twice.metrics
    renamed = Source("late", (first, replace(second, address="geometry.later")), frozenset())
    assert [*gathered([renamed])] == ["geometry.late", "geometry.later"]


def test_a_family_has_its_members_words_and_what_belongs_to_each() -> None:
    low = METRICS["geometry.isotropy_new_low"]
    assert (low.of, low.part, low.when) == ("geometry.isotropy_new", "low", "end")
    new = METRICS["geometry.isotropy_new"]
    assert (new.null, new.family, new.member) == ("geometry.isotropy_new_null", "geometry.isotropy", "new")
    assert (new.meaning, new.family_meaning) == ("Phase 1's isotropy, new rows", "Phase 1's isotropy")
    assert METRICS["geometry.isotropy_all"].shown is None and new.shown is not None
    assert METRICS["geometry.norm_all_mean"].phase1 == "norms.global.mean"


def test_the_figures_of_a_head_are_the_inputs_under_addresses_of_their_own() -> None:
    of_head = {address: metric for address, metric in HEAD_METRICS.items() if metric.head == "own"}
    geometry = [address for address in METRICS if address.startswith("geometry.")]
    assert list(of_head) == [address.replace("geometry.", "geometry.head.") for address in geometry]
    new = of_head["geometry.head.isotropy_new"]
    assert (new.null, new.family, new.meaning) == (
        "geometry.head.isotropy_new_null",
        "geometry.head.isotropy",
        "Phase 1's isotropy, new rows, of the head",
    )
    assert of_head["geometry.head.isotropy_new_low"].of == new.address
    assert new.better == METRICS["geometry.isotropy_new"].better and not new.phase1
