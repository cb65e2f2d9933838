"""Names of Tasks and Mixtures: what is registered, built and cached."""

import difflib
import fnmatch
import importlib
import os
import sys
from collections.abc import Sequence

import seqio
from absl import logging
from etils import epath

from t5cr import errors


def use_data_dir(tfds_data_dir: str | os.PathLike | None) -> None:
  """Reads TFDS data sets from this folder; None leaves TFDS's default."""
  if tfds_data_dir is None:
    return
  errors.check_folder("--tfds_data_dir", tfds_data_dir)
  if not epath.Path(tfds_data_dir).is_dir():
    raise errors.UsageError(
      f"--tfds_data_dir: there is no folder {tfds_data_dir}. Write the data "
      "sets there first (`t5cr data build`), or name the folder that has them."
    )
  seqio.set_tfds_data_dir_override(str(tfds_data_dir))


def use_cache_dirs(folders: Sequence[str]) -> None:
  """Also looks for seqio's cached tasks in these folders."""
  if folders:
    seqio.add_global_cache_dirs(list(folders))


def import_tasks(module: str | None) -> None:
  """Imports the module whose import registers tasks, if one is named.

  It is found in the working directory too, behind all else.
  """
  if not module:
    return
  if os.getcwd() not in sys.path:
    sys.path.append(os.getcwd())
  try:
    importlib.import_module(module)
  except ModuleNotFoundError as error:
    if error.name and module.startswith(error.name):
      raise errors.UsageError(
        f"MIXTURE_OR_TASK_MODULE: there is no module {module!r}. Install the "
        "package that registers your tasks, or put it on PYTHONPATH or in the "
        "working directory."
      ) from error
    raise


def provider(name: str) -> seqio.Task | seqio.Mixture:
  """The registered Mixture or Task of that name.

  Args:
    name: as registered.

  Returns:
    The Mixture, or else the Task.

  Raises:
    UsageError: with the nearest known names.
  """
  known = [*seqio.MixtureRegistry.names(), *seqio.TaskRegistry.names()]
  if name in known:
    return seqio.get_mixture_or_task(name)
  near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
  hint = f"Nearest: {', '.join(near)}." if near else "No name is near."
  raise errors.UsageError(
    f"No seqio Task or Mixture is called {name!r}. {hint} `t5cr tasks list` "
    "shows all; MIXTURE_OR_TASK_MODULE names the module that registers yours."
  )


def task_names(name: str) -> list[str]:
  """Names of the Tasks of a Mixture, or of the Task itself."""
  return [task.name for task in seqio.get_subtasks(provider(name))]


def mixture(name: str, tasks: Sequence[str]) -> str:
  """Registers a Mixture of Tasks, in place of one of that name.

  Args:
    name: of the Mixture.
    tasks: names of its Tasks; each counts once, all equally often.

  Returns:
    The name.
  """
  if name in seqio.MixtureRegistry.names():
    seqio.MixtureRegistry.remove(name)
  seqio.MixtureRegistry.add(name, list(dict.fromkeys(tasks)), default_rate=1.0)
  return name


def is_built(task_name: str) -> bool:
  """Whether the data that a Task reads is there; true if it is not of TFDS."""
  source = seqio.TaskRegistry.get(task_name).source
  if not isinstance(source, seqio.TfdsDataSource):
    return True
  try:
    return source.tfds_dataset.builder.is_prepared()
  except (ValueError, ImportError):
    return False


def check_built(name: str) -> None:
  """Raises UsageError if data of a Mixture or Task is not there."""
  missing = [task for task in task_names(name) if not is_built(task)]
  if missing:
    sources = sorted({_tfds_name(task) for task in missing})
    others = sorted(set().union(*map(_other_versions, missing)))
    found = ""
    if others:
      found = (
        f" What is there is of another release (version {', '.join(others)}), "
        "so it has to be built anew."
      )
    raise errors.UsageError(
      f"{name} cannot be read: the data set(s) {', '.join(sources)} are not "
      f"built in the TFDS folder in use.{found} Build them with `t5cr data "
      "build` (probes: `t5cr probes build`) and pass the folder as "
      "--tfds_data_dir."
    )


def _other_versions(task_name: str) -> list[str]:
  """The versions of a Task's data that stand in place of the one it reads."""
  source = seqio.TaskRegistry.get(task_name).source
  return getattr(source, "other_versions", list)()


def check_trainable(name: str, split: str) -> None:
  """Raises UsageError if a Mixture or Task cannot be trained on."""
  features = provider(name).output_features
  missing = [f for f in ("inputs", "targets") if f not in features]
  if missing:
    raise errors.UsageError(
      f"{name} cannot be trained on: it has no feature {missing[0]!r}, only "
      f"{', '.join(features)}. Set MIXTURE_OR_TASK_NAME to one that has."
    )
  check_built(name)
  splits = {s for task in task_names(name) for s in _splits(task)}
  if split not in splits:
    raise errors.UsageError(
      f"{name} cannot be trained on: it has no split {split!r}, only "
      f"{', '.join(sorted(splits))}. Set MIXTURE_OR_TASK_NAME to one that has."
    )


def check_split(task_name: str, split: str) -> None:
  """Raises UsageError if a Task has no such split or its data is missing."""
  check_built(task_name)
  splits = _splits(task_name)
  if split not in splits:
    raise errors.UsageError(
      f"The task {task_name} has no split {split!r}, only "
      f"{', '.join(splits)}. Set EVAL_SPLIT."
    )


def _splits(task_name: str) -> Sequence[str]:
  return list(seqio.TaskRegistry.get(task_name).splits)


def check_cached(names: Sequence[str], use_cached: bool) -> None:
  """Raises UsageError if caches of Mixtures and Tasks are asked for and absent.

  Args:
    names: of Mixtures and Tasks.
    use_cached: whether they are asked for.
  """
  if not use_cached:
    return
  members = dict.fromkeys(task for name in names for task in task_names(name))
  missing = [
    name
    for name in members
    if seqio.TaskRegistry.get(name).supports_caching
    and not seqio.TaskRegistry.get(name).cache_dir
  ]
  if missing:
    folders = seqio.get_global_cache_dirs() or ["no folder named"]
    raise errors.UsageError(
      f"USE_CACHED_TASKS is True, but there is no cache of {', '.join(missing)}"
      f" ({', '.join(folders)}). Cache them with `seqio_cache_tasks` and name "
      "the folder with --seqio_additional_cache_dirs, or set USE_CACHED_TASKS "
      "= False."
    )


def readable(name: str) -> list[str]:
  """Names of the Tasks of a Mixture or Task whose data is there.

  Raises:
    UsageError: the name is unknown, or data is missing.
  """
  check_built(name)
  return task_names(name)


def _tfds_name(task_name: str) -> str:
  source = seqio.TaskRegistry.get(task_name).source
  if isinstance(source, seqio.TfdsDataSource):
    try:
      return str(source.tfds_dataset.name)
    except ValueError:
      pass
  return f"of {task_name}"


def expand(patterns: Sequence[str], split: str) -> list[str]:
  """The Tasks that names and patterns mean.

  A plain name must be registered and its data there. A pattern (`*`, `?`)
  takes what there is: Tasks with metrics, built data and that split.

  Args:
    patterns: of Tasks and Mixtures, such as `t5cr_probe_*`.
    split: to evaluate on.

  Returns:
    Names of Tasks, each once, in the order asked for.

  Raises:
    UsageError: a name is unknown, its data missing, or it has no metrics.
  """
  found: list[str] = []
  for pattern in patterns:
    if any(mark in pattern for mark in "*?["):
      names = sorted(fnmatch.filter(seqio.TaskRegistry.names(), pattern))
      if not names:
        raise errors.UsageError(
          f"No seqio Task matches {pattern!r}. `t5cr tasks list` shows all."
        )
      left_out = [name for name in names if not is_built(name)]
      if left_out:
        logging.warning(
          "Not evaluated, their data is not built: %s", ", ".join(left_out)
        )
      found += [
        name
        for name in names
        if name not in left_out and not _cannot_evaluate(name, split)
      ]
    else:
      for name in readable(pattern):
        reason = _cannot_evaluate(name, split)
        if reason:
          raise errors.UsageError(
            f"The task {name} cannot be evaluated: {reason}."
          )
        found.append(name)
  return list(dict.fromkeys(found))


def _cannot_evaluate(task_name: str, split: str) -> str | None:
  task = seqio.TaskRegistry.get(task_name)
  splits = _splits(task_name)
  if split not in splits:
    return f"it has no split {split!r}, only {', '.join(splits)}"
  if not task.metric_fns and not task.metric_objs:
    return "it has no metrics"
  return None
