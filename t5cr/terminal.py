"""What commands print: rich on a terminal, plain lines elsewhere.

Nothing is wrapped, boxed or coloured where the output is piped, so that a line
of a table is a line for grep. rich is imported late, it costs a tenth of a
second.

Titles, labels and paths may be anybody's. What a terminal would act on in them
is shown as an escape, in tables, messages and logs.
"""

from __future__ import annotations

import copy
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

# Wider than any line, so that rich never wraps.
_WIDTH = 1_000_000

# Characters of a name.
_NAME = 80

# C0 and C1 (ESC, CSI, OSC, a lone CR) but for tabs and new lines; separators of
# lines; marks that turn the direction of text, or that nobody sees; halves of
# characters, which cannot be printed.
_ACTIVE = re.compile(
  "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e"
  "\u2060-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean(text: str) -> str:
  """A text that a terminal only shows: what it would act on is escaped.

  >>> clean("Heat\\x1b[2J")
  'Heat\\\\x1b[2J'
  """
  return _ACTIVE.sub(
    lambda found: found[0].encode("unicode_escape").decode("ascii"), text
  )


def name(text: object) -> str:
  """A name that somebody gave a row, a tag or a run, as one short line."""
  line = clean(" ".join(str(text).split()))
  return line if len(line) <= _NAME else line[: _NAME - 1] + "…"


def say(message: str, *, error: bool = False) -> None:
  """Prints a line as plain text, on standard error if wanted."""
  print(clean(message), file=sys.stderr if error else sys.stdout)


class _CleanRecord(logging.LogRecord):
  """What is logged, with the texts of others that it quotes."""

  def getMessage(self) -> str:  # noqa: N802 (logging's name)
    """The message, clean."""
    return clean(super().getMessage())


def guard() -> None:
  """Keeps log messages and tracebacks from acting on the terminal."""
  logging.setLogRecordFactory(_CleanRecord)
  sys.excepthook = _show_traceback


def _show_traceback(kind, error, trace) -> None:
  print(
    clean("".join(traceback.format_exception(kind, error, trace))),
    end="",
    file=sys.stderr,
  )


class _Clean:
  """Something for rich, with clean text."""

  def __init__(self, part: RenderableType):
    self._part = part

  def __rich_console__(
    self, console: Console, options: ConsoleOptions
  ) -> RenderResult:
    from rich import segment

    for piece in console.render(self._part, options):
      if piece.control is None:
        yield segment.Segment(clean(piece.text), piece.style)
      else:
        yield piece


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
      out.print(_Clean(part))
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
      yield clean(str(part.title))
    yield from _lines(part.renderable)
    yield ""
  elif isinstance(part, table.Table):
    if part.title:
      yield clean(str(part.title))
    bare = copy.copy(part)
    bare.title, bare.box, bare.pad_edge = None, None, False
    out = console.Console(width=_WIDTH, color_system=None, markup=False)
    with out.capture() as captured:
      out.print(bare)
    yield from (line.rstrip() for line in clean(captured.get()).splitlines())
  else:
    yield from clean(str(part)).splitlines() or [""]
