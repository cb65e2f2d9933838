"""Says plainly that a disk is full or cannot be written to."""

import contextlib
import errno
import pathlib
from collections.abc import Iterator

from t5cr import errors

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
# TensorFlow's errors have these words and no number.
_FULL_WORDS = ("No space left on device", "Disk quota exceeded")
_REFUSED_WORDS = ("Read-only file system",)


@contextlib.contextmanager
def explained(out: pathlib.Path) -> Iterator[None]:
  """Turns what a full or read-only disk leads to into one message.

  Args:
    out: the folder that is written to.

  Raises:
    RunError: that is why the block failed; whatever the library that wrote.
  """
  try:
    yield
  except Exception as error:
    why = _why(error, out)
    if why is None:
      raise
    raise errors.RunError(
      f"{out} cannot be written to: {why}. What is done is kept; mend that and "
      "run the same command again."
    ) from error


def _why(error: BaseException, out: pathlib.Path) -> str | None:
  """What is wrong with the disk, if that led to an error."""
  cause: BaseException | None = error
  while cause is not None:
    if isinstance(cause, OSError):
      # What may not be read elsewhere says so itself.
      inside = cause.filename is None or str(cause.filename).startswith(
        (str(out), str(out.parent))
      )
      if cause.errno in _FULL or (cause.errno in _REFUSED and inside):
        where = f" ({cause.filename})" if cause.filename else ""
        return f"{cause.strerror}{where}"
    for words in (*_FULL_WORDS, *_REFUSED_WORDS):
      if words in str(cause) and not isinstance(cause, errors.RunError):
        return words
    cause = cause.__cause__ or cause.__context__
  return None
