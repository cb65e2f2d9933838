"""The errors that a user can mend; the command line prints them plainly."""

import sys


class UsageError(ValueError):
  """Something the user gave cannot be used as it stands.

  The message is one paragraph that names the file, flag, task or macro, says
  what is wrong with it, and what to do. The command line prints it without a
  traceback and exits with status 2.
  """


def check_count(name: str, value: object, least: int = 1) -> None:
  """Raises UsageError unless a value is a whole number from `least` up.

  Args:
    name: of the macro or argument, for the message.
    value: what was given.
    least: the smallest that can be used.
  """
  whole = isinstance(value, int) and not isinstance(value, bool)
  if not whole or value < least:  # pyright: ignore[reportOperatorIssue]
    raise UsageError(
      f"{name} is {value!r}; it has to be a whole number from {least} up."
    )


def check_folder(name: str, path: object) -> None:
  """Raises UsageError for a folder that TensorFlow or Orbax would misread.

  They take its name for a pattern, a backslash for a slash, and nothing but
  Unicode.

  Args:
    name: of the flag or macro, for the message.
    path: of data sets or checkpoints.
  """
  text = str(path)
  marks = [mark for mark in "*?[\\" if mark in text]
  if any("\ud800" <= letter <= "\udfff" for letter in text):
    marks.append("bytes that are no UTF-8")
  if marks:
    raise UsageError(
      f"{name} {text} holds {' and '.join(marks)}, which TensorFlow and Orbax "
      "read as something else. Choose a folder without."
    )


class RunError(RuntimeError):
  """A run that this process started has failed.

  The message shows the end of the run's log and where the whole log is. The
  command line prints it without a traceback and exits with status 1.
  """


class Stopped(SystemExit):
  """A process was asked to end (SIGTERM), and what it had was saved.

  The command line prints the message and exits with status 143, as a process
  does that the signal itself has ended.
  """

  STATUS = 143

  def __init__(self, message: str):
    """Keeps the message.

    Args:
      message: how far it came, and what to do next.
    """
    super().__init__(self.STATUS)
    self.message = message


def is_expected(error: BaseException) -> bool:
  """Whether an error is the user's to mend, and told without a traceback."""
  if isinstance(error, (UsageError, RunError)):
    return True
  # A folder that cannot be written to, a full disk, a file in the way.
  if isinstance(error, OSError) and error.errno and error.filename:
    return True
  data_errors = sys.modules.get("t5cr_tasks.errors")
  return data_errors is not None and isinstance(error, data_errors.DataError)
