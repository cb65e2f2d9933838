"""The figures of the report, as PNG files for light and for dark pages."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib
from matplotlib import lines, patches

from t5cr.study import variants


@dataclasses.dataclass(frozen=True)
class Theme:
  """Colours of a page.

  Attributes:
    name: 'light' or 'dark'.
    background: of the page.
    text: of words and of error bars.
    faint: of grid lines.
    rows: of each row; rows in shades of grey learn nothing but dialogue.
  """

  name: str
  background: str
  text: str
  faint: str
  rows: Mapping[str, str]


_COLOURS = {
  "redial_sequence": "#3b82c4",
  "redial_tags": "#e0862b",
  "redial_review": "#2f9e77",
  "all": "#8b5fbf",
}
# Of runs that are no rows of Table 3, in turn.
_OTHERS = ("#3b82c4", "#e0862b", "#2f9e77", "#8b5fbf", "#c2476b", "#8a7a2e")
LIGHT = Theme(
  "light",
  background="#ffffff",
  text="#1f2933",
  faint="#e4e7eb",
  rows=_COLOURS | {"none": "#cbd2d9", "redial": "#7b8794"},
)
DARK = Theme(
  "dark",
  background="#161b22",
  text="#e6edf3",
  faint="#30363d",
  rows=_COLOURS | {"none": "#4b5563", "redial": "#9aa5b1"},
)


@dataclasses.dataclass(frozen=True)
class Figure:
  """A figure of the report.

  Attributes:
    name: of its files: NAME.png, NAME-dark.png.
    alternative: what it shows, for those who cannot see it.
  """

  name: str
  alternative: str


def write(
  report: Mapping[str, Any], directory: pathlib.Path
) -> dict[str, Figure]:
  """Draws the figures that the report's rows are enough for.

  Args:
    report: what report.json holds.
    directory: where the PNG files go.

  Returns:
    'scores' and 'changes' -> the figure; one that has nothing to show is left
    out.
  """
  rows = [row for row in report["rows"] if _probes(row)]
  figures = {}
  if rows:
    _save(_scores, rows, directory / "figure3")
    figures["scores"] = Figure("figure3", _describe(rows))
  changed = [row for row in rows if any("change" in p for p in _probes(row))]
  if changed:
    _save(_changes, changed, directory / "changes")
    figures["changes"] = Figure(
      "changes",
      "Change of each probe score against the row finetuned on ReDial only, "
      "with 95% intervals.",
    )
  return figures


def _probes(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
  return [row["probes"][p] for p in variants.PROBES if p in row["probes"]]


def _describe(rows: Sequence[Mapping[str, Any]]) -> str:
  words = []
  for probe in variants.measured_probes(rows):
    scores = [
      f"{row['label']} {row['probes'][probe]['value']:.2f}"
      for row in rows
      if probe in row["probes"]
    ]
    words.append(f"{variants.PROBES[probe]} probe: {', '.join(scores)}.")
  return "Probe scores by finetuning tasks. " + " ".join(words)


def _save(draw, rows: Sequence[Mapping[str, Any]], stem: pathlib.Path) -> None:
  """Draws for both themes; the files are written whole or not at all."""
  stem.parent.mkdir(parents=True, exist_ok=True)
  for theme, suffix in ((LIGHT, ""), (DARK, "-dark")):
    figure = draw(rows, theme)
    path = stem.with_name(f"{stem.name}{suffix}.png")
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, dpi=160, facecolor=theme.background, format="png")
    os.replace(temporary, path)


def _colours(rows: Sequence[Mapping[str, Any]], theme: Theme) -> dict[str, str]:
  """Row -> colour; different ones as long as there are."""
  taken = {theme.rows.get(row["name"]) for row in rows}
  free = [colour for colour in _OTHERS if colour not in taken] or [*_OTHERS]
  others = itertools.cycle(free)
  return {
    row["name"]: theme.rows.get(row["name"]) or next(others) for row in rows
  }


def _style(axes: axes_lib.Axes, theme: Theme) -> None:
  axes.set_facecolor(theme.background)
  axes.tick_params(colors=theme.text, length=0)
  for side in ("top", "right", "left"):
    axes.spines[side].set_visible(False)
  axes.spines["bottom"].set_color(theme.text)
  axes.set_axisbelow(True)


def _interval(entry: Mapping[str, Any]) -> tuple[float, float]:
  """How far the interval reaches below and above the value."""
  if entry["low"] is None:
    return 0.0, 0.0
  value = entry["value"]
  return max(0.0, value - entry["low"]), max(0.0, entry["high"] - value)


def _scores(
  rows: Sequence[Mapping[str, Any]], theme: Theme
) -> figure_lib.Figure:
  """Figure 3: bars of probe scores, in groups, with the paper's as marks."""
  figure = figure_lib.Figure(figsize=(10, 5.2), layout="constrained")
  axes = figure.add_subplot()
  _style(axes, theme)
  shown = variants.measured_probes(rows)
  width = 0.84 / len(rows)
  colours = _colours(rows, theme)
  for index, row in enumerate(rows):
    for group, probe in enumerate(shown):
      if probe not in row["probes"]:
        continue
      entry = row["probes"][probe]
      place = group + (index - (len(rows) - 1) / 2) * width
      below, above = _interval(entry)
      axes.bar(
        place,
        entry["value"],
        width * 0.9,
        color=colours[row["name"]],
        yerr=[[below], [above]],
        error_kw={"ecolor": theme.text, "elinewidth": 1.1, "capsize": 2},
      )
      axes.text(
        place,
        entry["value"] + above + 0.012,
        f"{entry['value']:.2f}".removeprefix("0"),
        ha="center",
        va="bottom",
        fontsize=8,
        color=theme.text,
      )
      if row["name"] in variants.ROWS:
        # Beside the interval, which it would hide.
        published = variants.ROWS[row["name"]].paper[probe]
        _paper_mark(axes, place - 0.28 * width, published, theme)
  axes.axhline(0.5, color=theme.text, linewidth=1, linestyle=(0, (4, 3)))
  axes.text(
    len(shown) - 0.49, 0.5, "chance", color=theme.text, fontsize=9, va="center"
  )
  axes.set_xticks(
    range(len(shown)), [f"{variants.PROBES[p]} probe" for p in shown]
  )
  axes.set_xlim(-0.5, len(shown) - 0.5)
  axes.set_ylim(0, 1)
  axes.set_ylabel("Share of probes won", color=theme.text)
  axes.grid(axis="y", color=theme.faint)
  figure.legend(
    handles=_legend(rows, theme),
    loc="outside upper center",
    ncols=4,
    frameon=False,
    labelcolor=theme.text,
    fontsize=9,
  )
  return figure


def _paper_mark(axes: axes_lib.Axes, x: float, y: float, theme: Theme) -> None:
  axes.plot(
    x,
    y,
    marker="D",
    markersize=4.5,
    markerfacecolor=theme.background,
    markeredgecolor=theme.text,
    linestyle="none",
    zorder=5,
  )


def _legend(rows: Sequence[Mapping[str, Any]], theme: Theme) -> list[Any]:
  colours = _colours(rows, theme)
  handles: list[Any] = [
    patches.Patch(color=colours[row["name"]], label=row["label"])
    for row in rows
  ]
  mark = lines.Line2D(
    [],
    [],
    marker="D",
    markersize=4.5,
    markerfacecolor=theme.background,
    markeredgecolor=theme.text,
    linestyle="none",
    label="the paper's figure",
  )
  return [*handles, mark]


def _changes(
  rows: Sequence[Mapping[str, Any]], theme: Theme
) -> figure_lib.Figure:
  """Change against the ReDial row, a panel a probe, with intervals."""
  figure = figure_lib.Figure(
    figsize=(10, 1.4 + 0.42 * len(rows)), layout="constrained"
  )
  shown = variants.measured_probes(rows)
  (panels,) = figure.subplots(
    1, len(shown), sharey=True, sharex=True, squeeze=False
  )
  labels = [row["label"] for row in rows]
  base = variants.ROWS[variants.BASELINE].paper
  ends = [-10.0, 10.0]
  colours = _colours(rows, theme)
  for axes, probe in zip(panels, shown, strict=True):
    _style(axes, theme)
    axes.axvline(0, color=theme.text, linewidth=1)
    axes.grid(axis="x", color=theme.faint)
    axes.set_title(variants.PROBES[probe], color=theme.text, fontsize=11)
    for place, row in enumerate(rows):
      if row["name"] in variants.ROWS:
        published = variants.ROWS[row["name"]].paper[probe] / base[probe] - 1
        _paper_mark(axes, 100 * published, place + 0.24, theme)
        ends.append(100 * published)
      change = row["probes"].get(probe, {}).get("change")
      if change is None:
        continue
      colour = colours[row["name"]]
      low, value, high = (100 * change[k] for k in ("low", "value", "high"))
      axes.plot([low, high], [place, place], color=colour, linewidth=2.5)
      axes.plot(value, place, "o", color=colour)
      ends += [low, high]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:+.0f}%" if x else "0")
  margin = 0.06 * (max(ends) - min(ends))
  panels[0].set_xlim(min(ends) - margin, max(ends) + margin)
  figure.supxlabel(
    "change of the probe score against ReDial only (diamonds: the paper)",
    color=theme.text,
    fontsize=10,
  )
  return figure
