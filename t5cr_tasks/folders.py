"""Folders on this machine and in a bucket, and how data sets are put there."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator
from typing import cast

from etils import epath

from t5cr_tasks.errors import DataError

try:
  import fcntl
except ImportError:  # Windows has none.
  fcntl = None


# What begins the names of folders in a data directory that are built in.
BUILDING = ".building-"


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
def sole_writer(folder: str | os.PathLike[str]) -> Iterator[None]:
  """Holds a folder, made where it is not there, against other writers.

  What killed ones were building there is taken away.

  The system frees it when the process ends, however that comes about. In a
  bucket, and on file systems without locks, nothing is held.

  Args:
    folder: such as a data directory.

  Raises:
    DataError: another process, or another thread, holds it.
  """
  path = as_path(folder)
  path.mkdir(parents=True, exist_ok=True)
  held = _lock(path)
  if held is None:
    raise DataError(
      f"{path}: another build is writing there. Wait until it has ended and"
      " start again, or name another folder."
    )
  with held:
    _clear(path, BUILDING)
    yield


@contextlib.contextmanager
def workshop(
  parent: str | os.PathLike[str], prefix: str
) -> Iterator[pathlib.Path]:
  """A new folder to work in, gone in the end.

  Folders of this prefix that killed processes left there go first.

  Args:
    parent: the folder to make it in, itself made where it is not there.
    prefix: of the folder's name.

  Yields:
    Its path, of the kind that `as_path` gives.
  """
  parent = as_path(parent)
  parent.mkdir(parents=True, exist_ok=True)
  _clear(parent, prefix)
  while True:
    folder = parent / f"{prefix}{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    # Who clears the folder before it is locked holds the lock, or has taken
    # the folder away: then another one is made.
    held = _lock(folder)
    if held is not None and folder.exists():
      break
  with held:
    try:
      yield folder
    finally:
      epath.Path(folder).rmtree(missing_ok=True)


def _clear(parent: pathlib.Path, prefix: str) -> None:
  """Takes away what killed processes left: what nobody holds."""
  if not isinstance(parent, pathlib.Path):
    return  # Nothing is held in a bucket.
  for left in parent.iterdir():
    if not left.name.startswith(prefix) or not left.is_dir():
      continue
    held = _lock(left, certain=True)
    if held is not None:
      with held:
        shutil.rmtree(left, ignore_errors=True)


def _lock(
  folder: pathlib.Path, *, certain: bool = False
) -> contextlib.AbstractContextManager[object] | None:
  """Holds a folder; None where another does, or where it is gone.

  Args:
    folder: the folder.
    certain: whether to give None also where the system has no locks.
  """
  unknown = None if certain else contextlib.nullcontext()
  if fcntl is None or not isinstance(folder, pathlib.Path):
    return unknown
  try:
    descriptor = os.open(folder, os.O_RDONLY)
  except FileNotFoundError:
    return None
  held = contextlib.ExitStack()
  held.callback(os.close, descriptor)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    held.close()
    return None
  except OSError:
    held.close()
    return unknown
  return held


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


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
  """Writes a file that appears, or changes, only when it is whole.

  Args:
    path: the file; its folder is made where it is not there.
    content: all of it.
  """
  target = pathlib.Path(path)
  with workshop(target.parent, f".{target.name}.writing-") as folder:
    unfinished = folder / target.name
    unfinished.write_bytes(content)
    unfinished.replace(target)
