"""Runs a module as one process of several: processes.py MODULE FLAGS...

For t5x, whose evaluation and inference do not start `jax.distributed`. The
processes are found as those of the engine here are: see `docs/engine.md`.
"""

import runpy
import sys

from t5cr.engine import processes


def main(arguments: list[str]) -> None:
  """Joins the other processes, then runs the module as `python -m` does."""
  sys.argv = arguments
  with processes.joined(multiprocess=True):
    try:
      runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:  # absl's way to end, whatever the status
      if ended.code:
        raise


if __name__ == "__main__":
  if len(sys.argv) < 2:
    sys.exit(__doc__)
  main(sys.argv[1:])
