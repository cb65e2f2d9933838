"""`t5cr reproduce`, `t5cr report` and `t5cr doctor`."""

import contextlib
import pathlib
import signal
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from t5cr import errors, progress, quiet, terminal
from t5cr.commands import options
from t5cr.study.baselines import options as baseline_options

_BASELINES = baseline_options.Options()


def reproduce(
  corpus: Annotated[
    str, typer.Option(help="'sample', or a folder of raw files.")
  ] = "sample",
  out: Annotated[
    pathlib.Path | None,
    typer.Option(help="The study's folder; runs/<name of the corpus>."),
  ] = None,
  preset: Annotated[
    str | None,
    typer.Option(help="sample, small or paper; chosen by the corpus."),
  ] = None,
  rows: Annotated[
    str | None,
    typer.Option(help="Rows of Table 3, comma-separated; all by default."),
  ] = None,
  quick: Annotated[
    bool, typer.Option("--quick", help="Only the rows redial and all.")
  ] = False,
  jobs: Annotated[
    int | None, typer.Option(help="Rows at a time; chosen by the machine.")
  ] = None,
  seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
  steps: Annotated[
    int | None, typer.Option(help="Finetuning steps; the preset's.")
  ] = None,
  max_bad_lines: options.MaxBadLines = 0,
) -> None:
  """Run the whole study: raw files in, the paper's tables out.

  Run the same command again to go on where it stopped.
  """
  from t5cr.study import reproduce as study
  from t5cr.study import settings, variants

  if quick and rows:
    raise errors.UsageError("--quick and --rows exclude each other: drop one.")
  if jobs is not None and jobs < 1:
    raise errors.UsageError(f"--jobs {jobs} is not above 0.")
  chosen = tuple(variants.QUICK_ROWS if quick else variants.ROWS)
  if rows:
    chosen = tuple(name.strip() for name in rows.split(","))
  is_sample = corpus == settings.SAMPLE
  reporter = _Ending()
  with reporter, reporter.on_signals():
    study.reproduce(
      settings.Settings(
        corpus=corpus,
        out=out or pathlib.Path("runs", pathlib.Path(corpus).resolve().name),
        preset=preset or ("sample" if is_sample else "small"),
        rows=chosen,
        seed=seed,
        steps=steps,
        max_bad_lines=max_bad_lines,
      ),
      jobs=jobs,
      reporter=reporter,
    )


class _Ending(progress.Reporter):
  """A reporter of work that signals end in order: the rows first.

  Python raises what a signal asks for wherever it is; in a callback of a
  library that is lost. The next report of progress raises it again.
  """

  _asked: BaseException | None = None

  def __call__(self, *given: Any) -> None:
    """Reports progress, unless the process was asked to end."""
    self._check()
    super().__call__(*given)

  def say(self, message: str) -> None:
    """Prints a line, unless the process was asked to end."""
    self._check()
    super().say(message)

  def _check(self) -> None:
    if self._asked is not None:
      raise self._asked

  @contextlib.contextmanager
  def on_signals(self) -> Iterator[None]:
    """Takes Ctrl-C, SIGTERM and SIGHUP while a block runs."""
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
      # `nohup` has one ignored.
      if signal.getsignal(number) is not signal.SIG_IGN:
        before[number] = signal.signal(number, self._end)
    try:
      yield
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)

  def _end(self, number: int, frame: Any) -> None:
    del frame
    self._asked = errors.Stopped(
      f"{signal.Signals(number).name} ended the study. What is done is kept: "
      "the same command goes on from here."
    )
    if number == signal.SIGINT:
      self._asked = KeyboardInterrupt()
    raise self._asked


def report(
  folders: Annotated[
    list[str],
    typer.Argument(
      metavar="[NAME=]FOLDER...",
      help="A study's folder, run folders, or results of `eval` and `infer`; "
      "of t5x too. NAME names the row.",
    ),
  ],
  out: Annotated[
    pathlib.Path | None,
    typer.Option(help="Where the report goes; FOLDER/report, if it is one."),
  ] = None,
  against: Annotated[
    pathlib.Path | None,
    typer.Option(help="Compare with the report of this folder."),
  ] = None,
  check: Annotated[
    bool,
    typer.Option("--check", help="Check the claims; exit 1 if one fails."),
  ] = False,
) -> None:
  """Write the report of a study or of runs: Markdown, HTML, JSON, plots.

  With --against, compare it with another report. Where FOLDER is a report that
  is written, only that is done.
  """
  from t5cr.study import against as comparisons
  from t5cr.study import against_page, claims, sources

  first = pathlib.Path(folders[0])
  if against and len(folders) == 1 and comparisons.is_report(first):
    if out:
      raise errors.UsageError(
        f"{first} is a report that is written: drop --out, or give the folder "
        "that it was made of."
      )
    written = comparisons.read(first)
    other = comparisons.read(against)
    written["against"] = comparisons.compare(written, other, str(against))
  else:
    given = [sources.parse(folder) for folder in folders]
    written = _write_report(given, out, against)
  if against:
    against_page.show(written["against"])
  if check:
    checked = claims.check(written)
    for claim in checked:
      mark = {True: "met", False: "NOT met", None: "-"}[claim.met]
      terminal.say(f"{mark:7}  {claim.text}: {claim.detail}")
    if any(claim.met is False for claim in checked):
      raise typer.Exit(1)


def _write_report(given, out, against):
  """Writes a report and prints it in brief."""
  quiet.import_tensorflow()
  from t5cr.study import report as reports
  from t5cr.study import report_folders, summary

  if out is None:
    if len(given) > 1:
      raise errors.UsageError(
        f"{len(given)} folders were given: say where their report goes, with "
        "--out."
      )
    out = report_folders.own_folder(given[0].path)
  with progress.Reporter() as reporter:
    written = reports.write_several(given, out, against, reporter)
  terminal.show(summary.overview(written))
  terminal.say(f"The report is in {out}.")
  return written


def baselines(
  tfds_data_dir: options.DataDir,
  out: Annotated[
    pathlib.Path, typer.Option(help="Gets a run folder for each: OUT/NAME.")
  ],
  only: Annotated[
    list[str] | None,
    typer.Option(help="Only this baseline; repeat for several."),
  ] = None,
  seed: Annotated[int, typer.Option(help="Of ALS and BPR.")] = _BASELINES.seed,
  factors: Annotated[
    int, typer.Option(help="Of ALS and BPR.")
  ] = _BASELINES.factors,
  als_regularization: Annotated[
    float, typer.Option("--als_regularization")
  ] = _BASELINES.als_regularization,
  als_alpha: Annotated[
    float, typer.Option("--als_alpha", help="Confidence in a liked movie.")
  ] = _BASELINES.als_alpha,
  als_iterations: Annotated[
    int, typer.Option("--als_iterations")
  ] = _BASELINES.als_iterations,
  bpr_regularization: Annotated[
    float, typer.Option("--bpr_regularization")
  ] = _BASELINES.bpr_regularization,
  bpr_learning_rate: Annotated[
    float, typer.Option("--bpr_learning_rate")
  ] = _BASELINES.bpr_learning_rate,
  bpr_iterations: Annotated[
    int, typer.Option("--bpr_iterations")
  ] = _BASELINES.bpr_iterations,
  bm25_k1: Annotated[
    float, typer.Option("--bm25_k1", help="Of the retrieval.")
  ] = _BASELINES.bm25_k1,
  bm25_b: Annotated[
    float, typer.Option("--bm25_b", help="Of the retrieval.")
  ] = _BASELINES.bm25_b,
) -> None:
  """Measure baselines without a language model on the same examples.

  One that is there with the same options and data is left as it is. `t5cr
  report` takes OUT/NAME beside other runs.
  """
  quiet.import_tensorflow()
  from t5cr.study.baselines import build

  chosen = baseline_options.Options(
    seed=seed,
    factors=factors,
    als_regularization=als_regularization,
    als_alpha=als_alpha,
    als_iterations=als_iterations,
    bpr_regularization=bpr_regularization,
    bpr_learning_rate=bpr_learning_rate,
    bpr_iterations=bpr_iterations,
    bm25_k1=bm25_k1,
    bm25_b=bm25_b,
  )
  with progress.Reporter() as reporter:
    results = build.run(
      tfds_data_dir, out, options=chosen, only=only, progress=reporter
    )
  for name, status in results.items():
    terminal.say(f"{name}: {status}")
  if all(status.startswith("skipped") for status in results.values()):
    raise errors.UsageError(
      f"--tfds_data_dir {tfds_data_dir}: no baseline can be measured on it. "
      "Build the data sets with `t5cr data build`, the probes with `t5cr "
      "probes build`."
    )
  terminal.say(f"The run folders are in {out}.")


def doctor(tfds_data_dir: options.SomeDataDir = None) -> None:
  """Say what is installed and found, and what to do about what is missing.

  Exits with 1 if something that every run needs cannot be used.
  """
  quiet.import_tensorflow()
  from t5cr import doctor as doctors

  found = list(doctors.checks(tfds_data_dir))
  terminal.show(doctors.overview(found))
  if any(check.ok is False for check in found):
    raise typer.Exit(1)
