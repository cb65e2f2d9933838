"""What the figures of the report have in common: themes, axes, files."""

import dataclasses
import itertools
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib
from matplotlib import lines


@dataclasses.dataclass(frozen=True)
class Theme:
  """Colours of a page.

  Attributes:
    name: 'light' or 'dark'.
    background: of the page.
    text: of words and of error bars.
    faint: of grid lines.
    more: of differences above 0.
    less: of differences below 0.
    rows: of each row; rows in shades of grey learn nothing but dialogue.
  """

  name: str
  background: str
  text: str
  faint: str
  more: str
  less: str
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
  more="#3b82c4",
  less="#e0862b",
  rows=_COLOURS | {"none": "#cbd2d9", "redial": "#7b8794"},
)
DARK = Theme(
  "dark",
  background="#161b22",
  text="#e6edf3",
  faint="#30363d",
  more="#3b82c4",
  less="#c46a1b",
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


def save(
  draw: Callable[[Any, Theme], figure_lib.Figure],
  shown: Any,
  stem: pathlib.Path,
) -> None:
  """Draws for both themes; the files are written whole or not at all."""
  stem.parent.mkdir(parents=True, exist_ok=True)
  for theme, suffix in ((LIGHT, ""), (DARK, "-dark")):
    path = stem.with_name(f"{stem.name}{suffix}.png")
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # a link there would be written through
    # Labels and tags are texts, whatever stands between two dollars in them.
    with matplotlib.rc_context({"text.parse_math": False}):
      figure = draw(shown, theme)
      figure.savefig(
        temporary, dpi=160, facecolor=theme.background, format="png"
      )
    os.replace(temporary, path)


def colours(rows: Sequence[Mapping[str, Any]], theme: Theme) -> dict[str, str]:
  """Row -> colour; different ones as long as there are."""
  taken = {theme.rows.get(row["name"]) for row in rows}
  free = [colour for colour in _OTHERS if colour not in taken] or [*_OTHERS]
  others = itertools.cycle(free)
  return {
    row["name"]: theme.rows.get(row["name"]) or next(others) for row in rows
  }


def style(axes: axes_lib.Axes, theme: Theme) -> None:
  """Axes without a frame, in a theme's colours."""
  axes.set_facecolor(theme.background)
  axes.tick_params(colors=theme.text, length=0)
  for side in ("top", "right", "left"):
    axes.spines[side].set_visible(False)
  axes.spines["bottom"].set_color(theme.text)
  axes.set_axisbelow(True)


def reach(entry: Mapping[str, Any]) -> tuple[float, float]:
  """How far the interval reaches below and above the value."""
  if entry["low"] is None:
    return 0.0, 0.0
  value = entry["value"]
  return max(0.0, value - entry["low"]), max(0.0, entry["high"] - value)


def paper_mark(axes: axes_lib.Axes, x: float, y: float, theme: Theme) -> None:
  """Marks a figure of the paper."""
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


def paper_handle(theme: Theme) -> lines.Line2D:
  """What a legend says of `paper_mark`."""
  return lines.Line2D(
    [],
    [],
    marker="D",
    markersize=4.5,
    markerfacecolor=theme.background,
    markeredgecolor=theme.text,
    linestyle="none",
    label="the paper's figure",
  )


def percent(axes: axes_lib.Axes) -> None:
  """Writes shares on the x axis as .5."""
  axes.xaxis.set_major_formatter(lambda x, _: f"{x:.1f}".removeprefix("0"))


def chance(line: Callable[..., Any], theme: Theme) -> None:
  """Draws a coin's score with `axvline` or `axhline`."""
  line(0.5, color=theme.text, linewidth=1, linestyle=(0, (4, 3)))


def legend(
  figure: figure_lib.Figure, handles: Sequence[Any], theme: Theme
) -> None:
  """A legend above the panels, where it covers no data."""
  figure.legend(
    handles=list(handles),
    loc="outside upper center",
    ncols=math.ceil(len(handles) / math.ceil(len(handles) / 4)),
    frameon=False,
    labelcolor=theme.text,
    fontsize=9,
  )


def handle(theme: Theme, label: str, **style: Any) -> lines.Line2D:
  """What a legend says of a line or a marker."""
  chosen: dict[str, Any] = {"color": theme.text, "linestyle": "none"} | style
  return lines.Line2D([], [], label=label, **chosen)
