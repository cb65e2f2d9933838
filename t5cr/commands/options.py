"""Options that several commands share."""

import pathlib
from typing import Annotated, Any

import typer


def _path(text: str) -> Any:
  """A path, which may be of a bucket."""
  if "://" not in text:
    return pathlib.Path(text)
  from etils import epath

  return epath.Path(text)


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
    parser=_path,
    metavar="DIR",
    help="Where the TFDS data sets are.",
  ),
]
SomeDataDir = Annotated[
  pathlib.Path | None,
  typer.Option(
    "--tfds_data_dir",
    parser=_path,
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
