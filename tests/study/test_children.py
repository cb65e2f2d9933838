import contextlib
import os
import sys
import time

import pytest

from t5cr.study import children


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
  assert sorted(shares[0] + shares[1]) == list(every)
  names = ("a", "b", "lonely")
  for name, share in zip(names, [*shares, shares[0]], strict=True):
    log = (tmp_path / f"{name}.txt").read_text()
    assert f"cores {share}" in log
    assert f"threads {len(share)}" in log


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


def test_a_child_ends_when_its_parent_is_gone(tmp_path):
  """Nobody reads the pipe any more, so writing progress fails."""
  code = (
    "import os, sys, subprocess\n"
    "child = '''\n"
    "import os, time\n"
    "from t5cr import progress\n"
    "report = progress.Reporter('jsonl')\n"
    "for n in range(100):\n"
    "  report('x', n, None, 'units')\n"
    "  time.sleep(.1)\n"
    "'''\n"
    "p = subprocess.Popen([sys.executable, '-c', child],"
    " stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
    "p.stdout.readline()\n"
    "print(p.pid)\n"
    "sys.stdout.flush()\n"
    "os._exit(9)\n"
  )
  only = job(tmp_path, "parent", code)
  (outcome,) = outcomes([only], 1)
  assert outcome.status == 9
  process_id = int(only.log.read_text().splitlines()[-1])
  deadline = time.monotonic() + 10
  while time.monotonic() < deadline:
    try:
      os.kill(process_id, 0)
    except ProcessLookupError:
      return
    time.sleep(0.1)
  pytest.fail("the child still runs")
