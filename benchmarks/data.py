"""Measures the data steps beside straightforward pandas, in one run.

    python benchmarks/data.py --raw RAW --work DIR --json data.json

RAW holds MovieLens 25M and reviews, or what `movielens_25m.py` writes. Each
step runs in a process of its own, first ours, then the pandas version of it
(`pandas_oracle`), from the same files; imports do not count. The steps:

  runs           movies.csv, ratings.csv -> the runs of ten, in memory
  cooccurrence   the runs -> the ten movies of highest PMI^2 of each movie
  write          the raw files -> the TFDS data sets sequences, tags, reviews
  probes         these data sets -> the probe sets, written

`cooccurrence` and `probes` start from what our `runs` and `write` left in DIR,
which may be given again to repeat some steps alone (`--steps probes`).
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SIDES = ("t5cr", "pandas")
_SETS = ("t5cr_movielens/sequences", "t5cr_movielens/tags", "t5cr_reviews")


@dataclasses.dataclass(frozen=True)
class Step:
  """A step, and what it may cost at the size of MovieLens 25M.

  Attributes:
    unit: what is counted a second.
    seconds: at most, None where there is no such limit.
    gigabytes: of memory, at most.
    rate: records a second, at least.
    times: how many times faster than pandas, at least.
  """

  unit: str
  seconds: float | None = None
  gigabytes: float | None = None
  rate: float | None = None
  times: float = 5.0


STEPS = {
  "runs": Step("ratings", seconds=60, gigabytes=6),
  "cooccurrence": Step("runs", seconds=60),
  "write": Step("records", rate=10_000),
  "probes": Step("records", seconds=180),
}


class _Clock:
  """Takes the time since it was made, when told that the step is over."""

  def __init__(self) -> None:
    self._wall, self._cpu = time.perf_counter(), time.process_time()
    self.figures: dict[str, Any] = {}

  def stop(self) -> None:
    self.figures = {
      "seconds": time.perf_counter() - self._wall,
      "cpu_seconds": time.process_time() - self._cpu,
    }


def _digest(*arrays: Any) -> str:
  digest = hashlib.sha256()
  for array in arrays:
    digest.update(array.astype("int64").tobytes())
  return digest.hexdigest()[:16]


def _runs(side: str, raw: pathlib.Path, work: pathlib.Path) -> dict[str, Any]:
  import numpy as np
  import polars as pl  # noqa: F401  Loading it is no part of the step.

  from benchmarks import pandas_oracle
  from t5cr_tasks.raw import counts, files, movielens

  tallies, bad_lines = counts.Tallies(), files.BadLines()
  # Reads the file, so that neither side waits for the disk.
  num_lines = files.count_lines(raw / "movielens" / movielens.RATINGS)
  clock = _Clock()
  if side == "pandas":
    runs = pandas_oracle.make_runs(raw, pandas_oracle.read_titles(raw))
  else:
    folder = raw / "movielens"
    runs = movielens.read_runs(
      folder / movielens.RATINGS,
      movielens.read_movies(
        folder / movielens.MOVIES, bad_lines, tallies["movies"]
      ),
      bad_lines,
      tallies,
    )
  clock.stop()
  flat = np.concatenate(runs["movie_ids"].to_numpy())
  if side == "t5cr":
    np.save(work / "runs.npy", flat.reshape(len(runs), -1))
  return {
    **clock.figures,
    "count": num_lines - 1,
    "digest": _digest(runs["user_id"].to_numpy(), runs["run"].to_numpy(), flat),
  }


def _cooccurrence(
  side: str, raw: pathlib.Path, work: pathlib.Path
) -> dict[str, Any]:
  import numpy as np
  import pandas as pd

  from benchmarks import pandas_oracle
  from t5cr_tasks.probes import cooccurrence, sources

  del raw
  runs = np.load(work / "runs.npy")
  clock = _Clock()
  if side == "pandas":
    items = pd.DataFrame(
      {
        "run": np.repeat(np.arange(len(runs)), runs.shape[1]),
        "movie": runs.ravel(),
      }
    )
    _, table = pandas_oracle.make_related(items)
    clock.stop()
    pairs = table[["movie", "other"]].to_numpy()
  else:
    movies, items = sources.distinct(runs.ravel())
    matrix = cooccurrence.incidence(
      items, np.full(len(runs), runs.shape[1]), len(movies)
    )
    probed = np.flatnonzero(cooccurrence.frequency(matrix) > 30)
    related = cooccurrence.top_related(matrix[:, probed], 10)
    clock.stop()
    movies = movies[probed]
    row, place = np.nonzero(related.movies >= 0)
    pairs = np.column_stack([movies[row], movies[related.movies[row, place]]])
  return {**clock.figures, "count": len(runs), "digest": _digest(pairs)}


def _write(side: str, raw: pathlib.Path, work: pathlib.Path) -> dict[str, Any]:
  import polars as pl  # noqa: F401  Loading it is no part of the step.
  import tensorflow_datasets as tfds

  from benchmarks import pandas_oracle
  from t5cr_tasks.datasets import build

  tfds.disable_progress_bar()
  data_dir = work / f"tfds-{side}"
  shutil.rmtree(data_dir, ignore_errors=True)
  clock = _Clock()
  if side == "pandas":
    count = pandas_oracle.write_sets(raw, data_dir)
    clock.stop()
    shutil.rmtree(data_dir)
  else:
    build.build(raw, data_dir, only=_SETS)
    clock.stop()
    count = sum(
      tfds.builder(name, data_dir=data_dir).info.splits["train"].num_examples
      for name in _SETS
    )
  return {**clock.figures, "count": count, "digest": str(count)}


def _probes(side: str, raw: pathlib.Path, work: pathlib.Path) -> dict[str, Any]:
  import tensorflow_datasets as tfds

  from benchmarks import pandas_oracle
  from t5cr_tasks.probes import build

  del raw
  tfds.disable_progress_bar()
  sets = work / "tfds-t5cr"
  shutil.rmtree(sets / "t5cr_probes", ignore_errors=True)
  clock = _Clock()
  if side == "pandas":
    count = pandas_oracle.write_probes(sets, work / "tfds-probes")
    clock.stop()
    shutil.rmtree(work / "tfds-probes")
  else:
    results = build.build(sets, phrased_probes=0)
    clock.stop()
    count = 2 * sum(
      result["counts"]["probes"]["kept"]
      for result in results.values()
      if result["status"] == "built"
    )
  return {**clock.figures, "count": count, "digest": str(count)}


_FUNCTIONS = {
  "runs": _runs,
  "cooccurrence": _cooccurrence,
  "write": _write,
  "probes": _probes,
}


def measure(
  step: str, side: str, raw: pathlib.Path, work: pathlib.Path
) -> dict[str, Any]:
  """Runs a step in a process of its own.

  Returns:
    {"seconds": without imports, "cpu_seconds": of all cores together, "count":
    of the step's unit, "gigabytes": most memory the process held, "digest": of
    the result; of what is written to disk, the number of records}.
  """
  result = work / f"{step}-{side}.json"
  result.unlink(missing_ok=True)
  command = [sys.executable, __file__, f"--raw={raw}", f"--work={work}"]
  subprocess.run(
    [*command, f"--steps={step}", f"--only={side}", "--inside"],
    check=True,
    env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
  )
  return json.loads(result.read_text())


def _inside(step: str, side: str, options: argparse.Namespace) -> None:
  """What the process of one step does."""
  figures = _FUNCTIONS[step](side, options.raw, options.work)
  # Linux counts the largest resident size in kB.
  most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  figures["gigabytes"] = most * 1024 / 1e9
  (options.work / f"{step}-{side}.json").write_text(json.dumps(figures))


def describe(results: dict[str, dict[str, dict[str, Any]]]) -> str:
  """A Markdown table of what was measured, with the limits.

  Args:
    results: {step: {side: what `measure` returned}}.
  """
  lines = [
    "| Step | | Seconds | of CPU | GB | A second | Times faster | Limit |",
    "|---|---|---:|---:|---:|---:|---:|---|",
  ]
  for name, sides in results.items():
    step = STEPS[name]
    for side, found in sides.items():
      times = limit = ""
      if side == "t5cr":
        limit = _limits(step)
        if "pandas" in sides:
          times = f"{sides['pandas']['seconds'] / found['seconds']:.1f}"
      lines.append(
        f"| {name} | {side} | {found['seconds']:.1f} |"
        f" {found['cpu_seconds']:.1f} |"
        f" {found['gigabytes']:.2f} |"
        f" {found['count'] / found['seconds']:,.0f} {step.unit} |"
        f" {times} | {limit} |"
      )
    if len({found["digest"] for found in sides.values()}) > 1:
      lines.append(f"| {name} | the two differ in their results | | | | | | |")
  return "\n".join(lines)


def _limits(step: Step) -> str:
  limits = []
  if step.seconds:
    limits.append(f"{step.seconds:g} s")
  if step.gigabytes:
    limits.append(f"{step.gigabytes:g} GB")
  if step.rate:
    limits.append(f"{step.rate:,.0f} a second")
  return ", ".join([*limits, f"{step.times:g} times"])


def main() -> None:
  """The command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--raw", type=pathlib.Path, required=True)
  parser.add_argument(
    "--work", type=pathlib.Path, required=True, help="gets 3 GB of files"
  )
  parser.add_argument("--steps", default=",".join(STEPS))
  parser.add_argument("--only", choices=SIDES, help="one side alone")
  parser.add_argument("--json", type=pathlib.Path, help="also written there")
  parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
  options = parser.parse_args()
  steps = options.steps.split(",")
  for step in steps:
    if step not in STEPS:
      parser.error(f"{step} is no step. Steps: {', '.join(STEPS)}")
  if options.inside:
    _inside(steps[0], options.only, options)
    return
  options.work.mkdir(parents=True, exist_ok=True)
  results: dict[str, dict[str, dict[str, Any]]] = {}
  for step in steps:
    for side in (options.only,) if options.only else SIDES:
      found = measure(step, side, options.raw, options.work)
      results.setdefault(step, {})[side] = found
      print(f"{step} {side}: {found['seconds']:.1f} s", flush=True)
  print(describe(results))
  if options.json:
    options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
  main()
