"""The errors that readers and builders of data raise."""

from __future__ import annotations

import os


class DataError(ValueError):
  """Input data that cannot be used: the message says what, where and why.

  The message is one paragraph that names the file and line, the data set or
  the task, and ends with what to do about it. Command lines print it as it is.

  Attributes:
    problem: what is wrong, without where; empty where `located` was not used.
  """

  problem = ""


class InternalError(RuntimeError):
  """This project's own fault: what was read does not add up.

  Raised in place of writing data that would be silently incomplete.
  """


def printable(text: str, most: int = 500) -> str:
  r"""A text of a raw file as it may stand in a message: one short line.

  Control characters and halves of surrogate pairs become escapes.

  >>> printable('a\x1b[2J')
  'a\\x1b[2J'

  Args:
    text: anything.
    most: characters shown; an ellipsis tells that there are more.
  """
  if len(text) > most:
    text = text[:most] + "…"
  if text.isprintable():
    return text
  return "".join(
    char if char.isprintable() else char.encode("unicode_escape").decode()
    for char in text
  )


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
  where = printable(os.fspath(path), 5000)
  if line is not None:
    where += f":{line}"
  parts = [where]
  if field:
    parts.append(printable(field, 100))
  message = ": ".join([*parts, printable(problem)]) + "."
  error = DataError(f"{message} {remedy}." if remedy else message)
  error.problem = problem
  return error
