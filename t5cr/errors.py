"""The errors that a user can mend; the command line prints them plainly."""


class UsageError(ValueError):
  """Something the user gave cannot be used as it stands.

  The message is one paragraph that names the file, flag, task or macro, says
  what is wrong with it, and what to do. The command line prints it without a
  traceback and exits with status 2.
  """


class RunError(RuntimeError):
  """A run that this process started has failed.

  The message shows the end of the run's log and where the whole log is. The
  command line prints it without a traceback and exits with status 1.
  """
