"""The report in brief, for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich import table
from rich import text as rich_text

from t5cr import terminal
from t5cr.study import variants


def overview(report: Mapping[str, Any]) -> table.Table:
  """Table 3 and two dialogue metrics, with 95% intervals; the best are bold.

  Args:
    report: what report.json holds.

  Returns:
    A table for `terminal.show`.
  """
  shown = table.Table(box=None, pad_edge=False)
  shown.add_column("finetuning tasks")
  engines = variants.has_other_engines(report["rows"])
  if engines:
    shown.add_column("engine")
  entries = [*report["rows"], *report.get("baselines", ())]
  columns = [("probes", name, 3) for name in variants.measured_probes(entries)]
  columns += [
    ("metrics", name, 1)
    for name in ("bleu", "recall")
    if any(name in row["metrics"] for row in entries)
  ]
  for _, name, _ in columns:
    shown.add_column(name, justify="right", no_wrap=True)
  best = {
    (kind, name): max(
      (row[kind][name]["value"] for row in report["rows"] if name in row[kind]),
      default=None,
    )
    for kind, name, _ in columns
  }
  for row in entries:
    cells = [
      _cell(row[kind].get(name), digits, best[kind, name])
      for kind, name, digits in columns
    ]
    engine = [row["engine"] or "–"] if engines else []
    shown.add_row(row["label"], *engine, *cells)
  return shown


def text(report: Mapping[str, Any]) -> str:
  """The overview as plain lines."""
  return terminal.text(overview(report))


def _cell(
  entry: Mapping[str, Any] | None, digits: int, best: float | None
) -> rich_text.Text:
  if entry is None:
    return rich_text.Text("–", "dim")
  style = "bold green" if entry["value"] == best else ""
  shown = rich_text.Text(f"{entry['value']:.{digits}f}", style)
  if entry["low"] is not None:
    interval = f" ({entry['low']:.{digits}f}–{entry['high']:.{digits}f})"
    shown.append(interval, "dim")
  return shown
