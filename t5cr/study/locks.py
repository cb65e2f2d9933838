"""One `t5cr reproduce` at a time in a folder.

Two locks, for two questions: `OUT/.lock` is held by the process itself, so that
a second one knows at once; `OUT/.rows.lock` is held by the rows too, so that
those of a run that was killed are waited for. The system gives up a lock when
all who hold it have ended, however they did.
"""

import contextlib
import fcntl
import os
import pathlib
import time
from collections.abc import Iterator

from t5cr import errors, progress

_OWN, _ROWS = ".lock", ".rows.lock"
FILES = (_OWN, _ROWS)
_PATIENCE_SECONDS = 60.0  # a row that was told to end saves a checkpoint first


@contextlib.contextmanager
def alone(out: pathlib.Path, reporter: progress.Reporter) -> Iterator[int]:
  """Keeps other processes out of a study's folder.

  Args:
    out: the folder; it is there.
    reporter: told if there is something to wait for.

  Yields:
    The descriptor of the rows' lock, for them to inherit; who starts one adds
    its process id there, on a line of its own.

  Raises:
    UsageError: another process works there, or rows of one that was killed do
      not end.
  """
  with _opened(out / _OWN) as own:
    if not _taken(own):
      owner = (out / _OWN).read_text().strip()
      raise errors.UsageError(
        f"{out} is in use by another t5cr reproduce (process "
        f"{owner or 'unknown'}). Wait until it has ended, or end it, and run "
        "the same command again."
      )
    _write(own, str(os.getpid()))
    with _opened(out / _ROWS) as of_rows:
      _wait(out, of_rows, reporter)
      _write(of_rows, "")
      yield of_rows


def _wait(out: pathlib.Path, of_rows: int, reporter: progress.Reporter) -> None:
  """Takes the rows' lock once those of a run that was killed have ended."""
  deadline = time.monotonic() + _PATIENCE_SECONDS
  told = False
  while not _taken(of_rows):
    ids = " ".join((out / _ROWS).read_text().split())
    if time.monotonic() > deadline:
      raise errors.UsageError(
        f"Rows of a t5cr reproduce that was killed still run in {out} "
        f"(processes {ids or 'unknown'}). End them (kill -9 {ids}) and run the "
        "same command again; nothing was changed."
      )
    if not told:
      reporter.say(
        f"Rows of a t5cr reproduce that was killed are still ending in {out} "
        f"(processes {ids or 'unknown'}); waiting for them …"
      )
      told = True
    time.sleep(0.1)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[int]:
  file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
  try:
    yield file
  finally:
    os.close(file)


def _taken(file: int) -> bool:
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  return True


def _write(file: int, text: str) -> None:
  os.ftruncate(file, 0)
  os.lseek(file, 0, os.SEEK_SET)
  os.write(file, text.encode())
