"""Pieces of Markdown that several pages are put together of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from t5cr import terminal

if TYPE_CHECKING:
  from t5cr.study import drawing


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A Markdown table."""
  return "\n".join(map(row, [header, ["---"] * len(header), *rows]))


def row(cells: Sequence[str]) -> str:
  """A line of a Markdown table."""
  # A bar that is escaped already stays as it is.
  escaped = (re.sub(r"(?<!\\)\|", r"\|", cell) for cell in cells)
  return f"| {' | '.join(escaped)} |"


def interval(entry: Mapping[str, Any], digits: int) -> str:
  """`(low–high)`, or nothing where there is no interval."""
  if entry["low"] is None:
    return ""
  return f"({entry['low']:.{digits}f}–{entry['high']:.{digits}f})"


def figure(
  figures: Mapping[str, drawing.Figure], name: str, caption: str
) -> str:
  """A figure that lies beside the page, with words below, if there is one."""
  if name not in figures:
    return ""
  found = figures[name]
  shown = literal(found.alternative)
  return f"![{shown}]({found.name}.png)\n\n{caption}"


def literal(text: str) -> str:
  """Text that Markdown takes as it is, on one line."""
  line = terminal.clean(" ".join(text.split()))
  line = re.sub(r"([\\`*_\[\]<>#|~&$])", r"\\\1", line)
  # What makes a list or a heading of a line.
  line = re.sub(r"^([-+=])(?=[-+=]*(\s|$))", r"\\\1", line)
  return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)


def code(text: Any) -> str:
  """Text in the type of code, whatever it holds, on one line."""
  line = terminal.clean(" ".join(str(text).split()))
  return f"`{line.replace('`', '’') or ' '}`"
