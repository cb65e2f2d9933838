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
import threading
import traceback
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

# Wider than any line, so that rich never wraps.
_WIDTH = 1_000_000

# Characters of a name.
_NAME = 80

# Unicode's classes of C0 and C1 (ESC, CSI, OSC, a lone CR), of marks that turn
# the direction of text or that nobody sees, of halves of characters, which
# cannot be printed, and of separators of lines.
_ACTIVE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
# Tabs and new lines; what joins and parts letters in Persian, in Hindi, and in
# emoji.
_KEPT = frozenset("\t\n\u200c\u200d")
# Letters and marks that nobody sees either.
_FILLERS = re.compile(
  "[\u034f\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\uffa0"
  "\U000e0000-\U000e0fff]"
)
_UNUSUAL = re.compile("[^ -~\t\n]")


def clean(text: str) -> str:
  """A text that a terminal only shows: what it would act on is escaped.

  >>> clean("Heat\\x1b[2J")
  'Heat\\\\x1b[2J'
  """
  return _UNUSUAL.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
  """A character, or the escape that stands for it."""
  letter = found[0]
  if letter in _KEPT:
    return letter
  if unicodedata.category(letter) in _ACTIVE or _FILLERS.match(letter):
    return letter.encode("unicode_escape").decode("ascii")
  return letter


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
  threading.excepthook = _show_traceback_of_thread


def _show_traceback_of_thread(args: threading.ExceptHookArgs) -> None:
  if args.exc_type is not SystemExit:
    name = args.thread.name if args.thread else "unknown"
    say(f"Exception in thread {name}:", error=True)
    _show_traceback(args.exc_type, args.exc_value, args.exc_traceback)


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
