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


class RunError(RuntimeError):
  """A run that this process started has failed.

  The message shows the end of the run's log and where the whole log is. The
  command line prints it without a traceback and exits with status 1.
  """


def is_expected(error: BaseException) -> bool:
  """Whether an error is the user's to mend, and told without a traceback."""
  if isinstance(error, (UsageError, RunError)):
    return True
  # A folder that cannot be written to, a full disk, a file in the way.
  if isinstance(error, OSError) and error.errno and error.filename:
    return True
  data_errors = sys.modules.get("t5cr_tasks.errors")
  return data_errors is not None and isinstance(error, data_errors.DataError)
