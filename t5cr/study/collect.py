"""Reads run folders and estimates what the report shows of them.

A run folder has the layout of t5x, whoever wrote it:

    RUN/inference_eval/TASK-metrics.jsonl    {"step": …, metric: value, …}
    RUN/inference_eval/TASK-STEP.jsonl       {"input", "target", "prediction"
                                              or "score"}, one line an example
    RUN/run.json                             of runs of `t5cr train` only

What inference writes can be read too:

    RUN/TASK-predict.jsonl-00000-of-00001    {"inputs": fields of the example,
    RUN/TASK-score.jsonl-00000-of-00001       "prediction" or "score"}

All shards have to be there. Where a task was inferred in several ways, one is
read: of a probe the first of `score`, `predict` and `predict_with_aux`, of any
other task the first of `predict`, `predict_with_aux` and `score`.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from etils import epath

from t5cr import errors, nested, terminal
from t5cr.progress import Progress
from t5cr.study import stages, statistics, variants

_METRICS = "-metrics.jsonl"
_INFERRED = re.compile(
  r"(?P<task>.+)-(?P<mode>predict|predict_with_aux|score)\.jsonl"
  r"(-(?P<shard>\d+)-of-(?P<shards>\d+))?"
)
_MODES = ("predict", "predict_with_aux", "score")
_MODES_OF_PROBES = ("score", "predict", "predict_with_aux")


@dataclasses.dataclass(frozen=True)
class Run:
  """A run folder.

  Attributes:
    name: the row's name, or the folder's.
    label: the paper's words for the row, or the folder's name.
    directory: the folder.
    files: task -> the files with its outputs, in order.
    metrics: task -> the values that its last evaluation wrote, with the step.
    about: what run.json holds; empty for runs of t5x.
  """

  name: str
  label: str
  directory: pathlib.Path
  files: Mapping[str, Sequence[pathlib.Path]]
  metrics: Mapping[str, Mapping[str, Any]]
  about: Mapping[str, Any]

  @property
  def step(self) -> int | None:
    """The last step that was evaluated, if that is known."""
    steps = [values["step"] for values in self.metrics.values()]
    return max(steps, default=None)

  def outputs(self, task: str) -> list[dict[str, Any]]:
    """A task's examples: {"context", "target", "prediction" or "score"}.

    Returns:
      [] if the run wrote none.
    """
    lines = []
    for path in self.files.get(task, ()):
      if path.exists():
        lines += map(_example, read_lines(path))
    return lines


def _example(line: dict[str, Any]) -> dict[str, Any]:
  """A line of an evaluation or of an inference, in one form."""
  fields = line.get("input", line.get("inputs", {}))
  fields = {name: _undone(value) for name, value in fields.items()}
  example = {"context": fields.get("inputs_pretokenized")}
  text = line.get("targets", fields.get("targets_pretokenized"))
  target = {**line.get("target", {**fields, "text": text})}
  tokens = fields.get("targets")
  if isinstance(tokens, list):  # token ids, with padding where t5x infers
    target.setdefault("target_tokens", sum(token != 0 for token in tokens))
  kept = {key: line[key] for key in ("prediction", "score") if key in line}
  if isinstance(kept.get("prediction"), list):  # all decodes, the best last
    kept["prediction"] = kept["prediction"][-1]
  return {**example, "target": target, **kept}


def _undone(value: Any) -> Any:
  """A field of an example before t5x's inference wrote it.

  That writes whole numbers as 3.0, and lists as long as the longest of their
  batch, filled up with empty text.
  """
  if isinstance(value, float) and value.is_integer():
    return int(value)
  if isinstance(value, list):
    return [item for item in value if item != ""]
  return value


def read_lines(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """Reads JSON lines, also from gs://.

  Raises:
    UsageError: a line is no JSON object; names the file and the line.
  """
  lines = []
  with epath.Path(path).open(encoding="utf-8") as file:
    for number, line in enumerate(file, start=1):
      try:
        value = nested.loads(line)
      except ValueError as error:
        raise errors.UsageError(
          f"{path}, line {number}, is no JSON ({error}). Evaluate the run "
          "again to write the file anew."
        ) from error
      if not isinstance(value, dict):
        raise errors.UsageError(
          f"{path}, line {number}, holds {type(value).__name__} where an "
          "object is expected. Evaluate the run again."
        )
      lines.append(value)
  return lines


def read_run(directory: pathlib.Path, name: str | None = None) -> Run:
  """Opens a run folder.

  Args:
    directory: holds `inference_eval`, or what inference wrote.
    name: of the row; by default the folder's name, and what run.json says.

  Raises:
    UsageError: nothing in it was evaluated or inferred, or shards of what was
      inferred are missing or of two inferences.
  """
  given, name = name, name or directory.resolve().name
  evaluated = directory / "inference_eval"
  metrics: dict[str, dict[str, Any]] = {}
  files: dict[str, Sequence[pathlib.Path]] = {}
  for path in sorted(evaluated.glob(f"*{_METRICS}")):
    lines = read_lines(path)
    if lines:
      task = path.name.removesuffix(_METRICS)
      errors.check_count(f"{path}: the last step", lines[-1].get("step"), 0)
      metrics[task] = lines[-1]
      files[task] = [evaluated / f"{task}-{lines[-1]['step']:06}.jsonl"]
  files |= _inferred(directory, metrics)
  if not files:
    raise errors.UsageError(
      f"{directory} holds no results; looked for {evaluated}/*{_METRICS} and "
      f"{directory}/*-score.jsonl*. Give a run folder that has been evaluated, "
      "what inference wrote, or the folder of a study."
    )
  row = variants.ROWS.get(name)
  about = stages.read_object(directory / "run.json")
  label = row.label if row else given or about.get("label", name)
  label = terminal.name(label)
  return Run(name, label, directory, files, metrics, about)


def _inferred(
  directory: pathlib.Path, evaluated: Collection[str]
) -> dict[str, list[pathlib.Path]]:
  """Task -> the shards of what was inferred, but for tasks `evaluated`."""
  found: dict[str, dict[str, list[re.Match]]] = {}
  for path in sorted(directory.glob("*.jsonl*")):
    name = _INFERRED.fullmatch(path.name)
    if name and name["task"] not in evaluated:
      modes = found.setdefault(name["task"], {})
      modes.setdefault(name["mode"], []).append(name)
  files = {}
  for task, modes in found.items():
    is_probe = task.startswith(variants.PROBE_TASK_PREFIX)
    order = _MODES_OF_PROBES if is_probe else _MODES
    mode = next(mode for mode in order if mode in modes)
    files[task] = _shards(directory, f"{task}-{mode}.jsonl", modes[mode])
  return files


def _shards(
  directory: pathlib.Path, stem: str, names: Sequence[re.Match]
) -> list[pathlib.Path]:
  """The files of one inference, all of them.

  Args:
    directory: where they are.
    stem: what their names begin with.
    names: theirs, as `_INFERRED` matches them.

  Raises:
    UsageError: some are missing, or they are of more than one inference.
  """
  # A file that is not one of several counts as shard 0 of 0.
  there = {(int(n["shards"] or 0), int(n["shard"] or 0)): n[0] for n in names}
  counts = sorted({count for count, _ in there})
  if len(counts) > 1:
    raise errors.UsageError(
      f"{directory} holds files of more than one inference of {stem}: "
      f"{', '.join(sorted(there.values()))}. Keep those of one, which all end "
      "in the same number, and remove the others."
    )
  (count,) = counts
  wanted = {
    (count, shard): f"{stem}-{shard:05}-of-{count:05}" for shard in range(count)
  }
  missing = [name for key, name in wanted.items() if key not in there]
  if missing:
    raise errors.UsageError(
      f"{directory} holds {len(there)} of the {count} shards of {stem}; there "
      f"is no {', '.join(missing)}. Infer these too (SHARD_ID), or copy them "
      "there."
    )
  return [directory / there[key] for key in wanted or there]


def field(run: Run, task: str, lines: Sequence[Mapping], name: str) -> list:
  """One field of every line."""
  try:
    return [line[name] for line in lines]
  except KeyError as error:
    raise errors.UsageError(
      f"The evaluation of {task} in {run.directory} has lines without "
      f"{name!r}. Evaluate the run again with this version's tasks."
    ) from error


@dataclasses.dataclass(frozen=True)
class Measured:
  """A statistic of a run: its interval where the outputs are there.

  Attributes:
    value: as the report shows it.
    count: what it is taken over.
    unit: of the count.
    estimate: None where only the value is known.
    ties: probes with two equal scores; None for what is no probe.
  """

  value: float
  count: int
  unit: str
  estimate: statistics.Estimate | None = None
  ties: int | None = None


def dialogue_metrics(
  run: Run, progress: Progress | None = None
) -> dict[str, Measured]:
  """The dialogue metrics of a run, resampled over dialogues.

  Args:
    run: the run.
    progress: told of each metric.

  Returns:
    metric -> measured; those that cannot be computed here are taken from what
    the run wrote, without an interval.
  """
  task = variants.DIALOGUE_TASK
  if task not in run.files:
    return {}
  from t5cr_tasks import metrics

  lines = run.outputs(task)
  written = run.metrics.get(task, {})
  measured = {}
  if lines:
    targets = field(run, task, lines, "target")
    predictions = field(run, task, lines, "prediction")
    dialogues = field(run, task, targets, "dialogue_id")
    available = metrics.available_statistics()
    for done, (name, statistic) in enumerate(available.items(), start=1):
      sums = statistic.per_example(targets, predictions)
      estimate = statistics.bootstrap(sums, dialogues, statistic.finish)
      count = int(sums[:, -1].sum())
      measured[name] = Measured(
        estimate.value, count, statistic.counted, estimate
      )
      if progress:
        progress(f"intervals of {run.name}", done, len(available), "metrics")
  for name, statistic in metrics.DIALOGUE_STATISTICS.items():
    if name not in measured and name in written:
      count = int(written.get(f"{name}_count", len(lines)))
      measured[name] = Measured(written[name], count, statistic.counted)
  return measured


def replies(
  run: Run, wanted: Sequence[tuple[str, int]] | None = None, count: int = 3
) -> list[dict[str, Any]]:
  """Some of a run's replies, with what stood before them.

  Args:
    run: the run.
    wanted: (dialogue, turn) of each; by default replies from different
      dialogues in which the human names a movie.
    count: how many, by default.

  Returns:
    [{"dialogue_id", "turn", "context", "human", "reply"}].
  """
  found, dialogues = {}, set()
  for line in run.outputs(variants.DIALOGUE_TASK):
    target = line["target"]
    key = (target["dialogue_id"], target["turn"])
    if line["context"] is None:
      continue
    if wanted is None:
      fits = "@" in target["text"] and key[0] not in dialogues
      if not fits or len(found) == count:
        continue
    elif key not in wanted:
      continue
    dialogues.add(key[0])
    found[key] = {
      "dialogue_id": key[0],
      "turn": key[1],
      "context": line["context"],
      "human": target["text"],
      "reply": line["prediction"],
    }
  return [found[key] for key in wanted or found if key in found]
