"""Which baselines there are, and all of them from one data directory."""

import dataclasses
import difflib
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from t5cr import errors
from t5cr.progress import Progress
from t5cr.study import variants
from t5cr.study.baselines import folder
from t5cr.study.baselines.options import Options, versions

_CATALOGUE = "t5cr_catalogue"


@dataclasses.dataclass(frozen=True)
class Baseline:
  """A way to answer without a language model.

  Attributes:
    name: how files and flags call it.
    label: words for it.
    tasks: the tasks that it can answer.
    needs: the TFDS data sets that it learns from.
    options: prefixes of the options that it depends on.
  """

  name: str
  label: str
  tasks: tuple[str, ...]
  needs: tuple[str, ...]
  options: tuple[str, ...] = ()


def _on_probes(name, label, probes, need, *options: str) -> Baseline:
  tasks = tuple(variants.PROBE_TASK_PREFIX + probe for probe in probes)
  return Baseline(name, label, tasks, (need,), options)


# A probe that asks about no movie has none to compare a candidate with; in the
# description probe both candidates are the movie asked about.
_PAIRS = ("recommendation", "combination")
_TAGS = ("attribute", "combination")
_DIALOGUE = (variants.DIALOGUE_TASK,), (variants.REDIAL,)

# fmt: off
BASELINES = {baseline.name: baseline for baseline in (
  _on_probes("popularity", "Popularity", variants.PROBES, variants.SEQUENCES),
  _on_probes("cooccurrence", "Item co-occurrence", _PAIRS, variants.SEQUENCES),
  _on_probes("als", "Matrix factorisation, ALS", _PAIRS, variants.SEQUENCES,
             "seed", "factors", "als_"),
  _on_probes("bpr", "Matrix factorisation, BPR", _PAIRS, variants.SEQUENCES,
             "seed", "factors", "bpr_"),
  _on_probes("tag_overlap", "Overlap of other tags", _TAGS, variants.TAGS),
  Baseline("most_frequent", "Most frequent response", *_DIALOGUE),
  Baseline("retrieval", "Response to the nearest context", *_DIALOGUE,
           ("bm25_",)),
)}
# fmt: on


class _Inputs:
  """What baselines learn from, read when the first of them asks for it."""

  def __init__(self, data_dir: str, progress: Progress | None):
    self.data_dir = data_dir
    self.progress = progress
    self._probes: dict[str, Any] = {}

  def probes(self, probe: str):
    from t5cr.study.baselines import probes

    if probe not in self._probes:
      found = probes.read(probe, self.data_dir, self.progress)
      self._probes[probe] = found
    return self._probes[probe]

  @functools.cached_property
  def interactions(self):
    from t5cr.study.baselines import interactions

    return interactions.read(self.data_dir, self.progress)

  @functools.cached_property
  def tagged(self):
    from t5cr.study.baselines import tags

    return tags.read(self.data_dir, self.progress)

  @functools.cached_property
  def dialogues(self):
    from t5cr.study.baselines import responses

    return [
      responses.read(split, self.data_dir, self.progress)
      for split in ("train", "validation")
    ]


def check_names(only: Sequence[str]) -> None:
  """Raises UsageError for a name of no baseline."""
  for name in only:
    if name not in BASELINES:
      near = difflib.get_close_matches(name, BASELINES, n=1)
      hint = f" Did you mean {near[0]!r}?" if near else ""
      raise errors.UsageError(
        f"There is no baseline {name!r}; there are {', '.join(BASELINES)}."
        f"{hint}"
      )


def run(
  data_dir: pathlib.Path,
  out: pathlib.Path,
  *,
  options: Options | None = None,
  only: Sequence[str] | None = None,
  progress: Progress | None = None,
) -> dict[str, str]:
  """Measures baselines, each in a run folder OUT/NAME.

  One that is there with the same options and data is left as it is.

  Args:
    data_dir: TFDS data directory, with probe sets.
    out: gets the run folders.
    options: hyperparameters.
    only: names of baselines; all by default.
    progress: called as progress(stage, done, total, unit).

  Returns:
    Name -> 'measured', 'stands' or 'skipped: <why>', in the order of
    `BASELINES`.

  Raises:
    UsageError: there is no such baseline, one that is asked for by name cannot
      be measured, OUT/NAME holds something else, or probe sets were made from
      other data than is there.
  """
  import seqio

  check_names(only or ())
  # The check of titles reads the catalogue of this data directory.
  seqio.set_tfds_data_dir_override(str(data_dir))
  options = options or Options()
  inputs = _Inputs(str(data_dir), progress)
  wanted, results = {}, {}
  for name, baseline in BASELINES.items():
    if only and name not in only:
      continue
    planned = plan(baseline, data_dir, options)
    if isinstance(planned, str):
      results[name] = f"skipped: {planned}"
      if only:
        raise errors.UsageError(f"Baseline {name!r}: {planned}.")
      continue
    if folder.stands(out / name, *planned):
      results[name] = "stands"
    else:
      results[name] = "measured"
      wanted[name] = planned
  for name, (settings, tasks) in wanted.items():
    measure = _measure(name, inputs, options)
    label = BASELINES[name].label
    folder.write(out / name, label, settings, tasks, measure)
  return results


def plan(
  baseline: Baseline, data_dir: pathlib.Path, options: Options
) -> tuple[dict[str, Any], list[str]] | str:
  """What a baseline depends on and can answer.

  Returns:
    (settings, tasks), or why it cannot be measured.

  Raises:
    UsageError: probe sets were made from other data than is there.
  """
  from t5cr_tasks import tasks as task_table

  known = _fingerprints(data_dir)
  missing = [name for name in baseline.needs if name not in known]
  if missing:
    raws = " and ".join(variants.RAW_SOURCES[name] for name in missing)
    return (
      f"{data_dir} has no {' and '.join(missing)}, which `t5cr data build` "
      f"makes from {raws}"
    )
  data = {name: known[name] for name in baseline.needs}
  tasks = []
  for task in baseline.tasks:
    name = task_table.TASKS[task].tfds_name.partition(":")[0]
    if name in known:
      data[name] = known[name]
      tasks.append(task)
  if not tasks:
    probes = [
      t.removeprefix(variants.PROBE_TASK_PREFIX) for t in baseline.tasks
    ]
    return (
      f"{data_dir} has none of the probe sets {', '.join(probes)}, which "
      "`t5cr probes build` makes"
    )
  if _CATALOGUE in known and variants.DIALOGUE_TASK in tasks:
    data[_CATALOGUE] = known[_CATALOGUE]
  settings = {
    "versions": versions(),
    "options": options.of(*baseline.options),
    "data": data,
  }
  return settings, tasks


def _fingerprints(data_dir: pathlib.Path) -> dict[str, str]:
  """The data sets that the tasks can read there: name -> fingerprint.

  Raises:
    UsageError: a probe set was made from others of them than are there now.
  """
  from t5cr_tasks import metrics, sources, tasks

  found, made_from = {}, {}
  for spec in tasks.TASKS.values():
    source = sources.BuiltDataSource(spec.tfds_name, spec.splits, str(data_dir))
    if source.is_built():
      name = spec.tfds_name.partition(":")[0]
      found[name] = source.fingerprint()
      metadata = source.tfds_dataset.builder.info.metadata or {}
      made_from[name] = metadata.get("sources") or {}
  for name, origins in made_from.items():
    for origin, fingerprint in origins.items():
      if fingerprint and found.get(origin, fingerprint) != fingerprint:
        raise errors.UsageError(
          f"{data_dir}: {name} was made from another {origin} than is there. "
          "Run `t5cr probes build` again, with the options that it was built "
          "with."
        )
  if metrics.CATALOGUE.is_built():
    found[_CATALOGUE] = metrics.CATALOGUE.fingerprint()
  return found


def _measure(name: str, inputs: _Inputs, options: Options) -> folder.Measure:
  """How a baseline answers a task."""
  if variants.DIALOGUE_TASK in BASELINES[name].tasks:
    return _measure_dialogues(name, inputs, options)
  from t5cr.study.baselines import counts, factors, probes, tags

  progress = inputs.progress
  if name == "popularity":
    score = counts.popularity(inputs.interactions)
  elif name == "cooccurrence":
    score = counts.cooccurrence(inputs.interactions)
  elif name == "als":
    score = factors.als(inputs.interactions, options, progress)
  elif name == "bpr":
    score = factors.bpr(inputs.interactions, options, progress)
  else:
    score = tags.overlap(inputs.tagged)

  def measure(task: str, write: Callable[[str], object]):
    probe = task.removeprefix(variants.PROBE_TASK_PREFIX)
    told = _named(progress, name)
    return probes.measure(inputs.probes(probe), score, write, told)

  return measure


def _measure_dialogues(
  name: str, inputs: _Inputs, options: Options
) -> folder.Measure:
  from t5cr.study.baselines import responses

  training, validation = inputs.dialogues
  if name == "most_frequent":
    respond = responses.most_frequent(training)
  else:
    respond = responses.retrieval(training, options, inputs.progress)
  return lambda task, write: responses.measure(validation, respond, write)


def _named(progress: Progress | None, name: str) -> Progress | None:
  """Progress whose stages begin with a baseline's name."""
  if progress is None:
    return None
  return lambda stage, *values: progress(f"{name}: {stage}", *values)
