"""What commands print: rich on a terminal, plain lines elsewhere.

Nothing is wrapped, boxed or coloured where the output is piped, so that a line
of a table is a line for grep. rich is imported late, it costs a tenth of a
second.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from rich.console import RenderableType

# Wider than any line, so that rich never wraps.
_WIDTH = 1_000_000


def show(*parts: RenderableType) -> None:
  """Prints something that rich can show.

  Args:
    parts: strings, texts, tables, panels and groups of them.
  """
  if sys.stdout.isatty():
    from rich import console

    # What is shown may hold brackets: titles, tokens. They are no markup.
    out = console.Console(markup=False, highlight=False)
    for part in parts:
      out.print(part)
  else:
    print(text(*parts))


def text(*parts: RenderableType) -> str:
  """The same as plain lines."""
  return "\n".join(line for part in parts for line in _lines(part))


def _lines(part: RenderableType) -> Iterator[str]:
  from rich import console, panel, table

  if isinstance(part, console.Group):
    for member in part.renderables:
      yield from _lines(member)
  elif isinstance(part, panel.Panel):
    if part.title:
      yield str(part.title)
    yield from _lines(part.renderable)
    yield ""
  elif isinstance(part, table.Table):
    if part.title:
      yield str(part.title)
    bare = copy.copy(part)
    bare.title, bare.box, bare.pad_edge = None, None, False
    out = console.Console(width=_WIDTH, color_system=None, markup=False)
    with out.capture() as captured:
      out.print(bare)
    yield from (line.rstrip() for line in captured.get().splitlines())
  else:
    yield from str(part).splitlines() or [""]
