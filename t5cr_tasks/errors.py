"""The error that every reader and builder of data raises on bad input."""

from __future__ import annotations

import os


class DataError(ValueError):
  """Input data that cannot be used: the message says what, where and why.

  The message is one paragraph that names the file and line, the data set or
  the task, and ends with what to do about it. Command lines print it as it is.
  """


def located(
  path: str | os.PathLike[str],
  problem: str,
  *,
  line: int | None = None,
  field: str | None = None,
  remedy: str = "",
) -> DataError:
  """A DataError that reads `file:line: field: problem. Remedy.`.

  Args:
    path: the file.
    problem: what is wrong there, without a full stop.
    line: line number in the file, from 1.
    field: the column or JSON field, such as `messages[3].text`.
    remedy: what the reader can do about it, without a full stop.

  Returns:
    The error, for the caller to raise.
  """
  where = os.fspath(path)
  if line is not None:
    where += f":{line}"
  parts = [where]
  if field:
    parts.append(field)
  message = ": ".join([*parts, problem]) + "."
  return DataError(f"{message} {remedy}." if remedy else message)
