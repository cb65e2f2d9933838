"""Runs commands in parallel, each on its share of the machine.

A child writes its progress as JSON lines (`T5CR_PROGRESS=jsonl`); all else that
it writes goes to its log.
"""

import collections
import contextlib
import dataclasses
import glob
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from typing import BinaryIO

from t5cr import errors, progress
from t5cr.study import leash

_TAIL_LINES = 25
# Between asking a child to end, which saves a checkpoint, and making it.
_PATIENCE_SECONDS = 60.0


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
    status: exit status; 0 is success, -9 that signal 9 ended it.
    seconds: how long it ran.
    tail: the last lines that it wrote, also where its log has no room.
  """

  job: Job
  status: int
  seconds: float
  tail: Sequence[str] = ()


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
  """The cores of one of several slots; never none, and as many for each.

  What does not divide evenly is left idle: with more threads in one slot than
  in another a row would end elsewhere, whatever slot it goes on in.
  """
  every = cores()
  size = max(len(every) // slots, 1)
  return tuple(every[(slot * size + i) % len(every)] for i in range(size))


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


def failure(outcome: Outcome) -> errors.RunError:
  """The error that tells of a job that did not succeed."""
  how = f"ended with status {outcome.status}"
  if outcome.status < 0:
    how = f"was ended by {signal.Signals(-outcome.status).name}"
  if outcome.status == -signal.SIGKILL:
    how += ", which the system sends where memory runs out,"
  last = "\n".join(f"  {line}" for line in outcome.tail)
  return errors.RunError(
    f"{outcome.job.name} {how} after "
    f"{progress.duration(outcome.seconds)}. Its log ends so:\n{last}\n"
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
  tail: collections.deque[str]


def run(
  jobs: Sequence[Job], slots: int, lock_file: int | None = None
) -> Generator[Event, None, None]:
  """Runs jobs, at most `slots` at once, in their order.

  Whatever ends the loop over this (an error, Ctrl-C) ends the children too.
  After a job has failed no other is started; those that run are let finish.

  Args:
    jobs: what to run.
    slots: how many at once; on a CPU each has an equal share of the cores.
    lock_file: a descriptor that the children inherit, to which their process
      ids are written.

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
        _start(job, min(free), slots, messages, lock_file, running)
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
        spent = time.monotonic() - child.started
        yield Outcome(child.job, status, spent, tuple(child.tail))
  finally:
    _end(running)


def _start(
  job: Job,
  slot: int,
  slots: int,
  messages: queue.Queue,
  lock_file: int | None,
  running: list[_Child],
) -> None:
  """Starts a job in a session of its own, on a leash, pinned to its cores.

  It is added to those that run at once: a signal may raise an error anywhere.

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
  # The folder of a study may be anybody's: a link is not written through.
  log = open(job.log, "ab", opener=_no_link)
  process = None
  try:
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    log.write(f"== {now} {' '.join(job.command)}\n".encode())
    log.flush()
    process = subprocess.Popen(
      (*_leash(share if pinned else ()), *job.command),
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,  # through one pipe, so that order is kept
      env=environment,
      start_new_session=True,
      pass_fds=() if lock_file is None else (lock_file,),
    )
    tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
    reader = threading.Thread(
      target=_read, args=(job, process, log, tail, messages), daemon=True
    )
    child = _Child(job, slot, process, time.monotonic(), reader, tail)
    running.append(child)
  except BaseException:
    log.close()
    if process is not None:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    raise
  reader.start()
  if lock_file is not None:
    with contextlib.suppress(OSError):  # It only helps who has to end it.
      os.write(lock_file, f"{process.pid}\n".encode())


def _no_link(path: str, flags: int) -> int:
  """Opens a file that is no link."""
  return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _leash(share: Sequence[int]) -> tuple[str, ...]:
  """What goes before a command: see `leash`."""
  alone = (sys.executable, "-I", "-S", leash.__file__)
  return (*alone, str(os.getpid()), ",".join(map(str, share)))


def _read(
  job: Job,
  process: subprocess.Popen,
  log: BinaryIO,
  tail: collections.deque[str],
  messages: queue.Queue,
) -> None:
  """Sorts a child's output into progress and log, until it closes."""
  assert process.stdout is not None
  with contextlib.suppress(OSError), log:
    with process.stdout:
      for raw in process.stdout:
        text = raw.decode("utf-8", "replace")
        parsed = progress.parse_line(text)
        if parsed is not None:
          messages.put(Progressed(job, *parsed))
          continue
        tail.append(text.rstrip("\n"))
        # A full disk is the child's to tell of; it is read on, or it would
        # wait for ever.
        with contextlib.suppress(OSError):
          log.write(raw)
          log.flush()


def _end(running: Sequence[_Child]) -> None:
  """Ends the children that this process started, and what they started."""
  try:
    _send(running, signal.SIGTERM)
  finally:  # At once if a second Ctrl-C comes while they are waited for.
    _send(running, signal.SIGKILL)


def _send(running: Sequence[_Child], number: signal.Signals) -> None:
  """Sends a signal to those that still run, and waits until they ended."""
  for child in running:
    if child.process.poll() is None:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)
  deadline = time.monotonic() + _PATIENCE_SECONDS
  for child in running:
    with contextlib.suppress(subprocess.TimeoutExpired):
      child.process.wait(max(0.0, deadline - time.monotonic()))
