"""Folders on this machine and in a bucket, and how data sets are put there."""

from __future__ import annotations

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator
from typing import cast

from etils import epath


def as_path(path: str | os.PathLike[str]) -> pathlib.Path:
  """A path on this machine, or one such as gs://bucket/folder.

  Args:
    path: of either kind.

  Returns:
    A `pathlib.Path`, or an `epath.Path` for one with a scheme or that is one
    already; it passes for the other, whose methods it has.
  """
  if isinstance(path, pathlib.Path):
    return path
  remote = isinstance(path, epath.Path) or "://" in os.fspath(path)
  return cast(pathlib.Path, epath.Path(path)) if remote else pathlib.Path(path)


@contextlib.contextmanager
def workshop(
  data_dir: str | os.PathLike[str], prefix: str
) -> Iterator[pathlib.Path]:
  """A new folder in a data directory, gone in the end.

  Args:
    data_dir: the data directory, made where it is not there.
    prefix: of the folder's name.

  Yields:
    Its path, of the kind that `as_path` gives.
  """
  folder = as_path(data_dir) / f"{prefix}{uuid.uuid4().hex[:12]}"
  folder.mkdir(parents=True)
  try:
    yield folder
  finally:
    epath.Path(folder).rmtree(missing_ok=True)


def put(
  new: str | os.PathLike[str],
  place: str | os.PathLike[str],
  folder: str | os.PathLike[str],
) -> None:
  """Puts a complete data set in its place, as soon as one can.

  Args:
    new: the data set, in a workshop.
    place: where it belongs.
    folder: the workshop, which takes what stood there.
  """
  target = as_path(place)
  target.parent.mkdir(parents=True, exist_ok=True)
  if target.exists():
    target.rename(as_path(folder) / "replaced")
  as_path(new).rename(target)
