"""Locks, also where the file system has none."""

import errno
import fcntl
import os

import pytest

from t5cr import errors, locking, progress
from t5cr.engine import runs
from t5cr.study import locks


def test_a_lock_is_held_by_one(tmp_path):
  first = os.open(tmp_path, os.O_RDONLY)
  second = os.open(tmp_path, os.O_RDONLY)
  assert locking.take(first) and not locking.take(second)
  os.close(first)
  assert locking.take(second)
  os.close(second)


@pytest.mark.parametrize("name", ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EBADF"])
def test_where_nothing_can_be_locked_work_goes_on(tmp_path, monkeypatch, name):
  def no_lock(file, operation):
    number = getattr(errno, name)
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr(fcntl, "flock", no_lock)
  with locks.alone(tmp_path, progress.Reporter("quiet")):
    pass
  with runs.locked(tmp_path):
    pass


@pytest.mark.parametrize("name", ["EWOULDBLOCK", "EACCES"])
def test_a_lock_of_another_is_told(tmp_path, monkeypatch, name):
  def held(file, operation):
    raise OSError(getattr(errno, name), "held")

  monkeypatch.setattr(fcntl, "flock", held)
  for enter in (
    runs.locked(tmp_path),
    locks.alone(tmp_path, progress.Reporter("quiet")),
  ):
    with pytest.raises(errors.UsageError, match="another"), enter:
      pass


@pytest.mark.parametrize("content", [b"", b"12", b"1 on \x1b[2J", b"\xff\n1"])
def test_what_a_lock_file_says_is_no_advice(tmp_path, content):
  (tmp_path / ".lock").write_bytes(content)
  holder = os.open(tmp_path / ".lock", os.O_RDWR)
  assert locking.take(holder)
  alone = locks.alone(tmp_path, progress.Reporter("quiet"))
  with pytest.raises(errors.UsageError, match="process unknown"), alone:
    pass
  os.close(holder)
