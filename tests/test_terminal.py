"""What is piped is plain; what a terminal shows is not."""

import io

import pytest
from rich import box, panel, table, text
from rich.console import Group

from t5cr import terminal


@pytest.fixture
def shown() -> Group:
  rows = table.Table(title="lengths", box=box.SIMPLE_HEAD)
  rows.add_column("name", style="bold")
  rows.add_column("count", justify="right")
  rows.add_row("inputs", "12")
  rows.add_row(text.Text("long " * 60 + "[user]", "red"), "3")
  return Group(panel.Panel(rows, title="a task"), "last [assistant]")


def test_piped_output_has_no_boxes_colours_or_wrapping(shown, capsys):
  terminal.show(shown, "end")
  long = "long " * 60 + "[user]"
  assert capsys.readouterr().out.splitlines() == [
    "a task",
    "lengths",
    "name".ljust(len(long)) + "  count",
    "inputs".ljust(len(long)) + "     12",
    long + "      3",
    "",
    "last [assistant]",
    "end",
  ]


def test_a_terminal_gets_what_rich_draws(shown, monkeypatch):
  class Terminal(io.StringIO):
    def isatty(self):
      return True

  out = Terminal()
  monkeypatch.setattr("sys.stdout", out)
  monkeypatch.setenv("COLUMNS", "40")
  monkeypatch.setenv("TERM", "xterm-256color")
  monkeypatch.delenv("NO_COLOR", raising=False)
  terminal.show(shown)
  lines = out.getvalue().splitlines()
  assert "╭" in lines[0] and "a task" in lines[0]
  assert "31m" in out.getvalue()
  assert lines[-1] == "last [assistant]"
  assert len(lines) > 10
