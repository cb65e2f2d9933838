"""A comparison of two reports, for the terminal and for the page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import console, text
from rich import table as rich_table

from t5cr import terminal
from t5cr.study.markdown import literal, table

_HEADER = (
  "Row",
  "Figure",
  "Here",
  "There",
  "Difference",
  "Intervals",
  "Result",
)
_RULE = (
  "The difference is what is here less what is there, with its 95% interval "
  "for independent estimates, made of theirs (MOVER). Higher or lower: that "
  "interval excludes 0; unclear: it does not. Apart intervals exclude each "
  "other, which asks for more."
)
_STYLES = {
  "higher": "green",
  "lower": "red",
  "other examples": "yellow",
}


def show(comparison: Mapping[str, Any]) -> None:
  """Prints a comparison; in colours on a terminal, else plain.

  Args:
    comparison: as `against.compare` gives it.
  """
  parts: list[console.RenderableType] = [
    text.Text(f"WARNING: {warning}", style="bold yellow")
    for warning in comparison["warnings"]
  ]
  parts.append(text.Text(_title(comparison), style="bold"))
  parts += [text.Text(note) for note in _notes(comparison)]
  if comparison["figures"]:
    parts += [_table(comparison), text.Text(_RULE, style="dim")]
  terminal.show(*parts)


def _table(comparison: Mapping[str, Any]) -> rich_table.Table:
  shown = rich_table.Table(box=None, pad_edge=False)
  for name in _HEADER:
    shown.add_column(name.lower(), no_wrap=name != "Row")
  for figure, cells in _lines(comparison):
    style = _STYLES.get(figure["result"] or "", "")
    shown.add_row(*(text.Text(cell, style=style) for cell in cells))
  return shown


def markdown(comparison: Mapping[str, Any]) -> str:
  """A section of the report.

  Args:
    comparison: as `against.compare` gives it.
  """
  parts = ["## Against another report"]
  if comparison["warnings"]:
    parts.append(
      "\n>\n".join(
        f"> **Warning.** {literal(warning)}"
        for warning in comparison["warnings"]
      )
    )
  parts += [literal(_title(comparison))]
  parts += [literal(note) for note in _notes(comparison)]
  if comparison["figures"]:
    lines = [
      [literal(cell) for cell in cells] for _, cells in _lines(comparison)
    ]
    parts += [_RULE, table(_HEADER, lines)]
  return "\n\n".join(parts)


def _title(comparison: Mapping[str, Any]) -> str:
  return f"There: {comparison['report']}."


def _notes(comparison: Mapping[str, Any]) -> Iterator[str]:
  """Rows in one report only, other names, other engines."""
  for words, names in (
    ("Rows that are only here", comparison["only_here"]),
    ("Rows that are only there", comparison["only_there"]),
  ):
    if names:
      yield f"{words}: {', '.join(names)}."
  if comparison["unknown_data"]:
    yield (
      f"Whether {', '.join(comparison['unknown_data'])} was trained on the "
      "same data in both is not known: t5x records no fingerprints of it."
    )
  for row in comparison["rows"]:
    here, there = row["engines"]
    if row["name"] != row["there"]:
      yield f"The row {row['name']} is compared with {row['there']} there."
    if here != there:
      yield (
        f"{row['name']}: the results here are of {here or 'an unknown engine'}"
        f", those there of {there or 'an unknown engine'}."
      )


def _lines(
  comparison: Mapping[str, Any],
) -> Iterator[tuple[Mapping[str, Any], Sequence[str]]]:
  """Each figure with the cells of its line."""
  labels = {row["name"]: row["label"] for row in comparison["rows"]}
  before = None
  for figure in comparison["figures"]:
    digits = 3 if figure["kind"] == "probes" else 2
    overlap = {True: "overlap", False: "apart", None: "–"}[figure["overlap"]]
    label = labels[figure["row"]] if figure["row"] != before else ""
    before = figure["row"]
    yield (
      figure,
      (
        label,
        figure["name"].replace("_", " "),
        _cell(figure["here"], digits),
        _cell(figure["there"], digits),
        _cell(figure["difference"], digits, "+"),
        overlap,
        figure["result"] or "–",
      ),
    )


def _cell(entry: Mapping[str, Any] | None, digits: int, sign: str = "") -> str:
  if entry is None:
    return "–"
  value = f"{entry['value']:{sign}.{digits}f}"
  if entry["low"] is None:
    return value
  dash = " to " if sign else "–"
  low, high = (f"{entry[key]:{sign}.{digits}f}" for key in ("low", "high"))
  return f"{value} ({low}{dash}{high})"
