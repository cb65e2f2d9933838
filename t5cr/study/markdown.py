"""Pieces of Markdown that several pages are put together of."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from t5cr.study import drawing


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A Markdown table."""
  rule = ["---"] * len(header)
  lines = [header, rule, *rows]
  cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
  return "\n".join(f"| {' | '.join(line)} |" for line in cells)


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
  return f"![{found.alternative}]({found.name}.png)\n\n{caption}"


def literal(text: str) -> str:
  """Text that Markdown takes as it is, on one line."""
  return re.sub(r"([\\`*_\[\]<>#|~])", r"\\\1", " ".join(text.split()))
