"""One progress callable for every long stage, shown where it can be seen.

Library code takes an optional `progress(stage, done, total, unit)` and calls
it often. A `Reporter` is such a callable. It shows

- a bar with rate and time left, on a terminal;
- a plain line at most every ten seconds per stage, elsewhere;
- one JSON object a line on standard output, with T5CR_PROGRESS=jsonl: so a
  parent process shows the progress of its children.
"""

import collections
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from t5cr import nested, terminal

Progress = Callable[[str, int, int | None, str], None]

ENVIRONMENT_VARIABLE = "T5CR_PROGRESS"
_PLAIN_SECONDS = 10.0
_JSONL_SECONDS = 0.5
_RATE_SECONDS = 60.0
_SAMPLE_SECONDS = 1.0


def duration(seconds: float) -> str:
  """Seconds as a person reads them: `42 s`, `3 min 05 s`, `2 h 10 min`."""
  seconds = max(0, round(seconds))
  if seconds < 60:
    return f"{seconds} s"
  if seconds < 3600:
    return f"{seconds // 60} min {seconds % 60:02d} s"
  return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def _number(value: float) -> str:
  return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


@dataclasses.dataclass
class _Stage:
  """What is known of one stage that is under way.

  The rate is that of the last minute: the first step of a training compiles
  for a long time, which says nothing about the others.
  """

  started: float
  shown: float = float("-inf")
  done: int = 0
  total: int | None = None
  finished: bool = False
  recent: collections.deque[tuple[float, int]] = dataclasses.field(
    default_factory=collections.deque
  )

  def take(self, now: float, done: int, total: int | None) -> None:
    """Takes a report of progress."""
    self.done, self.total = done, total
    self.finished = total is not None and done >= total
    if not self.recent or now - self.recent[-1][0] >= _SAMPLE_SECONDS:
      self.recent.append((now, done))
    while len(self.recent) > 2 and self.recent[1][0] < now - _RATE_SECONDS:
      self.recent.popleft()

  def rate(self, now: float) -> float:
    """Units a second, of late, in this process."""
    then, done = self.recent[0]
    return (self.done - done) / max(now - then, 1e-9)

  def text(self, now: float, unit: str) -> str:
    """`1,200/4,000 steps, 33 steps/s, 1 min 25 s left`."""
    of_total = "" if self.total is None else f"/{self.total:,}"
    parts = [f"{self.done:,}{of_total} {unit}"]
    if unit == "%":
      parts = [f"{self.done} %"]
    rate = self.rate(now)
    if self.finished:
      parts.append(duration(now - self.started))
    elif rate > 0:
      if unit != "%":
        parts.append(f"{_number(rate)} {unit}/s")
      if self.total is not None:
        parts.append(f"{duration((self.total - self.done) / rate)} left")
    return ", ".join(parts)


class Reporter:
  """Shows the progress of stages; call it as `progress` is called.

  Use it as a context manager, so that a terminal is left tidy. A stage is
  known by its name; it ends when `done` reaches `total`. It is not meant to
  be called from several threads at once.
  """

  def __init__(
    self,
    mode: str | None = None,
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Chooses how to show progress.

    Args:
      mode: 'bar', 'plain', 'jsonl' or 'quiet'; by default T5CR_PROGRESS, or
        else a bar on a terminal and plain lines elsewhere.
      stream: where to write; standard error, or standard output for 'jsonl'.
      clock: seconds, for tests.
    """
    mode = mode or os.environ.get(ENVIRONMENT_VARIABLE)
    if mode not in ("bar", "plain", "jsonl", "quiet"):
      mode = "bar" if (stream or sys.stderr).isatty() else "plain"
    self.mode = mode
    self._stream = stream or (sys.stdout if mode == "jsonl" else sys.stderr)
    self._clock = clock
    self._stages: dict[str, _Stage] = {}
    self._bars: dict[str, Any] = {}
    self._display: Any = None

  def __enter__(self) -> "Reporter":
    """Starts; nothing is shown before the first call."""
    return self

  def __exit__(self, *exception) -> None:
    """Ends the display and leaves what it showed."""
    if self._display is not None:
      self._display.stop()
      self._display = None

  def __call__(
    self, stage: str, done: int, total: int | None, unit: str
  ) -> None:
    """Tells that `done` of `total` units of a stage are done.

    Args:
      stage: its name; a line or bar of its own.
      done: units done so far; a stage that resumes may start above 0.
      total: all of its units, or None if that is not known.
      unit: what is counted, in the plural: 'steps', 'examples'.
    """
    stage = terminal.clean(stage)
    now = self._clock()
    known = self._stages.get(stage)
    if known is None or done < known.done:
      known = _Stage(started=now)
      # A plain log has no line for what has only begun.
      known.shown = now if self.mode == "plain" else float("-inf")
      self._stages[stage] = known
    elif known.finished:
      return
    known.take(now, done, total)
    if self.mode == "bar":
      self._show_bar(stage, known, now, unit)
    elif self.mode == "jsonl":
      self._show_jsonl(stage, known, now, unit)
    elif self.mode == "plain" and self._due(known, now, _PLAIN_SECONDS):
      self._write(f"{stage}: {known.text(now, unit)}")

  def say(self, message: str) -> None:
    """Prints a line of its own, above any bars."""
    message = terminal.clean(message)
    if self.mode == "bar" and self._display is not None:
      self._display.console.print(message, markup=False, highlight=False)
    elif self.mode != "quiet":
      stream = sys.stderr if self.mode == "jsonl" else self._stream
      print(message, file=stream, flush=True)

  def drop(self, stage: str) -> None:
    """Takes away the bar of a stage that will not go on."""
    stage = terminal.clean(stage)
    self._stages.pop(stage, None)
    if stage in self._bars:
      self._display.remove_task(self._bars.pop(stage))

  def _due(self, known: _Stage, now: float, period: float) -> bool:
    due = known.finished or now - known.shown >= period
    if due:
      known.shown = now
    return due

  def _write(self, line: str) -> None:
    # A parent that is gone closes the pipe: the BrokenPipeError that this
    # raises ends a child whose progress nobody reads any more.
    self._stream.write(line + "\n")
    self._stream.flush()

  def _show_jsonl(self, stage: str, known: _Stage, now: float, unit: str):
    if self._due(known, now, _JSONL_SECONDS):
      record = {"stage": stage, "done": known.done, "total": known.total}
      self._write(json.dumps(record | {"unit": unit}))

  def _show_bar(self, stage: str, known: _Stage, now: float, unit: str):
    if self._display is None:
      self._display = _start_display(self._stream)
    if stage not in self._bars:
      self._bars[stage] = self._display.add_task(stage, numbers="")
    self._display.update(
      self._bars[stage],
      completed=known.done,
      total=known.total,
      numbers=known.text(now, unit),
    )
    if known.finished:
      self._display.remove_task(self._bars.pop(stage))
      self.say(f"✓ {stage}: {known.text(now, unit)}")


def _start_display(stream: TextIO) -> Any:
  """A rich display of bars; imported late, it costs a tenth of a second."""
  from rich import console, progress

  display = progress.Progress(
    progress.TextColumn("{task.description}", markup=False),
    progress.BarColumn(bar_width=24),
    progress.TaskProgressColumn(),
    progress.TextColumn("{task.fields[numbers]}", markup=False),
    console=console.Console(file=stream),
    transient=True,  # a finished stage has left a line of its own
  )
  display.start()
  return display


def parse_line(line: str) -> tuple[str, int, int | None, str] | None:
  """Reads a line that a Reporter wrote in 'jsonl' mode.

  Args:
    line: one line of a child's standard output.

  Returns:
    (stage, done, total, unit), or None for a line that is something else.
  """
  if not line.startswith("{"):
    return None
  try:
    record = nested.loads(line)
    return (
      str(record["stage"]),
      _count(record["done"]),
      None if record["total"] is None else _count(record["total"]),
      str(record["unit"]),
    )
  except (ArithmeticError, ValueError, LookupError, TypeError):
    return None


def _count(value: Any) -> int:
  """A number of units; what no count comes to could not be shown."""
  count = int(value)
  if not 0 <= count < 2**53:
    raise ValueError(f"{value} is no count")
  return count
