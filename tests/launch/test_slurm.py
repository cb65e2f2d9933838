"""launch/slurm.sh among stand-ins: jobs, a loss, a failure, the end."""

import re
import signal
import sys

import pytest

SUBMITTED = ("sbatch", [{"out": "7;cluster\n"}, {"out": "8\n"}, {"out": "9\n"}])
LEFT = {"out": ""}


def queue(*states: str) -> list[dict]:
  """What squeue says of a job until it has left."""
  return [*({"out": f"{state}\n"} for state in states), LEFT]


def ended(*outcomes: str) -> tuple[str, list[dict]]:
  return ("sacct", [{"out": f"{outcome}\n"} for outcome in outcomes])


@pytest.fixture
def launch(cloud, tmp_path):
  """Runs launch/slurm.sh with an environment that has everything."""

  def run(*words: str) -> tuple[int, str]:
    return cloud.run("slurm.sh", *words, *flags)

  flags = ["--out", str(tmp_path / "out"), "--python", sys.executable]
  flags += ["--nodes", "2", "--gpus", "4"]
  run.flags = flags
  return run


def names(cloud) -> list[str]:
  return [call.split()[0] for call in cloud.calls() if "git" not in call]


def test_the_whole_sequence(cloud, launch, tmp_path):
  cloud.answers(
    SUBMITTED, ("squeue", queue("PENDING", "RUNNING")), ended("COMPLETED|0:0")
  )
  status, said = cloud.run(
    *("slurm.sh", "train", "all", *launch.flags, "--time", "1:00:00"),
    *("--", "--partition=gpu"),
  )
  assert status == 0, said
  assert names(cloud) == ["sbatch", *["squeue"] * 3, "sacct"]
  (submitted,) = cloud.calls("sbatch")
  for flag in (
    *("--parsable", "--requeue", "--open-mode=append", "--partition=gpu"),
    *("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4"),
    *("--time=1:00:00", "--job-name=t5cr-train-all", "--multiprocess"),
    f"--output={tmp_path}/out/logs/t5cr-train-all.log",
  ):
    assert flag in submitted.split(), flag
  assert re.search(r"--wrap=srun .*launch/job.sh train all --out", submitted)
  assert cloud.calls("squeue")[0].split()[2] == "--jobs=7"
  assert "job 7: PENDING" in said


def test_a_study_is_jobs_one_after_the_other(cloud, launch):
  cloud.answers(SUBMITTED, ("squeue", [LEFT]), ended("COMPLETED|0:0"))
  status, said = launch("study", "--rows", "redial")
  assert status == 0, said
  jobs = [
    re.search(r"job-name=(\S+) .*--nodes=(\d)", call)
    for call in cloud.calls("sbatch")
  ]
  assert [job.groups() for job in jobs if job] == [
    ("t5cr-data", "1"),
    ("t5cr-train-redial", "2"),
    ("t5cr-report", "1"),
  ]


def test_a_job_that_is_put_back_in_the_queue_is_waited_for(cloud, launch):
  cloud.answers(
    SUBMITTED,
    ("squeue", queue("RUNNING", "PENDING", "RUNNING")),
    # The records come after the queue.
    ended("RUNNING|0:0", "COMPLETED|0:0"),
  )
  status, said = launch("train", "redial")
  assert status == 0, said
  assert len(cloud.calls("sbatch")) == 1


@pytest.mark.parametrize("lost", ["PREEMPTED", "NODE_FAIL", "TIMEOUT"])
def test_a_job_that_was_ended_is_submitted_again(cloud, launch, lost):
  cloud.answers(
    SUBMITTED, ("squeue", [LEFT]), ended(f"{lost}|0:15", "COMPLETED|0:0")
  )
  status, said = launch("train", "redial")
  assert status == 0, said
  first, second = cloud.calls("sbatch")
  assert first == second
  assert "starting again (1 of at most 10)" in said
  # SLURM itself must not start the first one beside the second.
  did = [call for call in names(cloud) if call in ("sbatch", "scancel")]
  assert did == ["sbatch", "scancel", "sbatch"]
  assert cloud.calls("scancel") == ["scancel 7"]


def test_a_job_that_fails(cloud, launch, tmp_path):
  log = tmp_path / "out" / "logs" / "t5cr-score-redial.log"
  log.parent.mkdir(parents=True)
  log.write_text("the end of the log\n")
  cloud.answers(SUBMITTED, ("squeue", [LEFT]), ended("FAILED|4:0"))
  status, said = launch("score", "redial")
  assert status == 4
  assert "the end of the log" in said
  assert not cloud.calls("scancel")


def test_a_job_that_is_refused(cloud, launch):
  cloud.answers(("sbatch", [{"status": 1, "error": "Invalid partition\n"}]))
  status, said = launch("train", "redial")
  assert status == 1
  assert "Invalid partition" in said
  assert names(cloud) == ["sbatch"]


def test_interrupted_it_cancels_the_job(cloud, launch):
  cloud.answers(SUBMITTED, ("squeue", [{"out": "RUNNING\n"}]))
  status, said = cloud.interrupt(
    "squeue", signal.SIGINT, "slurm.sh", "train", "redial", *launch.flags
  )
  assert status == 130
  assert cloud.calls()[-1] == "scancel 7", said


def test_kept_it_says_how_to_cancel(cloud, launch):
  cloud.answers(SUBMITTED, ("squeue", [{"out": "RUNNING\n"}]))
  words = ("slurm.sh", "train", "redial", *launch.flags, "--keep")
  status, said = cloud.interrupt("squeue", signal.SIGTERM, *words)
  assert status == 143
  assert "scancel 7 ends it" in said
  assert not cloud.calls("scancel")


@pytest.mark.parametrize("state", ["down*", "allocated*", "drained", "idle"])
def test_a_job_that_fails_with_its_node_is_submitted_again(
  cloud, launch, state
):
  """Its peers miss a node before SLURM does."""
  cloud.answers(
    SUBMITTED,
    ("squeue", [LEFT]),
    ("sacct .*NodeList", [{"out": "node[1-2]\n"}]),
    ended("FAILED|1:0", "COMPLETED|0:0"),
    ("sinfo .*--nodes=node.1-2.", [{"out": f"allocated\n{state}\n"}]),
  )
  status, said = launch("train", "redial")
  assert status == (1 if state == "idle" else 0), said
  assert len(cloud.calls("sbatch")) == (1 if state == "idle" else 2)


@pytest.mark.parametrize(
  ("state", "expected"), [("COMPLETED", 0), ("FAILED", 4), ("NODE_FAIL", 75)]
)
def test_without_accounting_the_controller_is_asked(
  cloud, launch, state, expected
):
  told = f"JobId=7 JobName=x JobState={state} Reason=None Requeue=1 "
  told += f"ExitCode={expected % 75}:0 DerivedExitCode=0:0\n"
  cloud.answers(
    SUBMITTED,
    ("squeue", queue("RUNNING")),
    ("sacct", [{"status": 1, "error": "accounting storage is disabled\n"}]),
    ("scontrol", [{"out": told}]),
  )
  status, said = launch("train", "redial", "--restarts", "0")
  assert status == expected, said
  assert f"job 7: {state}|" in said


def test_without_accounting_a_lost_node_is_seen_too(cloud, launch):
  told = (
    "JobId=7 JobState=FAILED ExitCode=1:0 ReqNodeList=(null) NodeList=node1"
  )
  cloud.answers(
    SUBMITTED,
    ("squeue", [LEFT]),
    ("scontrol", [{"out": told}]),
    ("sinfo .*--nodes=node1 ", [{"out": "down*\n"}]),
  )
  status, said = launch("train", "redial", "--restarts", "0")
  assert status == 75, said


def test_a_job_of_which_nobody_tells_is_cancelled(cloud, launch):
  cloud.answers(SUBMITTED, ("squeue", queue("RUNNING")))
  status, said = launch("train", "redial")
  assert status == 1
  assert "SLURM tells nothing of job 7 any more" in said
  assert cloud.calls()[-1] == "scancel 7"


def test_only_polls_in_a_row_without_an_answer_are_too_many(cloud, launch):
  silence = [LEFT] * 2
  running = {"out": "RUNNING\n"}
  cloud.answers(
    SUBMITTED,
    ("squeue", [*silence, running, *silence, running, LEFT]),
    ("sacct", [*silence, *silence, {"out": "COMPLETED|0:0\n"}]),
  )
  status, said = launch("train", "redial")
  assert status == 0, said
