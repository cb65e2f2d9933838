"""What more devices change: bytes, memory and communication of a step.

Compiles one run's train step for slices of a TPU that need not be there, with
all devices on one axis of the mesh at a time, and prints a table; with --plot
also a figure. Nothing is timed: the figures are the compiler's.

    python -m benchmarks.scaling --gin_file=t5cr/finetune.gin \
      --gin_file=recipe/t5_1_0_small.gin --plot docs/figures/plan_scaling

Needs libtpu: pip install '.[tpu]'.
"""

import argparse
import itertools
import json
import math
import pathlib
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import figure as figure_lib
from matplotlib import ticker

from t5cr import progress
from t5cr.engine import jobs
from t5cr.engine.partitioning import MeshConfig
from t5cr.plan import page, planner, roofline
from t5cr.study import drawing, stages

# 8, 32 and 256 devices.
TOPOLOGIES = ("v5e:2x4", "v5e:4x8", "v5e:16x16")
AXES = {"data": "#3b82c4", "fsdp": "#e0862b", "model": "#2f9e77"}
# More parts than there are heads leave attention whole.
MOST_MODEL_PARTS = 8
PANELS = {
  "peak memory, GiB": lambda c: c["memory"]["peak"] / 2**30,
  "bytes accessed, GB": lambda c: c["bytes"] / 1e9,
  "bytes sent, GB": lambda c: roofline.sent(c) / 1e9,
}


def mesh(axis: str, devices: int) -> MeshConfig:
  """All devices on one axis; what `model` cannot use goes to `data`."""
  if axis != "model":
    return MeshConfig(**{"data": 1, axis: devices})
  parts = min(devices, MOST_MODEL_PARTS)
  return MeshConfig(data=devices // parts, model=parts)


def measure(
  flags: argparse.Namespace, show: progress.Progress
) -> list[dict[str, Any]]:
  """A row for each axis and topology."""
  run, _ = planner.read_run(flags.gin_file, flags.gin_bindings)
  asked = planner.describe(run, planner.Settings(TOPOLOGIES))
  found = stages.read_json(flags.json) or []
  # Of this very run; JSON, so that both have lists where they had tuples.
  same = json.dumps(asked, sort_keys=True)
  known = {
    (row["topology"], row["axis"]): row
    for row in found
    if json.dumps(row["asked"], sort_keys=True) == same
  }
  wanted = list(itertools.product(TOPOLOGIES, AXES))
  for done, (topology, axis) in enumerate(wanted):
    show("compile", done, len(wanted), "programs")
    if (topology, axis) not in known:
      compiled = _compile(run, topology, axis)
      known[topology, axis] = {"asked": asked, **compiled}
      stages.write_json(flags.json, list(known.values()))
  show("compile", len(wanted), len(wanted), "programs")
  return [known[key] for key in wanted]


def _compile(run: jobs.TrainRun, topology: str, axis: str) -> dict[str, Any]:
  sizes = topology.partition(":")[2].split("x")
  devices = math.prod(int(size) for size in sizes)
  settings = planner.Settings([topology], [mesh(axis, devices)])
  planned = planner.plan(run, settings)
  (about,) = planned["topologies"]
  return {
    "topology": topology,
    "devices": about["devices"],
    "axis": axis,
    **about["meshes"][0],
  }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
  """The rows as Markdown."""
  lines = [
    "| Devices | Mesh | Peak memory | Bytes accessed | Sent | Collectives |"
    " Step at peak rates |",
    "|---|---|---|---|---|---|---|",
  ]
  for row in rows:
    kinds = ", ".join(
      f"{kind['count']:,} {name}" for name, kind in row["collectives"].items()
    )
    cells = [
      f"{row['devices']} ({row['topology']})",
      f"`{row['name']}`",
      page.size(row["memory"]["peak"]),
      page.number(row["bytes"], "B"),
      page.number(roofline.sent(row), "B"),
      kinds,
      page.step(row),
    ]
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


def draw(
  rows: Sequence[Mapping[str, Any]], theme: drawing.Theme
) -> figure_lib.Figure:
  """A panel for each figure, a line for each axis of the mesh."""
  figure = figure_lib.Figure(figsize=(10, 3.8), layout="constrained")
  panels = figure.subplots(1, len(PANELS))
  devices = sorted({row["devices"] for row in rows})
  for axes, (title, value) in zip(panels, PANELS.items(), strict=True):
    drawing.style(axes, theme)
    for axis, colour in AXES.items():
      mine = sorted(
        (row for row in rows if row["axis"] == axis),
        key=lambda row: row["devices"],
      )
      axes.plot(
        [row["devices"] for row in mine],
        [value(row) for row in mine],
        color=colour,
        marker="o",
        markersize=5,
        linewidth=1.6,
      )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(devices, [str(count) for count in devices])
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axes.minorticks_off()
    axes.grid(axis="y", color=theme.faint)
    axes.set_title(title, color=theme.text, fontsize=10, loc="left")
    axes.set_xlabel("devices", color=theme.text, fontsize=9)
  handles = [
    drawing.handle(
      theme, axis, color=colour, marker="o", linestyle="-", linewidth=1.6
    )
    for axis, colour in AXES.items()
  ]
  drawing.legend(figure, handles, theme)
  return figure


def main(arguments: Sequence[str] | None = None) -> None:
  """Compiles, prints, draws."""
  parser = argparse.ArgumentParser(
    description="Bytes, memory and communication of a step on more devices."
  )
  parser.add_argument("--gin_file", action="append", required=True)
  parser.add_argument("--gin_bindings", action="append", default=[])
  parser.add_argument(
    "--json",
    type=pathlib.Path,
    default=pathlib.Path("scaling.json"),
    help="All figures; those that are in it are not compiled again.",
  )
  parser.add_argument(
    "--plot", type=pathlib.Path, help="Writes PLOT.png and PLOT-dark.png."
  )
  flags = parser.parse_args(arguments)
  # Ends as Ctrl-C does: the process that compiles is ended too.
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  with progress.Reporter() as reporter:
    rows = measure(flags, reporter)
  print(table(rows))
  if flags.plot:
    drawing.save(draw, rows, flags.plot)


if __name__ == "__main__":
  main()
