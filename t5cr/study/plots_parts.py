"""The figures of probe scores by negative, by related movie and by tag."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from matplotlib import figure as figure_lib

from t5cr import terminal
from t5cr.study import drawing, variants

Report = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]

# A tag with fewer probes says more of chance than of the tag.
LEAST_TAG_COUNT = 10
_RANK = "rank of the related movie\n(1 = most related)"
# Probes that are shown by rank -> (title, label of the x axis).
_RANKED = {
  "recommendation": ("Recommendation", _RANK),
  variants.SEQUENCE_PROBE: ("As a sequence", _RANK),
  "combination": ("Combination", _RANK),
  "description": ("Description", "sentence of the review"),
}
# So many tags from either end.
_TAGS_SHOWN = 6


def divided(
  report: Report, kind: str, probes: Collection[str] | None = None
) -> Rows:
  """The rows with scores by `kind` (decile, rank or tag) of any of `probes`."""
  return [
    row
    for row in report["rows"]
    if any(
      entry.get("by", {}).get(kind) and (probes is None or probe in probes)
      for probe, entry in row["probes"].items()
    )
  ]


def contrast(rows: Rows) -> list[Mapping[str, Any]]:
  """The rows that matter most: ReDial alone, if it is there, and the last."""
  base = [row for row in rows if row["name"] == variants.BASELINE]
  return [row for row in base if row is not rows[-1]] + [rows[-1]]


def _curves(
  report: Report,
  theme: drawing.Theme,
  kind: str,
  panels: Mapping[str, tuple[str, str]],
) -> figure_lib.Figure:
  """A line a row over the groups of a kind, with bands for the intervals.

  Args:
    report: what report.json holds.
    theme: of the page.
    kind: decile or rank.
    panels: probe -> (title, label of the x axis).
  """
  rows = divided(report, kind, panels)
  shown = [
    probe
    for probe in panels
    if any(r["probes"].get(probe, {}).get("by", {}).get(kind) for r in rows)
  ]
  figure = figure_lib.Figure(figsize=(10, 4.4), layout="constrained")
  (axes_of,) = figure.subplots(1, len(shown), sharey=True, squeeze=False)
  colours = drawing.colours(report["rows"], theme)
  banded = [row["name"] for row in contrast(rows)]
  for axes, probe in zip(axes_of, shown, strict=True):
    drawing.style(axes, theme)
    axes.grid(axis="y", color=theme.faint)
    title, label = panels[probe]
    axes.set_title(title, color=theme.text, fontsize=11)
    axes.set_xlabel(label, color=theme.text, fontsize=9)
    drawing.chance(axes.axhline, theme)
    keys: set[int] = set()
    for row in rows:
      groups = row["probes"].get(probe, {}).get("by", {}).get(kind, ())
      places = [group["key"] for group in groups]
      keys |= set(places)
      colour = colours[row["name"]]
      values = [group["value"] for group in groups]
      if row["name"] not in banded:
        axes.plot(places, values, color=colour, linewidth=1.1, alpha=0.8)
        continue
      axes.plot(places, values, "o-", color=colour, markersize=4, linewidth=2.4)
      known = [g for g in groups if g["low"] is not None]
      axes.fill_between(
        [g["key"] for g in known],
        [g["low"] for g in known],
        [g["high"] for g in known],
        color=colour,
        alpha=0.2,
        linewidth=0,
      )
    step = 1 if len(keys) < 5 else 3
    axes.set_xticks(sorted(keys)[::step])
    axes.set_ylim(0, 1.02)
  axes_of[0].set_ylabel("share of probes won", color=theme.text)
  handles = [
    drawing.handle(
      theme,
      row["label"] + (" (band: 95%)" if row["name"] in banded else ""),
      color=colours[row["name"]],
      linestyle="-",
      linewidth=2.4 if row["name"] in banded else 1.1,
    )
    for row in rows
  ]
  drawing.legend(figure, handles, theme)
  return figure


def deciles(report: Report, theme: drawing.Theme) -> figure_lib.Figure:
  """Probe scores by the tenth of the popular movies of the negative."""
  label = "tenth of the popular movies\n(1 = most frequent)"
  panels = {probe: (name, label) for probe, name in variants.PROBES.items()}
  return _curves(report, theme, "decile", panels)


def ranks(report: Report, theme: drawing.Theme) -> figure_lib.Figure:
  """Probe scores by the rank of the related movie."""
  return _curves(report, theme, "rank", _RANKED)


def ends_of_tags(
  row: Mapping[str, Any], probe: str
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
  """The tags whose probes a row wins most and least often.

  Returns:
    (most, least), each from the better to the worse; of tags with at least
    LEAST_TAG_COUNT probes. Where there are few, all are among the most.
  """
  groups = row["probes"].get(probe, {}).get("by", {}).get("tag", ())
  enough = [group for group in groups if group["count"] >= LEAST_TAG_COUNT]
  # Of equals the one that more probes speak for, then by name.
  enough.sort(key=lambda g: (-g["value"], -g["count"], g["key"]))
  if len(enough) <= 2 * _TAGS_SHOWN:
    return enough, []
  return enough[:_TAGS_SHOWN], enough[-_TAGS_SHOWN:]


def tags(report: Report, theme: drawing.Theme) -> figure_lib.Figure:
  """The tags at both ends for the last row, with what ReDial alone makes."""
  rows = contrast(divided(report, "tag"))
  probes = [
    p for p in ("attribute", "combination") if any(ends_of_tags(rows[-1], p))
  ]
  lines_of = {probe: _tag_lines(rows[-1], probe) for probe in probes}
  longest = max(map(len, lines_of.values()))
  figure = figure_lib.Figure(
    figsize=(10, 1.7 + 0.3 * longest), layout="constrained"
  )
  (panels,) = figure.subplots(1, len(probes), sharex=True, squeeze=False)
  colours = drawing.colours(report["rows"], theme)
  for axes, probe in zip(panels, probes, strict=True):
    drawing.style(axes, theme)
    axes.grid(axis="x", color=theme.faint)
    axes.set_title(variants.PROBES[probe], color=theme.text, fontsize=11)
    drawing.chance(axes.axvline, theme)
    labels = {}
    for place, tag in enumerate(lines_of[probe]):
      for shift, row in zip((0.16, -0.16), rows[::-1], strict=False):
        group = _tag(row, probe, tag)
        if group is None:
          continue
        labels[place] = f"{terminal.name(tag)} ({group['count']})"
        axes.errorbar(
          group["value"],
          place - shift,
          xerr=[[end] for end in drawing.reach(group)],
          fmt="o",
          markersize=5.5,
          color=colours[row["name"]],
          elinewidth=1.4,
        )
    if None in lines_of[probe]:
      gap = lines_of[probe].index(None)
      axes.axhline(gap, color=theme.faint, linewidth=6)
    axes.set_yticks(list(labels), list(labels.values()), fontsize=9)
    axes.set_ylim(len(lines_of[probe]) - 0.4, -0.6)
    axes.set_xlim(-0.03, 1.03)
    drawing.percent(axes)
  figure.supxlabel(
    "share of the tag's probes won (in brackets: how many there are)",
    color=theme.text,
    fontsize=10,
  )
  handles = [
    drawing.handle(
      theme,
      row["label"],
      color=colours[row["name"]],
      linestyle="-",
      marker="o",
      markersize=5.5,
    )
    for row in rows
  ]
  drawing.legend(figure, handles, theme)
  return figure


def _tag_lines(row: Mapping[str, Any], probe: str) -> list[str | None]:
  """Tags from top to bottom, None for those that are left out between."""
  most, least = ends_of_tags(row, probe)
  gap = [None] if least else []
  return [g["key"] for g in most] + gap + [g["key"] for g in least]


def _tag(
  row: Mapping[str, Any], probe: str, tag: str | None
) -> Mapping[str, Any] | None:
  groups = row["probes"].get(probe, {}).get("by", {}).get("tag", ())
  return next((group for group in groups if group["key"] == tag), None)


FIGURES: dict[str, tuple[Callable[[Report], Any], Callable, str]] = {
  "deciles": (
    lambda report: divided(report, "decile", variants.PROBES),
    deciles,
    "Probe scores by which tenth of the popular movies the negative is from, a "
    "line a row.",
  ),
  "ranks": (
    lambda report: divided(report, "rank", _RANKED),
    ranks,
    "Probe scores by the rank of the related movie, and of the description "
    "probe by the sentence of the review, a line a row.",
  ),
  "tags": (
    lambda report: any(
      ends_of_tags(row, probe) != ([], [])
      for row in divided(report, "tag")[-1:]
      for probe in ("attribute", "combination")
    ),
    tags,
    "The tags whose probes are won most and least often, with 95% intervals.",
  ),
}
