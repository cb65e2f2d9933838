"""Runs the rows of Table 3, each as `t5cr train` in a process of its own."""

import contextlib
import dataclasses
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from t5cr import errors, progress
from t5cr.study import children, settings, stages, variants

# The part of a row's time that is training, for the overall time left.
_TRAINING_SHARE = 0.85
_METRICS = "-metrics.jsonl"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """A vocabulary that was trained on the corpus."""

  path: pathlib.Path
  sha256: str


@dataclasses.dataclass(frozen=True)
class Made:
  """What the stages before the rows have made.

  Attributes:
    data: TFDS data set -> {"status", "counts", "fingerprint"}.
    vocabulary: None for T5's public one.
    probes: probe -> {"status", "counts", "fingerprint", "leak"}.
  """

  data: Mapping[str, Any]
  vocabulary: Vocabulary | None
  probes: Mapping[str, Any]


def part(
  names: Sequence[str], data: Mapping[str, Any]
) -> tuple[list[str], dict[str, str]]:
  """Parts the rows asked for by whether their data sets are there.

  Args:
    names: of rows.
    data: TFDS data set -> its record.

  Returns:
    (rows that can run, {row that cannot: why}), in the order of Table 3.
  """
  can, cannot = [], {}
  for name in (name for name in variants.ROWS if name in names):
    missing = [
      need
      for need in variants.ROWS[name].needs
      if need not in data or not settings.is_built(data[need])
    ]
    if missing:
      sources = " and ".join(variants.RAW_SOURCES[need] for need in missing)
      cannot[name] = f"the corpus has no {sources}"
    else:
      can.append(name)
  return can, cannot


def gin_files(chosen: settings.Settings, row: variants.Row) -> tuple[str, ...]:
  """The gin files of a row, relative to those that ship with the project."""
  recipe = variants.PRESETS[chosen.preset].recipe
  return "t5cr/finetune.gin", recipe, f"recipe/rows/{row.name}.gin"


def inputs(
  chosen: settings.Settings, row: variants.Row, made: Made
) -> dict[str, Any]:
  """All that a row's result depends on, as JSON values."""
  from t5cr.engine import gin_config

  known = settings.fingerprints(made.data)
  root = gin_config.gin_root()
  read = stages.files_fingerprint(
    {name: root / name for name in gin_files(chosen, row)}, None
  )
  return {
    "data": {name: known[name] for name in row.needs},
    "probes": settings.fingerprints(made.probes),
    "vocabulary": made.vocabulary.sha256 if made.vocabulary else None,
    "gin": {name: entry["sha256"] for name, entry in read.items()},
    "seed": chosen.seed,
    "steps": chosen.steps,
  }


def eval_tasks(made: Made) -> list[str]:
  """The tasks that every row is evaluated on."""
  return [variants.DIALOGUE_TASK] + [
    variants.PROBE_TASK_PREFIX + name
    for name, entry in made.probes.items()
    if settings.is_built(entry)
  ]


def job(
  out: pathlib.Path, chosen: settings.Settings, row: variants.Row, made: Made
) -> children.Job:
  """The command that trains and evaluates a row."""
  run_dir = out / "rows" / row.name
  macros = {
    "MODEL_DIR": str(run_dir),
    "EVAL_TASKS": eval_tasks(made),
    "SEED": chosen.seed,
  }
  if chosen.steps is not None and row.mixture is not None:
    macros["TRAIN_STEPS"] = chosen.steps
  command = (
    *(sys.executable, "-m", "t5cr.cli", "train"),
    *(f"--gin_file={name}" for name in gin_files(chosen, row)),
    *(f"--gin.{name}={value!r}" for name, value in macros.items()),
    f"--tfds_data_dir={out / 'data'}",
  )
  environment = {
    # So that a source tree that is not installed runs too.
    "PYTHONPATH": str(pathlib.Path(__file__).parents[2]),
  }
  if made.vocabulary:
    environment["T5CR_VOCABULARY"] = str(made.vocabulary.path)
  return children.Job(row.name, command, run_dir / "log.txt", environment)


def run(
  study: stages.Study,
  chosen: settings.Settings,
  made: Made,
  slots: int | None,
) -> bool:
  """Runs the rows that do not stand yet.

  Args:
    study: the study's folder.
    chosen: the study's settings.
    made: what the stages before have made.
    slots: rows to run at once, or None to choose.

  Returns:
    Whether there was any row to run.

  Raises:
    UsageError: a row was trained with other inputs.
    RunError: a row failed.
  """
  names, cannot = part(chosen.rows, made.data)
  for name, why in cannot.items():
    study.reporter.say(f"Row {name!r} is left out: {why}.")
  if not names:
    raise errors.UsageError(
      f"--corpus {chosen.corpus}: none of the rows {', '.join(cannot)} can be "
      "trained on it, for what it lacks. Add those raw files and use a new "
      "--out, or ask for other --rows."
    )
  waiting = {}
  for name in names:
    row = variants.ROWS[name]
    run_dir = study.out / "rows" / name
    results = run_dir / "inference_eval"
    expected = [[results / f"{variants.DIALOGUE_TASK}{_METRICS}"]]
    if study.stands(f"row_{name}", inputs(chosen, row, made), expected):
      _check_about(run_dir)
    else:
      waiting[name] = job(study.out, chosen, row, made)
  if not waiting:
    return False
  slots = slots or children.default_jobs()
  study.reporter.say(
    f"== rows: {', '.join(waiting)}; {slots} at a time, logs in "
    f"{study.out / 'rows'}/*/log.txt"
  )
  queue = order(waiting)
  known = {n: inputs(chosen, variants.ROWS[n], made) for n in waiting}
  # Closing ends the rows that run, whatever ends the loop over the events.
  with contextlib.closing(
    children.run(queue, slots, study.lock_file)
  ) as events:
    overall = _Overall(list(known), len(eval_tasks(made)), study.reporter)
    failed = _run(study, events, known, overall)
  if failed:
    raise children.failure(failed[0])
  return True


def _check_about(run_dir: pathlib.Path) -> None:
  """Raises UsageError if the folder of a row does not tell whose it is."""
  about = run_dir / "run.json"
  if not stages.is_json(about):
    raise errors.UsageError(
      f"{about} is gone or damaged, "
      "so that nothing tells what the row was trained on. "
      f"Move {run_dir} away and run the same command again: that row is "
      "trained anew, all else is kept."
    )


def _results(run_dir: pathlib.Path) -> stages.Outputs:
  """The results of each task: its metrics, and the outputs that they are of."""
  folder = run_dir / "inference_eval"
  return [
    [path, *sorted(folder.glob(f"{path.name.removesuffix(_METRICS)}-[0-9]*"))]
    for path in sorted(folder.glob(f"*{_METRICS}"))
  ]


def _run(
  study: stages.Study,
  events: Iterator[children.Event],
  known: Mapping[str, Mapping[str, Any]],
  overall: "_Overall",
) -> list[children.Outcome]:
  """Records how rows begin and end; those that fail are returned."""
  begun: dict[str, float] = {}
  failed = []
  try:
    for event in events:
      name = event.job.name
      overall.take(event)
      if isinstance(event, children.Started):
        study.begin(f"row_{name}", known[name])
        begun[name] = time.monotonic()
      elif isinstance(event, children.Outcome):
        del begun[name]
        if event.status == 0:
          made = _results(study.out / "rows" / name)
          stages.note_outputs(study.out, f"row_{name}", made)
          study.finish(f"row_{name}", {}, event.seconds)
        else:
          study.pause(f"row_{name}", event.seconds)
          failed.append(event)
  finally:
    for name, started in begun.items():
      study.pause(f"row_{name}", time.monotonic() - started)
  return failed


def order(waiting: Mapping[str, children.Job]) -> list[children.Job]:
  """The jobs, those that train first: the untrained row fills a gap."""
  return sorted(
    waiting.values(), key=lambda job: variants.ROWS[job.name].mixture is None
  )


class _Overall:
  """The rows' bars, one a row, and a bar for all of them."""

  def __init__(
    self, names: Sequence[str], tasks: int, reporter: progress.Reporter
  ):
    """Shows nothing yet.

    Args:
      names: of the rows.
      tasks: how many tasks each is evaluated on.
      reporter: where to show it.
    """
    self._reporter = reporter
    self._tasks = tasks
    self._trained = dict.fromkeys(names, 0.0)
    self._evaluated: dict[str, set[str]] = {name: set() for name in names}
    self._ended: set[str] = set()
    self._bars: dict[str, str] = {}

  def take(self, event: children.Event) -> None:
    """Shows what happened."""
    if isinstance(event, children.Progressed):
      self._progressed(event)
    elif isinstance(event, children.Outcome):
      self._end(event)
    self._reporter("all rows", int(100 * self._share()), 100, "%")

  def _progressed(self, event: children.Progressed) -> None:
    name, bar = event.job.name, f"{event.job.name} · {event.stage}"
    if self._bars.get(name, bar) != bar:
      self._reporter.drop(self._bars[name])
    self._bars[name] = bar
    self._reporter(bar, event.done, event.total, event.unit)
    if event.total is None:
      return
    if event.stage == "train":
      self._trained[name] = event.done / max(event.total, 1)
    elif event.done >= event.total:
      self._evaluated[name].add(event.stage)

  def _end(self, outcome: children.Outcome) -> None:
    name, spent = outcome.job.name, progress.duration(outcome.seconds)
    self._reporter.drop(self._bars.pop(name, ""))
    if outcome.status == 0:
      self._ended.add(name)
      self._reporter.say(f"✓ row {name}: {spent}")
    else:
      self._reporter.say(
        f"✗ row {name} failed after {spent}; see {outcome.job.log}"
      )

  def _share(self) -> float:
    """The part of all rows that is done, from 0 to 1."""
    done, whole = 0.0, 0.0
    for name, trained in self._trained.items():
      is_trained = variants.ROWS[name].mixture is not None
      training = _TRAINING_SHARE if is_trained else 0.0
      evaluated = len(self._evaluated[name]) / self._tasks
      share = training * trained + (1 - _TRAINING_SHARE) * min(evaluated, 1.0)
      of_row = training + 1 - _TRAINING_SHARE
      done += of_row if name in self._ended else share
      whole += of_row
    return done / whole
