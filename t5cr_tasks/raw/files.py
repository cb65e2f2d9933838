"""Raw files: where they lie, what they hash to, and lines that are bad."""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from t5cr_tasks import errors, folders

_BLOCK_BYTES = 1 << 22
_MAX_LISTED = 100

# The folder of each source below RAW; the first that exists is read.
FOLDERS = {
  "redial": ("redial",),
  "movielens": ("movielens", "movielens_small"),
  "reviews": ("reviews",),
}


class MissingSource(errors.DataError):
  """A raw source is not there at all, so that what needs it can be skipped."""


def find_source(
  raw_dir: str | os.PathLike[str],
  source: str,
  files: Sequence[str],
  own_files: Sequence[str] | None = None,
) -> dict[str, pathlib.Path]:
  """Finds the files of one source below RAW.

  Args:
    raw_dir: the RAW folder.
    source: a key of FOLDERS.
    files: the names of all files needed.
    own_files: those of them that other data sets do not need; where none of
      them is there, the source counts as missing, not as incomplete. All of
      `files` when not given.

  Returns:
    {file name: path}, in the order of `files`.

  Raises:
    MissingSource: nothing of the source is there.
    DataError: some files are there and others are not.
  """
  raw_dir = folders.as_path(raw_dir)
  folder = next(
    (raw_dir / name for name in FOLDERS[source] if (raw_dir / name).is_dir()),
    None,
  )
  if folder is None:
    raise MissingSource(
      f"{raw_dir / FOLDERS[source][0]}: no such folder. Put "
      f"{', '.join(files)} there to build what needs {source}."
    )
  paths = {name: folder / name for name in files}
  missing = [path for path in paths.values() if not path.is_file()]
  if own_files and not any(paths[name].is_file() for name in own_files):
    raise MissingSource(
      f"{folder}: {', '.join(own_files)} not found. Put them there to build "
      "what needs them."
    )
  if missing:
    raise errors.located(
      missing[0],
      "no such file",
      remedy=(
        f"The {source} source needs {', '.join(files)} in {folder}: add "
        "what is missing, or take the folder away to do without it"
      ),
    )
  return paths


def sha256(path: pathlib.Path) -> str:
  """The SHA-256 of a file, as hex digits."""
  return _read_through(path, _version(path))[0]


def count_lines(path: pathlib.Path) -> int:
  """How many line ends a file has: the total for a progress bar."""
  return _read_through(path, _version(path))[1]


def _version(path: pathlib.Path) -> tuple[int, int]:
  """Changes with a file; `path` may be of a bucket."""
  stat: Any = path.stat()
  if isinstance(path, pathlib.Path):
    return stat.st_size, stat.st_mtime_ns
  return stat.length, stat.mtime


@functools.lru_cache(maxsize=64)
def _read_through(
  path: pathlib.Path, version: tuple[int, int]
) -> tuple[str, int]:
  del version  # It only tells the cache that the file has changed.
  digest = hashlib.sha256()
  lines = 0
  with path.open("rb") as file:
    while block := file.read(_BLOCK_BYTES):
      digest.update(block)
      lines += block.count(b"\n")
  return digest.hexdigest(), lines


class BadLines:
  """The malformed lines met so far; raises when there are more than allowed.

  Attributes:
    count: how many lines were bad.
    messages: what was wrong with the first hundred.
  """

  def __init__(self, allowed: int = 0):
    """Allows this many bad lines."""
    self.count = 0
    self.messages: list[str] = []
    self._allowed = allowed

  def add(self, error: errors.DataError) -> None:
    """Notes a bad line, or raises its error when it is one too many."""
    self.count += 1
    if self.count > self._allowed:
      allowance = (
        f"{self._allowed} bad lines are allowed and this is one more: allow "
        "more with max_bad_lines"
        if self._allowed
        else "Correct it, or allow bad lines to be left out with max_bad_lines"
      )
      raise errors.DataError(f"{error} {allowance}.")
    if len(self.messages) < _MAX_LISTED:
      self.messages.append(str(error))


def read_lines(
  path: pathlib.Path, bad_lines: BadLines
) -> Iterator[tuple[int, str]]:
  r"""Reads the lines of a UTF-8 text file, without their line ends.

  A byte order mark is skipped, \r\n ends a line as \n does, blank lines are
  passed over. A line that is not UTF-8 is a bad line.

  Args:
    path: the file.
    bad_lines: takes the lines that cannot be decoded.

  Yields:
    (line number from 1, line).

  Raises:
    DataError: there are more bad lines than allowed.
  """
  with path.open("rb") as file:
    for number, raw in enumerate(file, start=1):
      if number == 1:
        raw = raw.removeprefix(b"\xef\xbb\xbf")
      try:
        line = raw.decode("utf-8").rstrip("\r\n")
      except UnicodeDecodeError as error:
        bad_lines.add(
          errors.located(
            path, f"not UTF-8 text (byte {error.start + 1})", line=number
          )
        )
        continue
      if line.strip():
        yield number, line
