"""The whole study from one call: raw files in, the paper's tables out.

    raw -> data -> vocabulary -> probes -> baselines -> rows -> report

Everything lies in one folder:

    OUT/study.json    the settings that define the study
    OUT/stages/       what each stage was given, what came out and its files
    OUT/raw/          the sample corpus, if that is the corpus
    OUT/data/         the TFDS data sets
    OUT/vocabulary/   the vocabulary, if the preset trains one
    OUT/baselines/    a run folder for each baseline that is no T5
    OUT/rows/NAME/    a run folder per row of Table 3, with log.txt
    OUT/report/       report.md, report.html, report.json, plots
"""

import dataclasses
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

from t5cr import errors, progress, quiet, terminal
from t5cr.study import disk, opening, rows, stages, variants
from t5cr.study import settings as settings_lib
from t5cr.study.baselines import options as baseline_options

_REPORT_ENDS = ("json", "md", "html")


def reproduce(
  settings: settings_lib.Settings,
  *,
  jobs: int | None,
  reporter: progress.Reporter,
) -> pathlib.Path:
  """Runs the study, or what is left of it.

  Args:
    settings: what to study.
    jobs: rows to run at once; by default one on an accelerator, else two.
    reporter: where progress is shown.

  Returns:
    The folder of the report.

  Raises:
    UsageError: settings that cannot be used, or a folder that holds another
      study; nothing was changed.
    RunError: a row failed; the others that had started were let finish. Or the
      disk is full, or may not be written to.
  """
  settings_lib.check(settings)
  settings = dataclasses.replace(settings, out=settings.out.resolve())
  started = time.monotonic()
  with (
    disk.explained(settings.out),
    opening.open_study(settings.out, settings.defining(), reporter) as study,
  ):
    raw_dir = _raw(study, settings)
    data = _data(study, settings, raw_dir)
    vocabulary = _vocabulary(study, settings, data)
    probes = _probes(study, settings, data)
    _baselines(study, data, probes)
    made = rows.Made(data=data, vocabulary=vocabulary, probes=probes)
    ran = rows.run(study, settings, made, jobs)
    wrote = _report(study)
  report_dir = settings.out / "report"
  if ran or wrote:
    spent = progress.duration(time.monotonic() - started)
    reporter.say(f"The report is in {report_dir} ({spent} in all).")
  else:
    reporter.say(
      f"Nothing to do: the study in {settings.out} is complete and its inputs "
      f"have not changed. The report is in {report_dir}."
    )
  return report_dir


def _raw(study: stages.Study, settings: settings_lib.Settings) -> pathlib.Path:
  """Writes the sample corpus, where that is the corpus."""
  if settings.corpus != settings_lib.SAMPLE:
    return pathlib.Path(settings.corpus)
  raw_dir = study.out / "raw"
  generator = pathlib.Path(__file__).parents[2] / "t5cr_tasks" / "sample.py"
  prints = stages.files_fingerprint({"generator": generator}, None)
  inputs = {"generator": prints["generator"]["sha256"]}

  def write() -> Any:
    quiet.import_tensorflow()
    from t5cr_tasks import sample

    # What a run that was killed has left, or another version.
    shutil.rmtree(raw_dir, ignore_errors=True)
    return sample.write_corpus(raw_dir)

  written = [raw_dir / name for name in settings_lib.PUBLISHED_FILES]
  study.stage("raw", inputs, lambda _: [written], write)
  return raw_dir


def _data(
  study: stages.Study, settings: settings_lib.Settings, raw_dir: pathlib.Path
) -> dict[str, Any]:
  """Builds the TFDS data sets; their names -> {status, counts, ...}."""
  data_dir = study.out / "data"
  known = study.known_files("raw")
  prints = stages.files_fingerprint(settings_lib.raw_files(raw_dir), known)
  inputs = {name: entry["sha256"] for name, entry in prints.items()}
  inputs["max_bad_lines"] = settings.max_bad_lines

  def build() -> Any:
    quiet.import_tensorflow()
    from t5cr_tasks.datasets import build as datasets

    built = datasets.build(
      raw_dir,
      data_dir,
      max_bad_lines=settings.max_bad_lines,
      progress=study.reporter,
    )
    study.reporter.say(terminal.text(datasets.summary(built)))
    return built

  # Before what is not as it was is taken for damaged.
  settings_lib.check_standing(data_dir, study.result("data") or {})
  result = study.stage("data", inputs, _sets_in(data_dir), build)
  if prints != known:
    stages.write_json(study.record_path("files/raw"), prints)
  return result


def _sets_in(
  folder: pathlib.Path,
) -> Callable[[Mapping[str, Any]], stages.Outputs]:
  """The folders of the sets that a build reports to have made."""
  return lambda built: [
    [folder / name]
    for name, entry in built.items()
    if settings_lib.is_built(entry)
  ]


def _vocabulary(
  study: stages.Study, settings: settings_lib.Settings, data: Mapping[str, Any]
) -> rows.Vocabulary | None:
  """Trains the vocabulary; None where the preset uses T5's public one."""
  size = variants.PRESETS[settings.preset].vocabulary_size
  if size is None:
    return None
  path = study.out / "vocabulary" / "sentencepiece.model"

  def train() -> Any:
    quiet.import_tensorflow()
    from t5cr_tasks import vocabulary

    ids = vocabulary.train(
      study.out / "data", path, size, progress=study.reporter
    )
    prints = stages.files_fingerprint({"model": path}, None)
    return {"ids": ids, "sha256": prints["model"]["sha256"]}

  inputs = {"size": size, "data": settings_lib.fingerprints(data)}
  result = study.stage("vocabulary", inputs, lambda _: [[path]], train)
  return rows.Vocabulary(path, result["sha256"])


def _probes(
  study: stages.Study, settings: settings_lib.Settings, data: Mapping[str, Any]
) -> dict[str, Any]:
  """Builds the probe sets; probe -> {status, counts, fingerprint, leak}."""
  if not settings_lib.is_built(data[variants.SEQUENCES]):
    study.reporter.say(
      "No probes are built: they ask about movies of the MovieLens sequences, "
      f"and the corpus has no {variants.RAW_SOURCES[variants.SEQUENCES]}."
    )
    return {}
  preset = variants.PRESETS[settings.preset]
  options = {
    "min_count": preset.probe_min_count,
    "related": preset.probe_related,
    "max_probes": preset.max_probes,
    "phrased_probes": preset.phrased_probes,
  }

  def build() -> Any:
    quiet.import_tensorflow()
    from t5cr_tasks import errors as data_errors
    from t5cr_tasks.probes import build as probes

    try:
      return probes.build(
        study.out / "data", progress=study.reporter, **options
      )
    except data_errors.DataError as error:
      why, too_few, _ = str(error).partition(" Lower min_count")
      if not too_few:
        raise
      # The preset sets it.
      least = min(
        variants.PRESETS.values(), key=lambda each: each.probe_min_count
      )
      raise errors.UsageError(
        f"{why} Give a corpus with more ratings of the same movies, or none in "
        "movielens/, which leaves the probes out; or, in a new --out, "
        f"--preset {least.name}, which asks for over {least.probe_min_count}."
      ) from error

  inputs = {"data": settings_lib.fingerprints(data), **options}
  folder = study.out / "data" / "t5cr_probes"
  settings_lib.check_standing(folder, study.result("probes") or {})
  return study.stage("probes", inputs, _sets_in(folder), build)


def _baselines(
  study: stages.Study, data: Mapping[str, Any], probes: Mapping[str, Any]
) -> None:
  """Measures the baselines that the data sets allow."""
  options = baseline_options.Options()
  inputs = {
    "data": settings_lib.fingerprints(data),
    "probes": settings_lib.fingerprints(probes),
    "options": dataclasses.asdict(options),
    "versions": baseline_options.versions(),
  }
  before = study.record("baselines")
  if before is not None and before["inputs"] != inputs:
    # No row depends on them, so that other options are no other study.
    study.record_path("baselines").unlink()

  def measure() -> Any:
    quiet.import_tensorflow()
    from t5cr.study.baselines import build as baselines

    results = baselines.run(
      study.out / "data",
      study.out / "baselines",
      options=options,
      progress=study.reporter,
    )
    for name, status in results.items():
      if status.startswith("skipped: "):
        why = status.removeprefix("skipped: ")
        study.reporter.say(f"Baseline {name!r} is left out: {why}.")
    return results

  def made(results: Mapping[str, str]) -> stages.Outputs:
    return [
      [study.out / "baselines" / name]
      for name, status in results.items()
      if not status.startswith("skipped")
    ]

  study.stage("baselines", inputs, made, measure)


def _report(study: stages.Study) -> bool:
  """Writes the report, unless it stands; whether it was written."""
  results = {
    str(path.relative_to(study.out)): path
    for pattern in (
      "rows/*/inference_eval/*.jsonl",
      "rows/*/run.json",
      "baselines/*/inference_eval/*.jsonl",
      "baselines/*/run.json",
      "stages/*.json",
    )
    for path in study.out.glob(pattern)
  }
  known = study.known_files("results")
  prints = stages.files_fingerprint(results, known)
  files = [study.out / "report" / f"report.{end}" for end in _REPORT_ENDS]
  if prints == known and all(path.exists() for path in files):
    if stages.is_whole(study.out, "report"):
      return False
  quiet.import_tensorflow()
  from t5cr.study import report, summary

  study.reporter.say("== report")
  written = report.write(study.out, progress=study.reporter)
  study.reporter.say(summary.text(written))
  stages.write_json(study.record_path("files/results"), prints)
  return True
