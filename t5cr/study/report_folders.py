"""The folders that reports are of: what is read in them and written there."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from t5cr import errors
from t5cr.study import collect, sources, stages, variants
from t5cr.study.baselines import build as baselines

# What reading results raises, somewhere, that are something else.
_MISSHAPEN = (
  ArithmeticError,
  AttributeError,
  LookupError,
  RecursionError,
  TypeError,
  ValueError,
)


@contextlib.contextmanager
def read_as_results(folder: pathlib.Path) -> Iterator[None]:
  """Tells of results that are not what an evaluation writes."""
  try:
    yield
  except Exception as error:
    if errors.is_expected(error) or not isinstance(error, _MISSHAPEN):
      raise
    raise errors.UsageError(
      f"The results in {folder} are not what an evaluation writes "
      f"({error!r:.120}). Evaluate the run again, or copy it again."
    ) from error


def own_folder(path: pathlib.Path) -> pathlib.Path:
  """Where a run's or a study's report goes by default.

  Raises:
    UsageError: that is a link: the folder may be somebody's, and what the link
      leads to is not.
  """
  folder = path / "report"
  if folder.is_symlink():
    raise errors.UsageError(
      f"{folder} is a link to {folder.resolve()}, which could be any folder. "
      "Say where the report goes, with --out."
    )
  return folder


def is_own(source: sources.Source, directory: pathlib.Path) -> bool:
  """Whether a folder is that of a study's own report."""
  return (
    source.is_study
    and (source.path / "report").resolve() == directory.resolve()
  )


def records(out: pathlib.Path) -> dict[str, Any]:
  """Stage of a study -> its record."""
  return {
    file.stem: stages.read_json(file)
    for file in sorted((out / "stages").glob("*.json"))
  }


def runs_of_study(out: pathlib.Path) -> list[collect.Run]:
  """The rows of a study that are done, and its baselines."""
  known = records(out)
  runs = [
    collect.read_run(out / "rows" / name, name)
    for name in variants.ROWS
    if (known.get(f"row_{name}") or {}).get("state") == "done"
  ]
  if not runs:
    raise errors.UsageError(
      f"No row of the study {out} is done yet. Run the same `t5cr reproduce` "
      "again: it goes on where it stopped."
    )
  measured = (out / "baselines" / name for name in baselines.BASELINES)
  return runs + [
    collect.read_run(path) for path in measured if (path / "run.json").exists()
  ]
