"""Locks on open files, where the file system has them."""

import errno
import fcntl

_HELD = (errno.EWOULDBLOCK, errno.EACCES)


def take(file: int) -> bool:
  """Takes the lock of an open file or folder, without waiting.

  Some file systems have no locks (Lustre without `-o flock`), or none on
  folders (NFS). Nothing is held there, so that work is not refused.

  Args:
    file: its descriptor; the lock lasts until all its copies are closed.

  Returns:
    False where another process holds the lock.
  """
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    return error.errno not in _HELD
  return True
