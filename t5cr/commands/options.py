"""Options that several commands share."""

import pathlib
from typing import Annotated

import typer

Raw = Annotated[
  pathlib.Path,
  typer.Option("--raw", help="Folder with redial/, movielens/, reviews/."),
]
DataDir = Annotated[
  pathlib.Path,
  typer.Option("--tfds_data_dir", help="Where the TFDS data sets are."),
]
SomeDataDir = Annotated[
  pathlib.Path | None,
  typer.Option("--tfds_data_dir", help="Where the TFDS data sets are."),
]
MaxBadLines = Annotated[
  int,
  typer.Option(
    "--max_bad_lines", help="Malformed lines to leave out, at most."
  ),
]
