"""Several processes that run one job: how they start, agree and end.

Each process has its own devices; JAX joins them into one mesh. All of them run
the same program on the same batches, and the first one writes the files.
"""

import contextlib
import hashlib
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from t5cr import errors

COORDINATOR = "T5CR_COORDINATOR"
COUNT = "T5CR_NUM_PROCESSES"
INDEX = "T5CR_PROCESS_ID"
START_SECONDS = "T5CR_START_SECONDS"
HEARTBEAT_SECONDS = "T5CR_HEARTBEAT_SECONDS"

_DEFAULT_SECONDS = {START_SECONDS: 300, HEARTBEAT_SECONDS: 30}
# Half seconds in which a new file has to show.
_LOOKS = 120
_RESTART = (
  "Start all processes again with the same command: a training goes on from "
  "its latest checkpoint."
)
# What the libraries between processes say when one of them is gone.
_LOST = re.compile(
  r"gloo|nccl|barrier|coordination service|heartbeat|connection (closed|reset)",
  re.IGNORECASE,
)


def settings(environment: Mapping[str, str]) -> dict[str, Any]:
  """What the environment says of the processes.

  Args:
    environment: variables by name.

  Returns:
    Arguments of `jax.distributed.initialize`; {} if there are none.

  Raises:
    UsageError: only some of the variables are set, or one cannot be used.
  """
  names = (COORDINATOR, COUNT, INDEX)
  missing = [name for name in names if not environment.get(name)]
  if len(missing) == len(names):
    return {}
  if missing:
    given = [name for name in names if name not in missing]
    raise errors.UsageError(
      f"{' and '.join(given)} set, {' and '.join(missing)} not. Several "
      f"processes need all three, one process none: {COORDINATOR} (HOST:PORT "
      f"of the first process), {COUNT} and {INDEX} (from 0 up)."
    )
  address = environment[COORDINATOR]
  host, _, port = address.rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
    raise errors.UsageError(
      f"{COORDINATOR} is {address!r}; it has to be HOST:PORT, a free port of "
      "the machine that the first process runs on."
    )
  count = _whole(environment, COUNT, 1)
  index = _whole(environment, INDEX, 0)
  if index >= count:
    raise errors.UsageError(
      f"{INDEX} is {index}, but {COUNT} is {count}: the processes are numbered "
      f"from 0 to {count - 1}."
    )
  found = {
    "coordinator_address": address,
    "num_processes": count,
    "process_id": index,
    # Not to mix what is said here with what a cluster's variables say.
    "cluster_detection_method": "deactivate",
  }
  if host in ("localhost", "127.0.0.1", "[::1]"):
    # JAX would listen on all interfaces.
    found["coordinator_bind_address"] = address
  return found


def _whole(environment: Mapping[str, str], name: str, least: int) -> int:
  text = environment.get(name) or str(_DEFAULT_SECONDS.get(name))
  if not text.isdecimal() or int(text) < least:
    raise errors.UsageError(
      f"{name} is {text!r}; it has to be a whole number from {least} up."
    )
  return int(text)


@contextlib.contextmanager
def joined(multiprocess: bool = False) -> Iterator[None]:
  """Runs a block as one of several processes, if that is asked for.

  An error in the block ends the process at once, with the status that the
  command line has for it: what waits for the others would keep it for minutes.
  They end when they miss it, within `T5CR_HEARTBEAT_SECONDS`.

  Args:
    multiprocess: ask JAX to find the other processes, where the environment
      does not name them.

  Raises:
    UsageError: the environment cannot be used.
    RunError: the processes do not find each other.
  """
  found = settings(os.environ)
  if not found and not multiprocess:
    yield
    return
  _start(found)
  if not is_first():
    # Warnings are those of the first process; errors are everybody's.
    logging.set_verbosity(logging.ERROR)
  try:
    yield
    wait("done")
  except BaseException as error:
    if jax.process_count() == 1:
      raise
    _leave(error)
  jax.distributed.shutdown()


def _start(found: Mapping[str, Any]) -> None:
  """Joins the other processes."""
  patience = _whole(os.environ, START_SECONDS, 1)
  heartbeat = _whole(os.environ, HEARTBEAT_SECONDS, 1)
  # It would take SIGTERM, which `stopping` does.
  jax.config.update("jax_enable_preemption_service", False)
  # JAX itself aborts the process, with a stack trace and no name in it.
  late = threading.Timer(patience, _give_up, (found, patience))
  late.daemon = True
  late.start()
  try:
    jax.distributed.initialize(
      **found,
      initialization_timeout=patience + 60,
      heartbeat_timeout_seconds=heartbeat,
    )
  except (ValueError, RuntimeError) as error:
    if not found:
      raise errors.UsageError(
        f"--multiprocess: JAX does not find the other processes ({error}). It "
        "knows Cloud TPU, SLURM, Open MPI and Kubernetes; elsewhere set "
        f"{COORDINATOR}, {COUNT} and {INDEX}."
      ) from error
    raise errors.RunError(
      f"The processes cannot be joined at {COORDINATOR}="
      f"{found['coordinator_address']}: {error}"
    ) from error
  finally:
    late.cancel()


def _give_up(found: Mapping[str, Any], seconds: int) -> None:
  """Ends a process that found no others."""
  if not found:
    reason = "--multiprocess: JAX did not find the other processes"
  elif found["process_id"] == 0:
    reason = (
      f"Not all {found['num_processes']} processes ({COUNT}) came to "
      f"{COORDINATOR}={found['coordinator_address']}"
    )
  else:
    reason = (
      f"There is no first process ({INDEX}=0) at {COORDINATOR}="
      f"{found['coordinator_address']}, or others are missing"
    )
  _say(
    f"{reason}, within {seconds} s ({START_SECONDS}). Start all processes, and "
    "see that the machines reach that port.",
    found.get("process_id", "?"),
    found.get("num_processes", "?"),
  )
  _exit(1)


def _leave(error: BaseException) -> NoReturn:
  """Tells of an error and ends the process, whatever waits in it."""
  lost = isinstance(error, Exception) and _LOST.search(str(error))
  who = jax.process_index(), jax.process_count()
  if isinstance(error, KeyboardInterrupt):
    _say(f"Interrupted. {_RESTART}", *who)
    _exit(130)
  if isinstance(error, errors.Stopped):
    _say(error.message, *who)
    _exit(error.STATUS)
  if errors.is_expected(error):
    _say(str(error), *who)
    _exit(1 if isinstance(error, errors.RunError) else 2)
  if lost:
    reason = (str(error).splitlines() or [""])[0]
    _say(
      "Another process has ended or cannot be reached; its own log says why. "
      f"{_RESTART} ({reason})",
      *who,
    )
  else:
    traceback.print_exception(error)
    _say("Failed, see above; the others will end.", *who)
  _exit(1)


def _say(message: str, index: Any, count: Any) -> None:
  print(f"t5cr (process {index} of {count}): {message}", file=sys.stderr)


def _exit(status: int) -> NoReturn:
  """Ends without waiting for threads, and for what ends in order."""
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)


def is_first() -> bool:
  """Whether this process is the one that writes files and shows progress."""
  return jax.process_index() == 0


def wait(name: str) -> None:
  """Waits until all processes are at this place."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def from_first(value: int) -> int:
  """The number that the first process has."""
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def agree(what: str, value: Any, remedy: str) -> None:
  """Raises UsageError, in all processes, unless they have the same value.

  Args:
    what: names the value.
    value: anything whose `repr` says all of it.
    remedy: what to do.
  """
  if jax.process_count() == 1:
    return
  digest = hashlib.sha256(repr(value).encode()).digest()
  digests = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8))
  others = [i for i, row in enumerate(digests) if not (row == digests[0]).all()]
  if others:
    raise errors.UsageError(
      f"{what} is not the same in {_named(others)} as in process 0. {remedy}"
    )


def check_seen(what: str, seen: Callable[[], bool], remedy: str) -> None:
  """Raises UsageError, in all processes, unless all see what the first wrote.

  Args:
    what: names it.
    seen: whether this process sees it; asked again for a minute, as network
      file systems show a new file late.
    remedy: what to do.
  """
  if jax.process_count() == 1:
    return
  wait(f"written: {what}")
  blind: list[int] = []
  for _ in range(_LOOKS):
    everyone = multihost_utils.process_allgather(np.array(seen()))
    blind = np.flatnonzero(~everyone).tolist()
    if not blind:
      return
    time.sleep(0.5)
  raise errors.UsageError(
    f"{what} was written by process 0 and is not there for {_named(blind)}. "
    f"{remedy}"
  )


def _named(indices: list[int]) -> str:
  numbers = ", ".join(map(str, indices[:5])) + (", …" if indices[5:] else "")
  return f"process{'es' if indices[1:] else ''} {numbers}"
