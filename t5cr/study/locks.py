"""One `t5cr reproduce` at a time in a folder.

Two locks, for two questions: `OUT/.lock` is held by the process itself, so that
a second one knows at once; `OUT/.rows.lock` is held by the rows too, so that
those of a run that was killed are waited for. The system gives up a lock when
all who hold it have ended, however they did.
"""

import contextlib
import errno
import os
import pathlib
import re
import socket
import time
from collections.abc import Iterator

from t5cr import errors, locking, progress

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
    if not locking.take(own):
      owner = _text(out / _OWN)
      known = re.fullmatch(r"\d+ on [\w.-]+", owner, re.ASCII)
      raise errors.UsageError(
        f"{out} is in use by another t5cr reproduce (process "
        f"{owner if known else 'unknown'}). Wait until it has ended, or end "
        "it, and run the same command again."
      )
    _write(own, f"{os.getpid()} on {socket.gethostname()}")
    with _opened(out / _ROWS) as of_rows:
      _wait(out, of_rows, reporter)
      _write(of_rows, "")
      yield of_rows


def _wait(out: pathlib.Path, of_rows: int, reporter: progress.Reporter) -> None:
  """Takes the rows' lock once those of a run that was killed have ended."""
  deadline = time.monotonic() + _PATIENCE_SECONDS
  told = False
  while not locking.take(of_rows):
    if time.monotonic() > deadline:
      ids = _holders(out / _ROWS)
      end = f"End them (kill -9 {ids})" if ids else "End them"
      raise errors.UsageError(
        f"Rows of a t5cr reproduce that was killed still run in {out} "
        f"({_known(ids)}). {end} and run the same command again; nothing was "
        "changed."
      )
    if not told:
      reporter.say(
        f"Rows of a t5cr reproduce that was killed are still ending in {out} "
        f"({_known(_holders(out / _ROWS))}); waiting for them …"
      )
      told = True
    time.sleep(0.1)


def _known(ids: str) -> str:
  if ids:
    return f"processes {ids} on {socket.gethostname()}"
  return "processes that are not known, maybe of another machine"


def _holders(path: pathlib.Path) -> str:
  """The processes noted in a lock file that have it open, on this machine.

  A number alone could by now be that of any process.
  """
  noted = dict.fromkeys(re.findall(r"^\d+$", _text(path), re.ASCII | re.M))
  return " ".join(number for number in noted if _has_open(number, path))


def _has_open(number: str, path: pathlib.Path) -> bool:
  with contextlib.suppress(OSError):  # It has ended, or is another user's.
    for file in pathlib.Path("/proc", number, "fd").iterdir():
      with contextlib.suppress(OSError):
        if file.samefile(path):
          return True
  return False


def _text(path: pathlib.Path) -> str:
  return path.read_text(errors="replace").strip()


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[int]:
  try:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
  except OSError as error:
    if error.errno != errno.ELOOP:
      raise
    raise errors.UsageError(
      f"{path} is a link, and would be written through. Remove it, and run the "
      "same command again."
    ) from error
  try:
    yield file
  finally:
    os.close(file)


def _write(file: int, text: str) -> None:
  os.ftruncate(file, 0)
  os.lseek(file, 0, os.SEEK_SET)
  os.write(file, text.encode())
