"""Contenders do the same work in turn: results first, then times.

Each does it once before the clock starts, and what it returns is compared with
what t5cr returns; one that computes something else is not timed. Then they take
turns, so that what else the machine does falls on all of them, and the median
of the rounds is what counts.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.contenders import PEERS
from t5cr.study import stages

OURS = "t5cr"

# (a contender's result, t5cr's) -> None; raises Disagreement.
Check = Callable[[Any, Any], None]


class Disagreement(Exception):
  """A contender's result is not t5cr's; the message says where."""


@dataclasses.dataclass(frozen=True)
class Contender:
  """One that does the work.

  Attributes:
    run: does it once, waits until it is done, returns the result.
    amount: how much of the work that is, None for all of it.
    note: how it does the work, where there is a choice.
    check: of its result, where it is not the one of all others.
  """

  run: Callable[[], Any]
  amount: float | None = None
  note: str = ""
  check: Check | None = None


@dataclasses.dataclass(frozen=True)
class Timing:
  """How long contenders took over the same work.

  Attributes:
    work: what they did.
    unit: of the amounts, such as 'tokens'.
    amounts: contender -> how much of it a round is.
    seconds: contender -> seconds of each round.
    notes: contender -> how it does the work.
    failed: contender -> why it was not timed.
  """

  work: str
  unit: str
  amounts: Mapping[str, float]
  seconds: Mapping[str, Sequence[float]]
  notes: Mapping[str, str] = dataclasses.field(default_factory=dict)
  failed: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def median(self, name: str) -> float:
    """Median seconds of a contender."""
    return statistics.median(self.seconds[name])

  def rate(self, name: str) -> float:
    """Units a second, at the median."""
    return self.amounts[name] / self.median(name)

  def ratio(self, name: str) -> float | None:
    """How many times as fast t5cr is as a contender, None where unknown."""
    if OURS not in self.seconds or name == OURS:
      return None
    return self.rate(OURS) / self.rate(name)

  def to_json(self) -> dict[str, Any]:
    """The figures as JSON values; `table.py` reads them."""
    contenders: dict[str, Any] = {}
    for name, seconds in self.seconds.items():
      ratio = self.ratio(name)
      contenders[name] = {
        "seconds": [round(value, 5) for value in seconds],
        "median": round(self.median(name), 5),
        "least": round(min(seconds), 5),
        "most": round(max(seconds), 5),
        "amount": self.amounts[name],
        "rate": round(self.rate(name), 3),
        "t5cr_is_times_as_fast": None if ratio is None else round(ratio, 3),
        "note": self.notes.get(name, ""),
      }
    return {
      "work": self.work,
      "unit": self.unit,
      "contenders": contenders,
      "failed": dict(self.failed),
    }


def measure(
  work: str,
  contenders: Mapping[str, Contender],
  check: Check,
  *,
  amount: float | Callable[[Any], float],
  unit: str,
  rounds: int = 5,
  budget_s: float | None = None,
  guarded: bool = False,
) -> Timing:
  """Lets contenders do the same work in turn.

  Args:
    work: what it is, for the reader.
    contenders: by name, one of them OURS.
    check: called with the result of each other contender's first call and
      OURS's, before anything is timed; a contender's own comes before it.
    amount: how much work a call is, where a contender does not say otherwise;
      or a function that tells it from OURS's result.
    unit: of the amount.
    rounds: timed calls of each; every other round runs in reverse order.
    budget_s: no further round starts after so many seconds; None for no limit.
    guarded: a contender that raises (or runs out of memory, or computes
      something else) is named with the reason, and the others go on.

  Returns:
    The timing.

  Raises:
    Disagreement: a contender computes something else, unless `guarded`.
  """
  failed: dict[str, str] = {}
  running: dict[str, Contender] = {}
  first: dict[str, Any] = {}
  # Ours goes first: the others are compared with it.
  for name in sorted(contenders, key=lambda name: name != OURS):
    try:
      start = time.perf_counter()
      result = contenders[name].run()
      _say(f"{work}: {name}, first call {time.perf_counter() - start:.1f} s")
      if name == OURS:
        first[OURS] = result
      elif OURS in first:
        (contenders[name].check or check)(result, first[OURS])
      running[name] = contenders[name]
    except Disagreement as error:
      if not guarded:
        raise Disagreement(f"{work}: {name} {error}") from None
      failed[name] = f"refused: {error}"
    except Exception as error:
      if not guarded:
        raise
      failed[name] = reason(error)
  seconds: dict[str, list[float]] = {name: [] for name in running}
  started = time.perf_counter()
  for number in range(rounds):
    if number and budget_s and time.perf_counter() - started > budget_s:
      break
    order = list(running)
    for name in reversed(order) if number % 2 else order:
      start = time.perf_counter()
      running[name].run()
      seconds[name].append(time.perf_counter() - start)
    _say(f"{work}: round {number + 1} of {rounds}")
  if callable(amount):
    amount = amount(first[OURS]) if OURS in first else 1.0
  amounts = {
    name: amount if one.amount is None else one.amount
    for name, one in running.items()
  }
  notes = {name: one.note for name, one in running.items() if one.note}
  return Timing(work, unit, amounts, seconds, notes, failed)


def _say(line: str) -> None:
  """Shows progress where it does not mix with the table."""
  print(line, file=sys.stderr, flush=True)


def reason(error: BaseException) -> str:
  """An error in one line."""
  lines = str(error).strip().splitlines()
  return f"{type(error).__name__}: {lines[0] if lines else ''}"[:160]


def check_close(
  theirs: Any, ours: Any, what: str, *, rtol: float, atol: float = 0.0
) -> None:
  """Raises Disagreement unless |theirs - ours| <= atol + rtol |ours|.

  Args:
    theirs: numbers, of the same shape as ours.
    ours: what t5cr computed.
    what: the numbers are, for the message.
    rtol: relative tolerance.
    atol: absolute tolerance.
  """
  import numpy as np

  theirs, ours = np.asarray(theirs, float), np.asarray(ours, float)
  if theirs.shape != ours.shape:
    raise Disagreement(
      f"computes {what} of shape {theirs.shape}, not {ours.shape}"
    )
  allowed = atol + rtol * np.abs(ours)
  over = ~(np.abs(theirs - ours) <= allowed)  # true for NaN, too
  if over.any():
    worst = np.unravel_index(int(np.argmax(over)), over.shape)
    raise Disagreement(
      f"computes another {what}: {theirs[worst]:.7g}, not {ours[worst]:.7g}"
      f" ({int(over.sum())} of {over.size} differ by more than {rtol:g})"
    )


def best(candidates: Mapping[Any, Callable[[], Any]]) -> Any:
  """The setting that a contender is fastest with.

  Args:
    candidates: setting -> does a sample of the work; its second call counts.
  """
  seconds = {}
  for setting, run in candidates.items():
    run()
    start = time.perf_counter()
    run()
    seconds[setting] = time.perf_counter() - start
  return min(seconds, key=seconds.__getitem__)


def argument_parser(
  doc: str | None,
  models: Sequence[str],
  model: str = "small",
  *,
  choose_peers: bool = True,
) -> argparse.ArgumentParser:
  """A parser with the options that every benchmark has.

  Args:
    doc: the script's docstring.
    models: that can be chosen.
    model: the default.
    choose_peers: whether there is `--only`.
  """
  parser = argparse.ArgumentParser(
    description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--model", choices=models, default=model, help=f"shape ({model})"
  )
  parser.add_argument(
    "--rounds", type=_positive, default=5, help="timed, of each contender (5)"
  )
  if choose_peers:
    parser.add_argument(
      "--only",
      metavar=f"{','.join(PEERS)}|none",
      type=_peers,
      help="who takes part besides t5cr",
    )
  parser.add_argument(
    "--json", type=pathlib.Path, help="write the figures there"
  )
  return parser


def _positive(text: str) -> int:
  value = int(text)
  if value < 1:
    raise argparse.ArgumentTypeError(f"{text} is not above 0")
  return value


def _peers(text: str) -> list[str]:
  names = [] if text == "none" else [name.strip() for name in text.split(",")]
  unknown = [name for name in names if name not in PEERS]
  if unknown:
    known = f"known are {', '.join(PEERS)} and none"
    raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: {known}")
  return names


def write(
  path: pathlib.Path, timings: Sequence[Timing], where: Mapping[str, Any]
) -> None:
  """Writes the figures as JSON, whole or not at all."""
  values = {**where, "timings": [timing.to_json() for timing in timings]}
  stages.write_json(path, values)


def run(
  measured: Callable[[], Iterable[Timing]],
  options: argparse.Namespace,
  absent: Mapping[str, str],
) -> None:
  """Measures, prints the table, writes the JSON file.

  Args:
    measured: does the measuring.
    options: of the command line.
    absent: peer -> why it takes no part.
  """
  from benchmarks import machine, table

  where = {
    "benchmark": pathlib.Path(sys.argv[0]).stem,
    "model": options.model,
    "machine": machine.describe(),
    "absent": dict(absent),
  }
  try:
    timings = list(measured())
  except Disagreement as error:
    raise SystemExit(f"Nothing was timed. {error}.") from None
  where["machine"]["load_after"] = machine.load()
  print(table.text(timings, where), flush=True)
  if options.json:
    write(options.json, timings, where)
