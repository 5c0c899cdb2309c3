"""The report in Markdown: the same facts as the page, without its pictures."""

from study.report.content import Content
from study.report.issues import Reading
from study.report.tables import Table
from study.table import markdown_table


def markdown(content: Content) -> str:
    """The whole report; ends with a line feed."""
    c, told, tables = content, content.answer, content.tables
    parts: list[str] = [f"# Study {told['name']}: {told['title']}", told["question"]]
    parts += [
        "## The answer",
        f"{told['reason']}",
        _table(tables["comparison"]),
        told["certainty"],
        *filter(None, [told["caution"]]),
        _table(tables["recipe"]),
    ]
    parts.append(f"To take it away: {_code(told['export'])}.")
    parts += ["## The known issues, before and after", _table(_issues(c))]
    parts += ["## The front against the baseline", told["front"], _table(tables["front"])]
    parts += _optional("### References outside the space", tables["references"])
    parts += _optional("### Bounds", tables["bounds"])
    parts += ["## All trials", f"{told['trials']} {told['saved']}".strip(), _table(tables["runs"])]
    parts += _optional("### Stopped early", tables["stopped"])
    parts += _optional("### Failed", tables["failed"])
    parts += ["## What matters for what", told["rough"], _table(tables["importances"])]
    parts += ["## Neighbours and samples", _table(tables["neighbours"])]
    for side, sample in zip(c.sides, c.samples, strict=True):
        parts += [f"### {side.title}", _fenced(sample)]
    parts.append("## What the new words do to the text")
    for title, sentences in c.audits:
        parts += [f"### {title}"] if title else []
        parts.append("\n".join(f"- {_plain(sentence)}" for sentence in sentences))
    parts += ["## Setting and cost", _table(tables["setting"]), _table(tables["space"]), _table(tables["cost"])]
    parts.append(f"{told['computed']}. Trained on {told['dates']}.")
    parts += ["## To repeat it", _fenced("\n".join(f"{command}    # {what}" for command, what in c.to_repeat))]
    parts += [_table(tables["hashes"]), _table(tables["versions"]), _table(tables["digests"])]
    parts += ["The whole configuration, as a profile:", _fenced(c.profile)]
    return "\n\n".join(parts) + "\n"


def _issues(content: Content) -> Table:
    """A row a known issue and a side: what the page's pictures say."""
    rows = [
        [issue.known.title, issue.known.what, side.title, *_reading(issue.readings[place]), issue.phase1 or "–"]
        for issue in content.issues
        for place, side in enumerate(content.sides)
    ]
    return Table(["issue", "number", "trial", "value", "null", "base rows", "more", "Phase 1 printed"], rows)


def _reading(reading: Reading) -> list[str]:
    return [reading.value, reading.null, reading.base_rows, reading.note]


def _optional(title: str, table: Table) -> list[str]:
    return [title, _table(table)] if table.rows else []


def _table(table: Table) -> str:
    return "\n".join(markdown_table(table.header, [[_plain(cell) for cell in row] for row in table.rows]))


def _plain(words: str) -> str:
    """Text that no renderer takes for HTML, and that stays on its line."""
    return " ".join(words.split()).replace("&", "&amp;").replace("<", "&lt;")


def _code(words: str) -> str:
    return f"`{words}`"


def _fenced(words: str) -> str:
    """A code block whose fence is longer than any in it."""
    fence = "```"
    while fence in words:
        fence += "`"
    return f"{fence}text\n{words.rstrip()}\n{fence}"
