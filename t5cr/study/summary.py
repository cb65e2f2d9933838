"""The report in brief, for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich import console, table

from t5cr.study import variants


def text(report: Mapping[str, Any]) -> str:
  """Table 3 and two dialogue metrics, with 95% intervals, as plain text.

  Args:
    report: what report.json holds.

  Returns:
    Lines to print.
  """
  shown = table.Table(box=None, pad_edge=False)
  shown.add_column("finetuning tasks")
  engines = variants.has_other_engines(report["rows"])
  if engines:
    shown.add_column("engine")
  entries = [*report["rows"], *report.get("baselines", ())]
  names = variants.measured_probes(entries)
  metrics = [
    name
    for name in ("bleu", "recall")
    if any(name in row["metrics"] for row in entries)
  ]
  for name in names:
    shown.add_column(name, justify="right", no_wrap=True)
  for name in metrics:
    shown.add_column(name, justify="right", no_wrap=True)
  for row in entries:
    cells = [_cell(row["probes"].get(name), 3) for name in names]
    cells += [_cell(row["metrics"].get(name), 1) for name in metrics]
    if engines:
      cells.insert(0, row["engine"] or "–")
    shown.add_row(row["label"], *cells)
  return as_text(shown)


def as_text(renderable: console.RenderableType) -> str:
  """What rich would print, as plain text."""
  wide = console.Console(width=160)
  with wide.capture() as captured:
    wide.print(renderable)
  return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _cell(entry: Mapping[str, Any] | None, digits: int) -> str:
  if entry is None:
    return "–"
  value = f"{entry['value']:.{digits}f}"
  if entry["low"] is None:
    return value
  return f"{value} ({entry['low']:.{digits}f}–{entry['high']:.{digits}f})"
