"""The report of a study, or of one run: JSON, Markdown, HTML and plots.

`report.json` is what other tools read; the pages say the same in words.
"""

import datetime
import importlib.metadata
import itertools
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import t5cr
from t5cr import errors
from t5cr.progress import Progress
from t5cr.study import (
  against,
  against_page,
  collect,
  links,
  page,
  plots,
  plots_probes,
  probes,
  report_folders,
  rows,
  settings,
  sources,
  stages,
  statistics,
  variants,
  web,
)
from t5cr.study.baselines import folder

_PACKAGES = (
  "flax",
  "jax",
  "numpy",
  "optax",
  "orbax-checkpoint",
  "sacrebleu",
  "seqio",
  "tensorflow",
)


def write(
  path: pathlib.Path,
  *,
  other: pathlib.Path | None = None,
  progress: Progress | None = None,
) -> dict[str, Any]:
  """Writes the report of a study or of a run into its folder.

  Args:
    path: a folder that `t5cr reproduce` made, or a run folder.
    other: where a report is that it is compared with.
    progress: told of what is estimated.

  Returns:
    What report.json holds.

  Raises:
    UsageError: the folder holds nothing that was evaluated, or `other` no
      report.
  """
  folder = report_folders.own_folder(path)
  return write_several([sources.Source(path)], folder, other, progress)


def write_several(
  given: Sequence[sources.Source],
  directory: pathlib.Path,
  other: pathlib.Path | None = None,
  progress: Progress | None = None,
) -> dict[str, Any]:
  """Writes one report of several folders.

  Args:
    given: the folders; one of them may be a study.
    directory: where the report goes.
    other: where a report is that it is compared with.
    progress: told of what is estimated.

  Returns:
    What report.json holds.

  Raises:
    UsageError: a folder holds nothing that was evaluated, rows have the same
      name or are of different data, or `other` holds no report.
  """
  own = [each for each in given if report_folders.is_own(each, directory)]
  for source in own:
    links.check(source.path, ("stages", "report"))
  # Before it is written over, and before time is spent.
  there = against.read(other) if other else None
  report = of(given, progress)
  comparison = ""
  if there:
    report["against"] = against.compare(report, there, str(other))
    comparison = against_page.markdown(report["against"])
  figures = plots.write(report, directory)
  figures |= plots_probes.write(report, directory)
  stages.write_json(directory / "timing.json", timing(given))
  stages.write_json(directory / "report.json", report)
  markdown = page.markdown(report, figures, comparison)
  stages.write_text(directory / "report.md", markdown)
  stages.write_text(
    directory / "report.html", web.render(markdown, report, directory)
  )
  for source in own:
    stages.note_outputs(source.path, "report", [[source.path / "report"]])
  return report


def of(
  given: Sequence[sources.Source], progress: Progress | None = None
) -> dict[str, Any]:
  """The report of studies' and runs' folders, as JSON values."""
  studies = [source.path for source in given if source.is_study]
  if len(studies) > 1:
    raise errors.UsageError(
      f"{studies[0]} and {studies[1]} are both studies; a report is of one. "
      f"Compare them: `t5cr report {studies[0]} --against {studies[1]}`."
    )
  runs = []
  for source in given:
    if source.is_study:
      runs += report_folders.runs_of_study(source.path)
    else:
      runs.append(collect.read_run(source.path, source.name))
  sources.check_names(runs)
  if studies:
    import seqio

    # The check of titles reads the catalogue that this study built.
    seqio.set_tfds_data_dir_override(str(studies[0] / "data"))
  estimated = []
  for run in runs:
    with report_folders.read_as_results(run.directory):
      estimated.append(_estimate(run, progress))
  sources.check_same_data([row for row, _ in estimated], runs)
  models = [row["engine"] != folder.ENGINE for row, _ in estimated]
  report = _frame(
    list(itertools.compress(estimated, models)),
    list(itertools.compress(runs, models)),
  )
  report["baselines"] = [
    row for row, _ in estimated if row["engine"] == folder.ENGINE
  ]
  if studies:
    _add_study(report, studies[0])
  else:
    known = [row["data"] for row, _ in estimated if row["data"]]
    merged = {name: value for data in known for name, value in data.items()}
    report["data"]["fingerprint"] = merged or None
  return report


def _add_study(report: dict[str, Any], out: pathlib.Path) -> None:
  """Adds what a study's folder holds beside its rows."""
  chosen = stages.read_json(out / "study.json")["settings"]
  records = report_folders.records(out)
  data = records["data"]["result"]
  probe_sets = records.get("probes", {}).get("result", {})
  _, missing = rows.part(tuple(variants.ROWS), data)
  done = {row["name"] for row in report["rows"]}
  report["corpus"] = {
    "name": chosen["corpus"],
    "invented": chosen["corpus"] == settings.SAMPLE,
  }
  report["settings"] = chosen
  report["omitted"] = [
    {
      "name": name,
      "label": row.label,
      "reason": missing.get(name, "it was not asked for, or is not done yet"),
    }
    for name, row in variants.ROWS.items()
    if name not in done
  ]
  report["data"] = {
    "fingerprint": settings.fingerprints(data),
    "sources": {
      name: digest
      for name, digest in sorted(records["data"]["inputs"].items())
      if name != "max_bad_lines"
    },
    "sets": data,
    "probes": probe_sets,
    "vocabulary": records.get("vocabulary", {}).get("inputs", {}).get("size"),
  }


def _frame(
  estimated: Sequence[tuple[dict[str, Any], Mapping[str, probes.Measured]]],
  runs: Sequence[collect.Run],
) -> dict[str, Any]:
  """What a study's and a run's report have in common."""
  _add_changes(estimated)
  return {
    "schema": against.SCHEMA,
    "version": t5cr.__version__,
    "corpus": {"name": None, "invented": False},
    "settings": {},
    "rows": [row for row, _ in estimated],
    "paired": probes.paired({row["name"]: scores for row, scores in estimated}),
    "omitted": [],
    "paper": paper(),
    "data": {"fingerprint": None, "sources": None, "sets": {}, "probes": {}},
    "replies": _replies(runs),
    "environment": environment(),
  }


def timing(given: Sequence[sources.Source]) -> dict[str, Any]:
  """When the report was made and what its runs cost.

  That is a file of its own, so that the same inputs give the same report.

  Args:
    given: the folders that the report is of.

  Returns:
    {"created": UTC time, "seconds": stage of the study -> seconds, or folder
    -> {"train", "evaluate", …: seconds} of a run}.
  """
  spent: dict[str, Any] = {}
  for source in given:
    if source.is_study:
      found = report_folders.records(source.path).items()
      spent |= {k: v["seconds"] for k, v in found if "seconds" in v}
    else:
      about = stages.read_object(source.path / "run.json")
      spent[str(source.path)] = about.get("seconds", {})
  now = datetime.datetime.now(datetime.UTC)
  return {"created": now.isoformat(timespec="seconds"), "seconds": spent}


def paper() -> dict[str, Any]:
  """The paper's Tables 2 and 3, as JSON values."""
  return {
    "table2": [
      {
        "model": row.model,
        "kind": row.kind,
        "bleu": row.bleu,
        "recall": row.recall,
      }
      for row in variants.TABLE_2
    ],
    "table3": {name: dict(row.paper) for name, row in variants.ROWS.items()},
    "recommendation_sequence": {
      "all": variants.PAPER_SEQUENCE_PROBE,
      "matrix_factorization": variants.PAPER_MATRIX_FACTORIZATION,
    },
  }


def environment() -> dict[str, Any]:
  """The machine and the versions of the libraries."""
  versions = {}
  for package in _PACKAGES:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  return {
    "system": platform.platform(),
    "processor": _processor(),
    "cores": os.cpu_count(),
    "python": platform.python_version(),
    "packages": versions,
  }


def _processor() -> str:
  """The processor's name, where Linux tells it."""
  info = pathlib.Path("/proc/cpuinfo")
  if info.exists():
    for line in info.read_text(errors="replace").splitlines():
      if line.startswith("model name"):
        return line.partition(":")[2].strip()
  return platform.processor() or platform.machine()


def _as_json(measured: collect.Measured) -> dict[str, Any]:
  estimate = measured.estimate
  entry: dict[str, Any] = {
    "value": round(measured.value, 6),
    "low": round(estimate.low, 6) if estimate else None,
    "high": round(estimate.high, 6) if estimate else None,
    "count": measured.count,
    "counted": measured.unit,
  }
  if estimate:
    entry["clusters"] = estimate.clusters
  if measured.ties is not None:
    entry["ties"] = measured.ties
  return entry


def _about(run: collect.Run) -> dict[str, Any]:
  """What the report keeps of run.json."""
  if not run.about:
    return {}
  kept = {
    key: run.about[key]
    for key in ("parameters", "seed", "versions", "machine")
    if key in run.about
  }
  if not isinstance(kept.get("parameters", 0), int):
    del kept["parameters"]
  start = run.about.get("settings", {}).get("initial_checkpoint_path")
  return kept | {"pretrained": start is not None}


def _estimate(
  run: collect.Run, progress: Progress | None
) -> tuple[dict[str, Any], dict[str, probes.Measured]]:
  """A row of the report, and its probe scores with their resamples."""
  metrics = collect.dialogue_metrics(run, progress)
  measured = probes.scores(run)
  row = variants.ROWS.get(run.name)
  entry = {
    "name": run.name,
    "label": run.label,
    "mixture": row.mixture if row else None,
    "engine": sources.engine(run),
    "steps": run.step,
    "metrics": {name: _as_json(value) for name, value in metrics.items()},
    "probes": {
      name: _as_json(value) | value.sides for name, value in measured.items()
    },
    "phrasings": probes.phrasings(run),
    "transfer": probes.transfer(measured),
    "data": sources.data(run),
    "examples": sources.examples(run),
    "run": _about(run),
  }
  return entry, measured


def _add_changes(
  estimated: Sequence[tuple[dict[str, Any], Mapping[str, probes.Measured]]],
) -> None:
  """Adds each probe score's change against the row without extra tasks."""
  base = next(
    (scores for row, scores in estimated if row["name"] == variants.BASELINE),
    {},
  )
  for row, scores in estimated:
    if row["name"] == variants.BASELINE:
      continue
    for name, measured in scores.items():
      before = base.get(name)
      if before is None or before.estimate is None or not measured.estimate:
        continue
      change = statistics.relative_change(measured.estimate, before.estimate)
      if change is not None:
        values = (round(value, 6) for value in change)
        row["probes"][name]["change"] = dict(
          zip(("value", "low", "high"), values, strict=True)
        )


def _replies(runs: Sequence[collect.Run]) -> list[dict[str, Any]]:
  """The same few turns as each row answers them."""
  if not runs:
    return []
  chosen = collect.replies(runs[-1])
  wanted = [(turn["dialogue_id"], turn["turn"]) for turn in chosen]
  for turn in chosen:
    turn["replies"] = {}
    del turn["reply"]
  for run in runs:
    found = collect.replies(run, wanted)
    by_turn = {(r["dialogue_id"], r["turn"]): r["reply"] for r in found}
    for turn, key in zip(chosen, wanted, strict=True):
      if key in by_turn:
        turn["replies"][run.name] = by_turn[key]
  return chosen
