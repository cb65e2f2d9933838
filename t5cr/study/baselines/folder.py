"""The run folder of a baseline, as `t5cr eval` would write it."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import t5cr
from t5cr import errors
from t5cr.study import stages

# A baseline is not trained in steps; t5x counts the first evaluation so.
STEP = 0
ENGINE = "baseline"
_PACKAGES = ("implicit", "numpy", "scipy")

# From a task's name and what writes its lines to the task's metrics.
Measure = Callable[[str, Callable[[str], object]], Mapping[str, float]]


def stands(
  directory: pathlib.Path, settings: Mapping[str, Any], tasks: list[str]
) -> bool:
  """Whether a folder holds the baseline of these settings, whole.

  Args:
    directory: the folder; it need not exist.
    settings: all that its figures depend on, as JSON values.
    tasks: that it is measured on.

  Raises:
    UsageError: the folder holds something else than a baseline.
  """
  if not directory.exists():
    return False
  about = stages.read_json(directory / "run.json") or {}
  if about.get("engine") != ENGINE:
    raise errors.UsageError(
      f"{directory} is in the way of the baseline {directory.name!r}: it holds "
      "something else. Give another --out, or remove it."
    )
  files = [
    directory / "inference_eval" / f"{task}-{end}"
    for task in tasks
    for end in ("metrics.jsonl", f"{STEP:06}.jsonl")
  ]
  return about["settings"] == settings and all(f.exists() for f in files)


def write(
  directory: pathlib.Path,
  label: str,
  settings: Mapping[str, Any],
  tasks: list[str],
  measure: Measure,
) -> None:
  """Measures a baseline on its tasks; its folder appears whole or not at all.

  Args:
    directory: the folder; one of another baseline's settings is replaced.
    label: words for the baseline.
    settings: all that its figures depend on, as JSON values.
    tasks: to measure it on.
    measure: does that for one task.
  """
  with _replacing(directory) as temporary:
    evaluated = temporary / "inference_eval"
    evaluated.mkdir()
    for task in tasks:
      with (evaluated / f"{task}-{STEP:06}.jsonl").open(
        "w", encoding="utf-8"
      ) as file:
        metrics = measure(task, file.write)
      line = json.dumps({"step": STEP, **metrics})
      (evaluated / f"{task}-metrics.jsonl").write_text(line + "\n")
    about = {
      "engine": ENGINE,
      "label": label,
      "settings": settings,
      "versions": {
        "t5cr": t5cr.__version__,
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
      },
    }
    stages.write_json(temporary / "run.json", about)


@contextlib.contextmanager
def _replacing(directory: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder that takes the place of `directory` if all goes well."""
  directory.parent.mkdir(parents=True, exist_ok=True)
  temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
  try:
    temporary.mkdir()
    yield temporary
    if directory.exists():
      shutil.rmtree(directory)
    temporary.rename(directory)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
