"""One kind of table: it fits a terminal of 80 columns whatever it holds, and is the same in Markdown."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from study.show.table import HARD_SPACE, Column, Table, facts, in_markdown, in_terminal

TABLE = Table(
    "Trials",
    Column("trial", ["*0", " 1"]),
    [
        [
            Column("state", ["baseline", ""], "left", only="terminal"),
            Column("loss", ["4", "3"], name="validation loss"),
        ],
        [Column("", ["baseline, on the front", "a|b <i>&"], "left", only="page")],
    ],
)


def drawn(table: Table, **settings: object) -> str:
    console = Console(width=200, color_system=None, **settings)  # type: ignore[arg-type]
    with console.capture() as captured:
        for part in in_terminal(table):
            console.print(part, highlight=False, markup=False)
    return captured.get()


words = st.text("abcdefgh_.|±0123456789字", min_size=1, max_size=24)
heads = st.lists(words, min_size=0, max_size=4).map(" ".join)
cells = st.lists(words, min_size=3, max_size=3)


@given(st.lists(st.tuples(heads, cells), min_size=1, max_size=14))
def test_columns_fit_whatever_they_hold_and_nothing_is_lost(columns: list[tuple[str, list[str]]]) -> None:
    lead = Column("trial", ["1", "2", "3"])
    shown = drawn(Table("title", lead, [[Column(head, cells)] for head, cells in columns]))
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    rest = shown.split()
    for cell in (cell for _, cells in columns for cell in cells):
        assert cell in rest


@given(cells, cells, st.integers(1, 30))
def test_texts_that_do_not_fit_are_folded_and_nothing_is_lost(names: list[str], texts: list[str], times: int) -> None:
    shown = drawn(facts("title", [(name, text * times) for name, text in zip(names, texts, strict=True)]))
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    letters = "".join("".join(shown.split()).removeprefix("title"))
    for text in (*names, *(text * times for text in texts)):
        assert not set(text) - set(letters)
    assert len(letters) == sum(len(name) + times * len(text) for name, text in zip(names, texts, strict=True))


def test_a_long_fact_goes_on_below_its_own_beginning() -> None:
    lines = drawn(facts("", [("choice", "word " * 30), ("cost", "1 s")])).splitlines()
    assert [line.index(word) for line, word in zip(lines, ("word", "word", "word", "1 s"), strict=False)] == [
        8,
        8,
        8,
        8,
    ]


def test_an_interval_stands_beside_its_mean_where_there_is_room_and_below_it_otherwise() -> None:
    column = Column("loss", ["4.312 ±0.021", "4.2"])
    few, many = (Table("", Column("trial", ["1", "2"]), [[column] * count]) for count in (2, 8))
    assert "4.312 ±0.021" in drawn(few)
    assert "4.312 ±0.021" not in drawn(many)
    assert drawn(many).count("±0.021") == 8
    assert len(in_terminal(many)) == 1  # control: beside each other they need two
    apart = dataclasses.replace(column, cells=["4.312  ±0.021", "4.2"], head=f"loss{HARD_SPACE}of{HARD_SPACE}all")
    assert len(in_terminal(Table("", Column("trial", ["1", "2"]), [[apart] * 8]))) == 2


def test_columns_of_a_group_stay_together_and_each_table_begins_with_the_lead() -> None:
    groups = [[Column("a", ["x" * 20])] * 2, [Column("b", ["y" * 20])] * 2]
    first, second = in_terminal(Table("title", Column("trial", ["7"]), groups))
    assert [column.header for column in first.columns] == ["trial", "a", "a"]
    assert [column.header for column in second.columns] == ["trial", "b", "b"]
    assert (first.title, second.title) == ("title", None)


def test_a_column_may_be_shown_in_one_place_only() -> None:
    shown = drawn(TABLE)
    assert "state" in shown and "on the front" not in shown
    assert TABLE.header == ["trial", "validation loss", ""]
    assert TABLE.rows == [("*0", "4", "baseline, on the front"), (" 1", "3", "a|b <i>&")]
    assert "validation" not in shown  # a terminal has room for the head alone


def test_markdown_is_read_as_the_same_cells() -> None:
    text = in_markdown(TABLE)
    assert text.splitlines()[1] == "| --- | --- | --- |"
    html = MarkdownIt().enable("table").render(text)
    assert "<td>a|b &lt;i&gt;&amp;</td>" in html
    assert html.count("<tr>") == 3 and html.count("<td>") == 6
    assert "<i>" in MarkdownIt().enable("table").render(text.replace("&lt;", "<"))  # control: unescaped it is HTML
    assert in_markdown(TABLE, "&emsp;").splitlines()[:2] == [
        "| trial&emsp; | validation loss&emsp; | &emsp; |",
        "| --- | --- | --- |",
    ]


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/]", "a\nb"])
def test_a_cell_is_shown_as_it_is(text: str) -> None:
    shown = drawn(facts("", [("word", text)]))
    assert all(line in shown for line in text.split("\n"))
    if "\n" in text:
        assert "| word | a b |" in in_markdown(facts("", [("word", text)]))


def test_an_empty_table_is_no_table() -> None:
    assert not facts("title", [])
    assert in_terminal(facts("title", [])) == []
    assert facts("title", [("a", "b")])


def test_totals_stand_out_on_a_terminal_alone() -> None:
    table = dataclasses.replace(facts("", [("part", "1"), ("all", "2")]), strong={1})
    (part,) = in_terminal(table)
    assert [row.style for row in part.rows] == [None, "bold"]
    assert "all" in drawn(table)
