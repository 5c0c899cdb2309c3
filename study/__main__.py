"""`python -m study` is the command `study`."""

from study.cli import app

app(prog_name="study")
