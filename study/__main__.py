"""`python -m study` is the command `study`."""

from study.cli.main import app

app(prog_name="study")
