import contextlib
import io
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from t5cr import errors, progress
from t5cr.study import children, locks, opening


def job(tmp_path, name, code):
  return children.Job(
    name, (sys.executable, "-c", code), tmp_path / f"{name}.txt", {}
  )


def outcomes(jobs, slots):
  events = children.run(jobs, slots)
  return [e for e in events if isinstance(e, children.Outcome)]


def test_progress_is_parted_from_the_log(tmp_path):
  code = (
    "import sys\n"
    "from t5cr import progress\n"
    "progress.Reporter()('train', 2, 2, 'steps')\n"
    "print('loss 3')\n"
    "print('careful', file=sys.stderr)\n"
  )
  only = job(tmp_path, "redial", code)
  started, progressed, outcome = children.run([only], 1)
  assert started == children.Started(only)
  assert progressed == children.Progressed(only, "train", 2, 2, "steps")
  assert outcome.status == 0
  log = only.log.read_text()
  assert "loss 3" in log and "careful" in log and "stage" not in log


def test_no_more_than_the_slots_run_at_once(tmp_path):
  jobs = [job(tmp_path, str(n), "import time; time.sleep(.3)") for n in "abc"]
  running, most = 0, 0
  for event in children.run(jobs, 2):
    running += isinstance(event, children.Started)
    running -= isinstance(event, children.Outcome)
    most = max(most, running)
  assert most == 2


def test_after_a_failure_nothing_starts_and_the_rest_finish(tmp_path):
  jobs = [
    job(tmp_path, "bad", "raise SystemExit(3)"),
    job(tmp_path, "slow", "import time; time.sleep(1); print('finished')"),
    job(tmp_path, "never", "print('started')"),
  ]
  ended = {o.job.name: o.status for o in outcomes(jobs, 2)}
  assert ended == {"bad": 3, "slow": 0}
  assert not (tmp_path / "never.txt").exists()


def test_failure_shows_the_end_of_the_log(tmp_path):
  code = "print('first'); print('\\n' * 40); raise ValueError('out of movies')"
  (outcome,) = outcomes([job(tmp_path, "all", code)], 1)
  message = str(children.failure(outcome))
  assert "out of movies" in message and "first" not in message
  assert str(tmp_path / "all.txt") in message


@pytest.mark.skipif(len(children.cores()) < 2, reason="needs two cores")
@pytest.mark.skipif(children.has_accelerator(), reason="pins on a CPU only")
def test_each_child_has_its_share_of_the_cores(tmp_path):
  code = (
    "import os, time; time.sleep(.3)\n"
    "print('cores', sorted(os.sched_getaffinity(0)))\n"
    "print('threads', os.environ['OMP_NUM_THREADS'])\n"
  )
  outcomes([job(tmp_path, name, code) for name in ("a", "b")], 2)
  # More cores, and so more threads, would change the last digits of its sums.
  outcomes([job(tmp_path, "lonely", code)], 2)
  every = children.cores()
  shares = [sorted(children.share_of_cores(slot, 2)) for slot in (0, 1)]
  assert not set(shares[0]) & set(shares[1])
  assert len(shares[0]) == len(shares[1]) == len(every) // 2
  names = ("a", "b", "lonely")
  for name, share in zip(names, [*shares, shares[0]], strict=True):
    log = (tmp_path / f"{name}.txt").read_text()
    assert f"cores {share}" in log
    assert f"threads {len(share)}" in log


@pytest.mark.parametrize("count, slots", [(3, 2), (8, 3), (2, 2), (1, 2)])
def test_a_row_has_as_many_cores_in_whatever_slot_it_goes_on(
  monkeypatch, count, slots
):
  monkeypatch.setattr(children, "cores", lambda: tuple(range(count)))
  shares = [children.share_of_cores(slot, slots) for slot in range(slots)]
  assert {len(share) for share in shares} == {max(count // slots, 1)}
  if count >= slots:
    assert len(set().union(*shares)) == slots * (count // slots)


def test_closing_ends_the_children(tmp_path):
  code = (
    "import os, time\n"
    "from t5cr import progress\n"
    "progress.Reporter()('pid', os.getpid(), None, '')\n"
    "time.sleep(60)\n"
  )
  with contextlib.closing(
    children.run([job(tmp_path, "long", code)], 1)
  ) as events:
    for event in events:
      if isinstance(event, children.Progressed):
        process_id = event.done
        break
  with pytest.raises(ProcessLookupError):
    os.kill(process_id, 0)


# Starts a child as a study does, tells its process id and sleeps, or is killed.
PARENT = """
import os, pathlib, sys, time
from t5cr import progress
from t5cr.study import children, opening
out = pathlib.Path(sys.argv[1])
command = (sys.executable, "-c", sys.argv[2])
job = children.Job("row", command, out / "log", {{}})
reporter = progress.Reporter("quiet")
with opening.open_study(out, {{}}, reporter) as study:
  for event in children.run([job], 1, study.lock_file):
    if isinstance(event, children.Progressed):
      print("ready", flush=True)
      {then}
"""
READY = """
import signal, time
from t5cr import progress
{first}
progress.Reporter()('x', 1, None, '')
time.sleep({seconds})
"""


def orphan(out, first, seconds, then="os.kill(os.getpid(), 9)"):
  """A study is killed while its child sleeps; the child's process id."""
  child = READY.format(first=first, seconds=seconds)
  code = PARENT.format(then=then)
  command = (sys.executable, "-c", code, str(out), child)
  ended = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
  assert ended.returncode == -signal.SIGKILL
  return int((out / ".rows.lock").read_text())


def is_alive(process_id):
  """Whether it runs; not if it is only waited for."""
  stat = pathlib.Path("/proc", str(process_id), "stat")
  return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends it there")
def test_a_child_ends_when_its_parent_is_killed(tmp_path):
  child = orphan(tmp_path, "", 60)
  deadline = time.monotonic() + 5
  while is_alive(child) and time.monotonic() < deadline:
    time.sleep(0.02)
  assert not is_alive(child)


IGNORES = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def test_what_a_killed_study_left_running_is_waited_for(tmp_path):
  child = orphan(tmp_path, IGNORES, 2)
  said = io.StringIO()
  reporter = progress.Reporter("plain", stream=said)
  with opening.open_study(tmp_path, {}, reporter):
    assert not is_alive(child)
  assert f"still ending in {tmp_path} (processes {child} on" in said.getvalue()


def test_what_a_killed_study_left_running_keeps_others_out(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(locks, "_PATIENCE_SECONDS", 0.1)
  child = orphan(tmp_path, IGNORES, 60)
  # Ended long ago, of another program, no number, no text.
  with (tmp_path / ".rows.lock").open("ab") as file:
    file.write(b"99999999\n1\n-1\n; reboot\n\xff\n")
  try:
    for _ in range(2):
      with (
        pytest.raises(errors.UsageError, match=rf"\(kill -9 {child}\)"),
        opening.open_study(tmp_path, {}, progress.Reporter("quiet")),
      ):
        pass
  finally:
    os.kill(child, signal.SIGKILL)


def test_a_child_that_does_not_end_is_made_to(tmp_path, monkeypatch):
  monkeypatch.setattr(children, "_PATIENCE_SECONDS", 0.5)
  code = READY.format(first=IGNORES, seconds=60)
  with contextlib.closing(
    children.run([job(tmp_path, "deaf", code)], 1)
  ) as events:
    while not isinstance(next(events), children.Progressed):
      pass
    (process_id,) = map(int, children_of(os.getpid()))
    begun = time.monotonic()
  assert time.monotonic() - begun < 5
  assert not is_alive(process_id)


def test_a_signal_just_after_the_start_leaves_no_child(tmp_path, monkeypatch):
  started = []
  start = subprocess.Popen

  def noted(*given, **options):
    started.append(start(*given, **options))
    return started[-1]

  def interrupted(**options):
    raise KeyboardInterrupt

  monkeypatch.setattr(subprocess, "Popen", noted)
  monkeypatch.setattr(threading, "Thread", interrupted)
  with pytest.raises(KeyboardInterrupt):
    outcomes([job(tmp_path, "long", "import time; time.sleep(60)")], 1)
  assert started[0].wait(5) == -signal.SIGKILL


def children_of(process_id):
  tasks = pathlib.Path("/proc", str(process_id), "task").glob("*/children")
  return [child for task in tasks for child in task.read_text().split()]


def test_the_log_says_that_a_child_was_killed(tmp_path):
  code = "import os; print('so far', flush=True); os.kill(os.getpid(), 9)"
  (outcome,) = outcomes([job(tmp_path, "row", code)], 1)
  message = str(children.failure(outcome))
  assert "row was ended by SIGKILL, which the system sends" in message
  assert "so far" in message


# `t5cr reproduce` with a row that sleeps for all there is to do.
COMMAND = """
import sys
from t5cr import cli
from t5cr.study import children, reproduce
def run(settings, *, jobs, reporter):
  command = (sys.executable, "-c", sys.argv[2])
  job = children.Job("row", command, settings.out / "log", {})
  for event in children.run([job], 1):
    if isinstance(event, children.Progressed):
      print(event.done, flush=True)
reproduce.reproduce = run
sys.exit(cli.main(["reproduce", "--out", sys.argv[1]]))
"""


@pytest.mark.parametrize(
  "name, status, words",
  [
    ("SIGTERM", 143, "SIGTERM ended the study. What is done is kept"),
    ("SIGHUP", 143, "SIGHUP ended the study. What is done is kept"),
    ("SIGINT", 130, "Interrupted. The same command goes on from here."),
  ],
)
def test_a_signal_ends_the_rows_in_order(tmp_path, name, status, words):
  child = READY.format(first="import os", seconds=60)
  child = child.replace("1, None", "os.getpid(), None")
  with subprocess.Popen(
    (sys.executable, "-c", COMMAND, str(tmp_path), child),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    row = int(process.stdout.readline())
    process.send_signal(signal.Signals[name])
    _, said = process.communicate(timeout=30)
  assert process.returncode == status
  assert words in said
  assert not is_alive(row)


LOST = """
import os, signal, sys
from t5cr import cli
from t5cr.study import reproduce
class Callback:
  def __del__(self):
    os.kill(os.getpid(), signal.SIGINT)
def run(settings, *, jobs, reporter):
  Callback()
  reporter.say("went on")
reproduce.reproduce = run
sys.exit(cli.main(["reproduce", "--out", sys.argv[1]]))
"""


def test_a_signal_that_came_in_a_callback_is_not_lost(tmp_path):
  ran = subprocess.run(
    (sys.executable, "-c", LOST, str(tmp_path)),
    capture_output=True,
    text=True,
    check=False,
  )
  assert "Exception ignored in: <function Callback" in ran.stderr
  assert ran.returncode == 130
  assert "went on" not in ran.stderr
