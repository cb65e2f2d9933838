"""Figure 3 and the change against ReDial only, for light and dark pages."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import figure as figure_lib
from matplotlib import patches

from t5cr.study import drawing, variants


def write(
  report: Mapping[str, Any], directory: pathlib.Path
) -> dict[str, drawing.Figure]:
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
    drawing.save(_scores, rows, directory / "figure3")
    figures["scores"] = drawing.Figure("figure3", _describe(rows))
  changed = [row for row in rows if any("change" in p for p in _probes(row))]
  if changed:
    drawing.save(_changes, changed, directory / "changes")
    figures["changes"] = drawing.Figure(
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


def _scores(
  rows: Sequence[Mapping[str, Any]], theme: drawing.Theme
) -> figure_lib.Figure:
  """Figure 3: bars of probe scores, in groups, with the paper's as marks."""
  figure = figure_lib.Figure(figsize=(10, 5.2), layout="constrained")
  axes = figure.add_subplot()
  drawing.style(axes, theme)
  shown = variants.measured_probes(rows)
  width = 0.84 / len(rows)
  colours = drawing.colours(rows, theme)
  for index, row in enumerate(rows):
    for group, probe in enumerate(shown):
      if probe not in row["probes"]:
        continue
      entry = row["probes"][probe]
      place = group + (index - (len(rows) - 1) / 2) * width
      below, above = drawing.reach(entry)
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
        drawing.paper_mark(axes, place - 0.28 * width, published, theme)
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


def _legend(
  rows: Sequence[Mapping[str, Any]], theme: drawing.Theme
) -> list[Any]:
  colours = drawing.colours(rows, theme)
  handles: list[Any] = [
    patches.Patch(color=colours[row["name"]], label=row["label"])
    for row in rows
  ]
  return [*handles, drawing.paper_handle(theme)]


def _changes(
  rows: Sequence[Mapping[str, Any]], theme: drawing.Theme
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
  colours = drawing.colours(rows, theme)
  for axes, probe in zip(panels, shown, strict=True):
    drawing.style(axes, theme)
    axes.axvline(0, color=theme.text, linewidth=1)
    axes.grid(axis="x", color=theme.faint)
    axes.set_title(variants.PROBES[probe], color=theme.text, fontsize=11)
    for place, row in enumerate(rows):
      if row["name"] in variants.ROWS:
        published = variants.ROWS[row["name"]].paper[probe] / base[probe] - 1
        drawing.paper_mark(axes, 100 * published, place + 0.24, theme)
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
