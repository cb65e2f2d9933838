"""The figures that look at the probes more closely."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib
from matplotlib import lines, patches

from t5cr.study import drawing, plots_parts, variants

Report = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]

# Below this, after the adjustment, a difference is told apart from none.
ALPHA = 0.05


def write(report: Report, directory: pathlib.Path) -> dict[str, drawing.Figure]:
  """Draws the figures that the report's rows are enough for.

  Args:
    report: what report.json holds.
    directory: where the PNG files go.

  Returns:
    'transfer', 'phrasings', 'deciles', 'ranks', 'tags', 'paired' -> the
    figure; one that has nothing to show is left out.
  """
  figures = {}
  for name, (chosen, draw, alternative) in FIGURES.items():
    if chosen(report):
      drawing.save(draw, report, directory / name)
      figures[name] = drawing.Figure(name, alternative)
  return figures


def _transferring(report: Report) -> Rows:
  return [row for row in report["rows"] if row.get("transfer")]


def _phrased(report: Report) -> Rows:
  return [row for row in report["rows"] if row.get("phrasings")]


def is_told_apart(test: Mapping[str, Any]) -> bool:
  """Whether both the test and the interval over movies find a difference."""
  difference = test["difference"]
  excludes_0 = difference["low"] > 0 or difference["high"] < 0
  return test["p_adjusted"] < ALPHA and excludes_0


def transfer(report: Report, theme: drawing.Theme) -> figure_lib.Figure:
  """A line a row from what it says in a dialogue to what it knows."""
  rows = _transferring(report)
  figure = figure_lib.Figure(
    figsize=(10, 1.9 + 0.5 * len(rows)), layout="constrained"
  )
  axes = figure.add_subplot()
  drawing.style(axes, theme)
  axes.grid(axis="x", color=theme.faint)
  colours = drawing.colours(report["rows"], theme)
  names = ("recommendation", variants.SEQUENCE_PROBE)
  ends = [0.45, 1.0]
  for place, row in enumerate(rows):
    entries = [row["probes"][name] for name in names]
    values = [entry["value"] for entry in entries]
    # One above the other, so that neither interval hides the other's.
    places = [place - 0.14, place + 0.14]
    colour = colours[row["name"]]
    axes.plot(values, places, color=colour, linewidth=3, alpha=0.45)
    fills = (theme.background, colour)
    for entry, y, fill in zip(entries, places, fills, strict=True):
      axes.errorbar(
        entry["value"],
        y,
        xerr=[[end] for end in drawing.reach(entry)],
        fmt="o",
        markersize=8,
        color=colour,
        markerfacecolor=fill,
        markeredgewidth=2,
        elinewidth=1.4,
      )
      ends.append(entry["value"] - drawing.reach(entry)[0])
  paper = report["paper"]
  whole = [i for i, row in enumerate(rows) if row["name"] == "all"]
  for place in whole:
    spoken = paper["table3"]["all"]["recommendation"]
    for value in (spoken, paper["recommendation_sequence"]["all"]):
      drawing.paper_mark(axes, value, place + 0.36, theme)
  handles = [
    drawing.handle(
      theme,
      "in a dialogue",
      marker="o",
      markersize=8,
      markerfacecolor=theme.background,
      markeredgewidth=2,
    ),
    drawing.handle(theme, "as a sequence", marker="o", markersize=8),
    *([drawing.paper_handle(theme)] if whole else []),
    *_factorisations(axes, report, theme),
  ]
  drawing.chance(axes.axvline, theme)
  axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
  axes.set_ylim(len(rows) - 0.4, -0.6)
  axes.set_xlim(min(ends) - 0.03, 1.01)
  drawing.percent(axes)
  axes.set_xlabel(
    "share of the recommendation pairs won (dashed: a coin)", color=theme.text
  )
  drawing.legend(figure, handles, theme)
  return figure


def _factorisations(
  axes: axes_lib.Axes, report: Report, theme: drawing.Theme
) -> list[lines.Line2D]:
  """Lines for the matrix factorisation, measured and the paper's."""
  found = [
    entry["probes"]["recommendation"]["value"]
    for entry in report.get("baselines", ())
    if entry["name"] == "als" and "recommendation" in entry["probes"]
  ]
  published = report["paper"]["recommendation_sequence"]
  values = [
    (value, "matrix factorisation (ALS) on these pairs", "-") for value in found
  ]
  values.append(
    (published["matrix_factorization"], "the paper's factorisation", ":")
  )
  handles = []
  for value, label, style in values:
    axes.axvline(
      value, color=theme.text, linewidth=1.4, linestyle=style, zorder=1
    )
    handles.append(drawing.handle(theme, label, linestyle=style, linewidth=1.4))
  return handles


def phrasings(report: Report, theme: drawing.Theme) -> figure_lib.Figure:
  """A dot a phrasing and a bar at their mean, a panel a probe."""
  rows = _phrased(report)
  shown = [p for p in variants.PROBES if any(p in r["phrasings"] for r in rows)]
  figure = figure_lib.Figure(
    figsize=(10, 1.6 + 0.42 * len(rows)), layout="constrained"
  )
  (panels,) = figure.subplots(
    1, len(shown), sharex=True, sharey=True, squeeze=False
  )
  colours = drawing.colours(report["rows"], theme)
  for axes, probe in zip(panels, shown, strict=True):
    drawing.style(axes, theme)
    axes.grid(axis="x", color=theme.faint)
    axes.set_title(variants.PROBES[probe], color=theme.text, fontsize=11)
    drawing.chance(axes.axvline, theme)
    for place, row in enumerate(rows):
      found = row["phrasings"].get(probe)
      if found is None:
        continue
      colour = colours[row["name"]]
      axes.plot(
        [found["least"], found["most"]], [place] * 2, color=colour, alpha=0.5
      )
      for name, entry in found["by"].items():
        axes.plot(
          entry["value"],
          place,
          "o",
          markersize=6,
          color=colour,
          markeredgecolor=theme.text if name == "paper" else colour,
          markeredgewidth=1.6 if name == "paper" else 0,
          alpha=1 if name == "paper" else 0.75,
          zorder=4 if name == "paper" else 3,
        )
      axes.plot(
        [found["mean"]] * 2,
        [place - 0.32, place + 0.32],
        color=theme.text,
        linewidth=2,
      )
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    drawing.percent(axes)
  least = min(f["least"] for row in rows for f in row["phrasings"].values())
  panels[0].set_xlim(min(least, 0.45) - 0.04, 1.03)
  grey = theme.rows[variants.BASELINE]
  handles = [
    drawing.handle(theme, "a phrasing", marker="o", markersize=6, color=grey),
    drawing.handle(
      theme,
      "the paper's phrasing",
      marker="o",
      markersize=6,
      markerfacecolor=grey,
      markeredgewidth=1.6,
    ),
    drawing.handle(theme, "mean", marker="|", markersize=12, markeredgewidth=2),
  ]
  figure.supxlabel(
    "share of probes won (dashed: a coin)", color=theme.text, fontsize=10
  )
  drawing.legend(figure, handles, theme)
  return figure


def paired(report: Report, theme: drawing.Theme) -> figure_lib.Figure:
  """A matrix a probe: how much more the row wins than the column."""
  shown = [p for p in report["paired"] if report["paired"][p]]
  rows = [
    row
    for row in report["rows"]
    if any(
      row["name"] in (test["first"], test["second"])
      for probe in shown
      for test in report["paired"][probe]
    )
  ]
  names = [row["name"] for row in rows]
  figure = figure_lib.Figure(
    figsize=(10, 0.95 + 0.26 * len(rows)), layout="constrained"
  )
  (panels,) = figure.subplots(1, len(shown), sharey=True, squeeze=False)
  for axes, probe in zip(panels, shown, strict=True):
    drawing.style(axes, theme)
    axes.spines["bottom"].set_visible(False)
    title = variants.PROBES.get(probe, "As a sequence")
    axes.set_title(title, color=theme.text, fontsize=11)
    for test in report["paired"][probe]:
      _paired_cells(axes, test, names, theme)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_aspect("equal")
    places = range(len(rows))
    labels = [f"{row['label']}  {i}" for i, row in enumerate(rows, start=1)]
    axes.set_yticks(places, labels, fontsize=9)
    axes.set_xticks(places, [str(1 + place) for place in places], fontsize=9)
  figure.supxlabel(
    "how many more of 100 probes the row wins than the column; coloured: "
    "told apart",
    color=theme.text,
    fontsize=10,
  )
  return figure


def _paired_cells(
  axes: axes_lib.Axes,
  test: Mapping[str, Any],
  names: Sequence[str],
  theme: drawing.Theme,
) -> None:
  """Both cells of a test: the row's share minus the column's, in points."""
  first, second = names.index(test["first"]), names.index(test["second"])
  told_apart = is_told_apart(test)
  value = test["difference"]["value"]
  for row, column, points in (
    (first, second, 100 * value),
    (second, first, -100 * value),
  ):
    colour = theme.more if points > 0 else theme.less
    if told_apart:
      alpha = min(0.75, 0.15 + abs(points) / 60)
      corner = (column - 0.5, row - 0.5)
      axes.add_patch(
        patches.Rectangle(corner, 1, 1, color=colour, alpha=alpha, linewidth=0)
      )
    axes.text(
      column,
      row,
      f"{points:+.0f}".replace("-", "−") if round(points) else "0",
      ha="center",
      va="center",
      fontsize=7.5,
      color=theme.text,
      alpha=1 if told_apart else 0.55,
      in_layout=False,
    )


FIGURES: dict[str, tuple[Callable[[Report], Any], Callable, str]] = {
  "transfer": (
    _transferring,
    transfer,
    "Share of the recommendation pairs that each row wins in a dialogue and "
    "as a MovieLens sequence, with 95% intervals, beside the paper's figures "
    "and a matrix factorisation.",
  ),
  "phrasings": (
    _phrased,
    phrasings,
    "Probe scores of each row in each phrasing, a dot a phrasing, and their "
    "mean.",
  ),
  "paired": (
    lambda report: any(report.get("paired", {}).values()),
    paired,
    "Differences between every two rows on every probe, in points; those that "
    "are told apart are coloured.",
  ),
  **plots_parts.FIGURES,
}
