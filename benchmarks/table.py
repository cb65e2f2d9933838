"""The tables of the benchmarks, as text and as Markdown.

    python benchmarks/table.py training.json scoring.json … > table.md

turns the files that the benchmarks write with `--json` into one Markdown table,
so that no figure is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from benchmarks.side_by_side import Timing

HEADINGS = ("work", "by", "median", "min to max", "a second", "t5cr is")
_RIGHT = (2, 3, 4, 5)


def _number(value: float) -> str:
  """With three digits or more."""
  return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def rows(timing: Mapping[str, Any]) -> list[tuple[str, ...]]:
  """The lines of one timing, given as `Timing.to_json` has it."""
  found = []
  for name, figures in timing["contenders"].items():
    ratio = figures["t5cr_is_times_as_fast"]
    least, most = figures["least"], figures["most"]
    found.append(
      (
        timing["work"],
        f"{name}, {figures['note']}" if figures["note"] else name,
        f"{_number(figures['median'])} s",
        f"{_number(least)} to {_number(most)} s",
        f"{_number(figures['rate'])} {timing['unit']}",
        "" if ratio is None else f"{ratio:.2f}x as fast",
      )
    )
  for name, why in timing["failed"].items():
    found.append((timing["work"], f"{name}: {why}", "", "", "", ""))
  return found


def where_text(where: Mapping[str, Any]) -> list[str]:
  """Lines that name the machine, the versions and the peers that are absent."""
  machine = where["machine"]
  versions = machine["versions"].items()
  lines = [
    f"{machine['processor']}, {machine['cores']} cores; JAX's device: "
    f"{machine['device']}; load {machine['load_before']} before and "
    f"{machine.get('load_after', '?')} after.",
    ", ".join(f"{name} {version}" for name, version in versions) + ".",
  ]
  lines += [f"Without {name}: {why}" for name, why in where["absent"].items()]
  return lines


def text(timings: Sequence[Timing], where: Mapping[str, Any]) -> str:
  """A table for the terminal, the machine below it."""
  lines: list[tuple[str, ...]] = [HEADINGS]
  for timing in timings:
    for place, row in enumerate(rows(timing.to_json())):
      lines.append(("" if place else row[0], *row[1:]))
  widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
  shown = [
    "  ".join(
      cell.rjust(width) if i in _RIGHT else cell.ljust(width)
      for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    ).rstrip()
    for line in lines
  ]
  return "\n".join([*shown, "", *where_text(where)])


def markdown(files: Sequence[Mapping[str, Any]]) -> str:
  """One Markdown table of several files' figures, and what they were taken on.

  Args:
    files: what `side_by_side.write` wrote, as read from JSON.
  """
  lines = [
    "| " + " | ".join(HEADINGS) + " |",
    "|" + "|".join("--:" if i in _RIGHT else "---" for i in range(6)) + "|",
  ]
  places: dict[str, list[str]] = {}
  for file in files:
    for timing in file["timings"]:
      lines += [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        for row in rows(timing)
      ]
    name = f"{file['benchmark']} ({file['model']})"
    places.setdefault("\n".join(where_text(file)), []).append(name)
  for place, names in places.items():
    lines += ["", f"{', '.join(names)}: {' '.join(place.splitlines())}"]
  return "\n".join(lines)


def main() -> None:
  """Prints the Markdown table of the files given."""
  parser = argparse.ArgumentParser(description="Figures as a Markdown table.")
  parser.add_argument("files", nargs="+", type=pathlib.Path)
  files = [json.loads(path.read_text()) for path in parser.parse_args().files]
  sys.stdout.write(markdown(files) + "\n")


if __name__ == "__main__":
  main()
