"""Runs commands in parallel, each on its share of the machine.

A child writes its progress as JSON lines (`T5CR_PROGRESS=jsonl`); all else that
it writes goes to its log.
"""

import contextlib
import dataclasses
import glob
import os
import pathlib
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from typing import BinaryIO

from t5cr import errors, progress

_TAIL_LINES = 25
_PATIENCE_SECONDS = 15.0  # between asking a child to end and making it


@dataclasses.dataclass(frozen=True)
class Job:
  """A command to run.

  Attributes:
    name: how progress and messages call it.
    command: the program and its arguments.
    log: where its output goes, appended.
    environment: variables to set besides this process's own.
  """

  name: str
  command: tuple[str, ...]
  log: pathlib.Path
  environment: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Started:
  """A job is about to start."""

  job: Job


@dataclasses.dataclass(frozen=True)
class Progressed:
  """A job told of its progress, as `progress.Progress` is called."""

  job: Job
  stage: str
  done: int
  total: int | None
  unit: str


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a job ended.

  Attributes:
    job: the job.
    status: exit status; 0 is success.
    seconds: how long it ran.
  """

  job: Job
  status: int
  seconds: float


Event = Started | Progressed | Outcome


def cores() -> tuple[int, ...]:
  """The cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return tuple(sorted(os.sched_getaffinity(0)))
  return tuple(range(os.cpu_count() or 1))


def has_accelerator() -> bool:
  """Whether the machine shows a GPU or TPU, asked without importing JAX."""
  wanted = os.environ.get("JAX_PLATFORMS", "")
  if wanted and set(wanted.split(",")) <= {"cpu"}:
    return False
  return bool(glob.glob("/dev/nvidia[0-9]*") + glob.glob("/dev/accel[0-9]*"))


def default_jobs() -> int:
  """One row at a time on an accelerator or a single core, else two."""
  return 2 if len(cores()) >= 2 and not has_accelerator() else 1


def share_of_cores(slot: int, slots: int) -> tuple[int, ...]:
  """The cores of one of several equal slots; never none."""
  every = cores()
  return every[slot::slots] or (every[slot % len(every)],)


def thread_environment(threads: int) -> dict[str, str]:
  """Variables that keep numeric libraries to so many threads."""
  names = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "POLARS_MAX_THREADS",
  )
  variables: dict[str, str] = {name: str(threads) for name in names}
  if threads == 1:
    flags = os.environ.get("XLA_FLAGS", "")
    single = "--xla_cpu_multi_thread_eigen=false"
    variables["XLA_FLAGS"] = f"{flags} {single}".strip()
  return variables


def tail(log: pathlib.Path, lines: int = _TAIL_LINES) -> str:
  """The last lines of a log, indented."""
  text = (
    log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
  )
  return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])


def failure(outcome: Outcome) -> errors.RunError:
  """The error that tells of a job that did not succeed."""
  return errors.RunError(
    f"{outcome.job.name} ended with status {outcome.status} after "
    f"{progress.duration(outcome.seconds)}. Its log ends so:\n"
    f"{tail(outcome.job.log)}\n"
    f"The whole log is {outcome.job.log}. Mend the cause and run the same "
    "command again: what is done is kept."
  )


@dataclasses.dataclass
class _Child:
  """A job that runs."""

  job: Job
  slot: int
  process: subprocess.Popen
  started: float
  reader: threading.Thread


def run(
  jobs: Sequence[Job], slots: int, lock_file: int | None = None
) -> Generator[Event, None, None]:
  """Runs jobs, at most `slots` at once, in their order.

  Whatever ends the loop over this (an error, Ctrl-C) ends the children too.
  After a job has failed no other is started; those that run are let finish.

  Args:
    jobs: what to run.
    slots: how many at once; on a CPU each has an equal share of the cores.
    lock_file: a descriptor that the children inherit.

  Yields:
    What happens. `Started` comes before the process is there, so that the
    caller can make a note of it first.
  """
  waiting = list(jobs)
  messages: queue.Queue = queue.Queue()
  running: list[_Child] = []
  failed = False
  try:
    while running or (waiting and not failed):
      while waiting and not failed and len(running) < slots:
        free = set(range(slots)) - {child.slot for child in running}
        job = waiting.pop(0)
        yield Started(job)
        running.append(_start(job, min(free), slots, messages, lock_file))
      with contextlib.suppress(queue.Empty):
        yield messages.get(timeout=0.1)
        continue
      for child in [c for c in running if c.process.poll() is not None]:
        child.reader.join()
        running.remove(child)
        while not messages.empty():
          yield messages.get()
        status = child.process.returncode
        failed = failed or status != 0
        yield Outcome(child.job, status, time.monotonic() - child.started)
  finally:
    _end(running)


def _start(
  job: Job,
  slot: int,
  slots: int,
  messages: queue.Queue,
  lock_file: int | None,
) -> _Child:
  """Starts a job in a session of its own, pinned to its cores.

  A job has its share of the cores also while others are idle: how many threads
  add up a sum decides its last digits, and so where a training ends.
  """
  pinned = slots > 1 and not has_accelerator()
  share = share_of_cores(slot, slots) if pinned else cores()
  environment = dict(os.environ) | dict(job.environment)
  environment[progress.ENVIRONMENT_VARIABLE] = "jsonl"
  environment["PYTHONUNBUFFERED"] = "1"  # the log in the order it was written
  if pinned:
    environment |= thread_environment(len(share))
  job.log.parent.mkdir(parents=True, exist_ok=True)
  log = job.log.open("ab")
  now = time.strftime("%Y-%m-%d %H:%M:%S %z")
  log.write(f"== {now} {' '.join(job.command)}\n".encode())
  log.flush()
  process = subprocess.Popen(
    job.command,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,  # through one pipe, so that order is kept
    env=environment,
    start_new_session=True,
    pass_fds=() if lock_file is None else (lock_file,),
  )
  if pinned and hasattr(os, "sched_setaffinity"):
    with contextlib.suppress(ProcessLookupError):
      os.sched_setaffinity(process.pid, share)
  reader = threading.Thread(
    target=_read, args=(job, process, log, messages), daemon=True
  )
  reader.start()
  return _Child(job, slot, process, time.monotonic(), reader)


def _read(
  job: Job, process: subprocess.Popen, log: BinaryIO, messages: queue.Queue
) -> None:
  """Sorts a child's output into progress and log, until it closes."""
  assert process.stdout is not None
  with log, process.stdout:
    for raw in process.stdout:
      parsed = progress.parse_line(raw.decode("utf-8", "replace"))
      if parsed is None:
        log.write(raw)
        log.flush()
      else:
        messages.put(Progressed(job, *parsed))


def _end(running: Sequence[_Child]) -> None:
  """Ends the children that this process started, and what they started."""
  for sent in (signal.SIGTERM, signal.SIGKILL):
    for child in running:
      if child.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
          os.killpg(child.process.pid, sent)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for child in running:
      with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(max(0.0, deadline - time.monotonic()))
