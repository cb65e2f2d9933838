"""Turns into a command that ends when the process that started it does.

    python -I -S leash.py PARENT CORES COMMAND ARGUMENT…

A study that is killed can no longer end its rows, which are in sessions of
their own. On Linux the kernel does so then: it sends them SIGTERM. Elsewhere a
row ends when it next writes to its parent, which does not read any more. (The
kernel does so too when the thread that started the command ends, so the main
thread should: `children.run`.)

It is run as a file, alone, so that it starts in no time.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


def main() -> None:
  """Reads the arguments: PARENT is a process id, CORES such as 0,1 or ''."""
  parent, cores, *command = sys.argv[1:]
  if sys.platform == "linux":
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
  if cores and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, map(int, cores.split(",")))
  if os.getppid() != int(parent):  # It ended before it could be watched.
    sys.exit(128 + signal.SIGTERM)
  os.execvp(command[0], command)


if __name__ == "__main__":
  main()
