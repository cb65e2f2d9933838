"""Raw files: where they lie, what they hash to, and lines that are bad."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from t5cr_tasks import errors, folders

_BLOCK_BYTES = 1 << 22
_MAX_LISTED = 100
# No line of these files is near that long; a file without line ends is.
MAX_LINE_BYTES = 1 << 26
_MARK = b"\xef\xbb\xbf"
# What stands here by mistake, by its first bytes.
_FOREIGN = {
  b"\x1f\x8b": ("a gzip archive", "Unpack it first"),
  b"PK\x03\x04": ("a zip archive", "Unpack it first"),
  b"BZh": ("a bzip2 archive", "Unpack it first"),
  b"\xfd7zXZ": ("an xz archive", "Unpack it first"),
  b"\x28\xb5\x2f\xfd": ("a zstd archive", "Unpack it first"),
  b"\xff\xfe": ("UTF-16 or UTF-32 text", "Convert it to UTF-8 first"),
  b"\xfe\xff": ("UTF-16 text", "Convert it to UTF-8 first"),
}

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
  """How many lines a file has; the last may lack its end."""
  return _read_through(path, _version(path))[1]


def check_text(path: pathlib.Path) -> None:
  """Raises DataError where a file is an archive or in another encoding."""
  with path.open("rb") as file:
    first = file.read(8)
  for begin, (kind, remedy) in _FOREIGN.items():
    if first.startswith(begin):
      raise errors.located(
        path, f"this is {kind}, and a text file is needed", remedy=remedy
      )


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
  last = b"\n"
  with path.open("rb") as file:
    while block := file.read(_BLOCK_BYTES):
      digest.update(block)
      lines += block.count(b"\n")
      last = block[-1:]
  return digest.hexdigest(), lines + (last != b"\n")


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


def raw_lines(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
  r"""Reads the lines of a file up to `\n`, without a byte order mark.

  Yields:
    (line number from 1, line with its end). Of a line of more than
    MAX_LINE_BYTES only so many and one more are given.
  """
  with path.open("rb") as file:
    for number in itertools.count(1):
      raw = file.readline(MAX_LINE_BYTES + 1)
      if not raw:
        return
      rest = raw
      while not rest.endswith(b"\n") and len(rest) > MAX_LINE_BYTES:
        rest = file.readline(MAX_LINE_BYTES + 1)
      yield number, raw.removeprefix(_MARK) if number == 1 else raw


def problem_of(raw: bytes, *, returns: bool = False) -> str | None:
  """Why a line is no line of a UTF-8 text file, None where it is one.

  Args:
    raw: the line with its end.
    returns: whether a carriage return may stand inside it.
  """
  if len(raw) > MAX_LINE_BYTES:
    return f"longer than {MAX_LINE_BYTES:,} bytes"
  if b"\0" in raw:
    return f"not text (byte {raw.index(0) + 1} is a NUL)"
  if not returns and b"\r" in raw.rstrip(b"\r\n"):
    return "a carriage return inside a line (lines must end in \\n or \\r\\n)"
  try:
    raw.decode("utf-8")
  except UnicodeDecodeError as error:
    return f"not UTF-8 text (byte {error.start + 1})"
  return None


def first_line(path: pathlib.Path) -> tuple[int, str]:
  """The number and the text of the first line that is not blank.

  Raises:
    DataError: it is no text; such a line is never left out, for it names the
      columns.
  """
  check_text(path)
  for number, raw in raw_lines(path):
    problem = problem_of(raw)
    if problem:
      raise errors.located(
        path,
        problem,
        line=number,
        remedy="Correct the line, which must name the columns",
      )
    line = raw.decode("utf-8").rstrip("\r\n")
    if line.strip():
      return number, line
  return 1, ""


def read_lines(
  path: pathlib.Path, bad_lines: BadLines, *, returns: bool = False
) -> Iterator[tuple[int, str]]:
  r"""Reads the lines of a UTF-8 text file, without their line ends.

  A byte order mark is skipped, \r\n ends a line as \n does, blank lines are
  passed over. A line that is not UTF-8, holds a NUL or a lone \r, or has more
  than MAX_LINE_BYTES is a bad line.

  Args:
    path: the file.
    bad_lines: takes the lines that are no text.
    returns: whether a lone \r may stand in a line.

  Yields:
    (line number from 1, line).

  Raises:
    DataError: there are more bad lines than allowed, or the file is an archive
      or in another encoding.
  """
  check_text(path)
  for number, raw in raw_lines(path):
    problem = problem_of(raw, returns=returns)
    if problem:
      bad_lines.add(errors.located(path, problem, line=number))
      continue
    line = raw.decode("utf-8").rstrip("\r\n")
    if line.strip():
      yield number, line
