"""Options that several commands share."""

import pathlib
from typing import Annotated, Any

import typer

from t5cr import errors, terminal


def _path(text: str) -> Any:
  """A path, which may be of a bucket."""
  if "://" not in text:
    return pathlib.Path(text)
  from etils import epath

  return epath.Path(text)


def _data_dir(text: str) -> Any:
  """A path of data sets."""
  try:
    errors.check_folder("The folder", text)
  except errors.UsageError as error:
    # typer tells nothing but the value of a ValueError.
    raise typer.BadParameter(terminal.clean(str(error))) from error
  return _path(text)


Raw = Annotated[
  pathlib.Path,
  typer.Option(
    "--raw",
    parser=_path,
    metavar="DIR",
    help="Folder with redial/, movielens/, reviews/.",
  ),
]
DataDir = Annotated[
  pathlib.Path,
  typer.Option(
    "--tfds_data_dir",
    parser=_data_dir,
    metavar="DIR",
    help="Where the TFDS data sets are.",
  ),
]
SomeDataDir = Annotated[
  pathlib.Path | None,
  typer.Option(
    "--tfds_data_dir",
    parser=_data_dir,
    metavar="DIR",
    help="Where the TFDS data sets are.",
  ),
]
MaxBadLines = Annotated[
  int,
  typer.Option(
    "--max_bad_lines", help="Malformed lines to leave out, at most."
  ),
]
BeamRunner = Annotated[
  str | None,
  typer.Option(
    "--beam_runner",
    help="Build with Apache Beam: DirectRunner, DataflowRunner, FlinkRunner.",
  ),
]
BeamPipelineOptions = Annotated[
  str | None,
  typer.Option(
    "--beam_pipeline_options",
    help="Beam's own options: NAME=VALUE with commas between them.",
  ),
]
