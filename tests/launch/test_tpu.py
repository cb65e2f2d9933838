"""launch/tpu.sh among stand-ins: the sequence, a loss, failures, the end."""

import re
import signal

import pytest

TRAIN = ("tpu.sh", "train", "redial", "--out", "gs://bucket/study")
TRAIN += ("--accelerator", "v5litepod-16", "--zone", "us-west4-a")
NONE = {"status": 1, "error": "ERROR: NOT_FOUND: no such node\n"}
READY, PREEMPTED = {"out": "READY\n"}, {"out": "PREEMPTED\n"}
DONE = ("detached.sh status", [{"out": "exited 0\n"}])
# The connection is gone.
BROKEN = {"status": 255}


def steps(cloud) -> list[str]:
  """The calls by what each does."""
  words = []
  for call in cloud.calls("^gcloud"):
    kind = re.search(r"tpus (\S+) (\S+)", call)
    assert kind, call
    word = f"{kind[1]} {kind[2]}" if kind[1] != "tpu-vm" else kind[2]
    inner = re.search(r"--command=(\S+)( \w+)?", call)
    if inner:
      word = inner[1].rpartition("/")[2] + (inner[2] or "")
    words.append(word)
  return words


INSTALLED = ["scp", "mkdir", "tar", "job.sh install"]
RAN = ["detached.sh start", "detached.sh follow", "detached.sh status"]


def test_the_whole_sequence(cloud):
  cloud.answers(DONE, ("describe", [NONE, READY]))
  status, said = cloud.run(*TRAIN, "--spot", "--", "--network=mine")
  assert status == 0, said
  assert steps(cloud) == [
    *("describe", "create", "describe"),
    *INSTALLED,
    *RAN,
    *("describe", "delete"),
  ]
  (create,) = cloud.calls("tpu-vm create")
  for flag in (
    *("--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite"),
    *("--spot", "--network=mine", "--zone=us-west4-a", "--quiet"),
  ):
    assert flag in create.split()
  for call in cloud.calls("mkdir|tar -xzf|install|start"):
    assert "--worker=all" in call
  for call in cloud.calls("tpu-vm (ssh|scp)"):
    kind = "ssh" if " ssh " in call else "scp"
    assert f"--{kind}-flag=-oBatchMode=yes" in call.split()
    assert f"--{kind}-flag=-oServerAliveInterval=30" in call.split()
  (start,) = cloud.calls("detached.sh start")
  assert "job.sh train redial --out gs://bucket/study" in start
  assert start.split().index("--multiprocess") > 0


def test_a_study_runs_its_steps_on_one_machine(cloud):
  cloud.answers(DONE, ("describe", [NONE, READY]))
  arguments = [word if word != "train" else "study" for word in TRAIN]
  arguments.remove("redial")
  status, said = cloud.run(*arguments, "--rows", "none,all", "--engine", "t5x")
  assert status == 0, said
  assert len(cloud.calls("tpu-vm create")) == 1
  started = [
    re.search(r"--worker=(\w+) .*job.sh (.*) --out", call)
    for call in cloud.calls("detached.sh start")
  ]
  assert [found.groups() for found in started if found] == [
    ("0", "data"),
    ("all", "eval none"),
    ("all", "train all"),
    ("0", "report"),
  ]


def test_a_preemption_in_the_middle(cloud):
  cloud.answers(
    ("detached.sh follow", [BROKEN, {}]),
    DONE,
    # Before, when ready, when the connection broke, before the second: the VM
    # that is gone is not asked.
    ("describe", [NONE, READY, PREEMPTED, PREEMPTED, READY]),
  )
  status, said = cloud.run(*TRAIN, "--spot")
  assert status == 0, said
  assert "taken away: starting again (1 of at most 10)" in said
  assert steps(cloud) == [
    *("describe", "create", "describe", *INSTALLED, *RAN[:2]),
    *("describe", "describe", "delete"),
    *("create", "describe", *INSTALLED, *RAN),
    *("describe", "delete"),
  ]
  first, second = cloud.calls("detached.sh start")
  assert first == second  # The run goes on in its folder.


def test_a_job_that_fails_with_its_machine_is_started_again(cloud):
  """A worker that lost another ends before the state of the slice changes."""
  cloud.answers(
    ("detached.sh status", [{"out": "exited 1\n"}, {"out": "exited 0\n"}]),
    ("describe", [NONE, READY, PREEMPTED, PREEMPTED, READY]),
  )
  status, said = cloud.run(*TRAIN)
  assert status == 0, said
  assert len(cloud.calls("tpu-vm create")) == 2


def test_a_loss_while_installing(cloud):
  cloud.answers(
    DONE,
    ("job.sh install", [BROKEN, {}]),
    ("describe", [NONE, READY, PREEMPTED, PREEMPTED, READY]),
  )
  status, said = cloud.run(*TRAIN)
  assert status == 0, said
  assert len(cloud.calls("tpu-vm create")) == 2
  assert len(cloud.calls("detached.sh start")) == 1


def test_a_broken_connection_is_no_loss(cloud):
  cloud.answers(
    ("detached.sh follow", [BROKEN, {}]),
    ("detached.sh status", [{"out": "running\n"}, {"out": "exited 0\n"}]),
    ("describe", [NONE, READY]),
  )
  status, said = cloud.run(*TRAIN)
  assert status == 0, said
  assert len(cloud.calls("detached.sh start")) == 1
  assert "the job goes on" in said


@pytest.mark.parametrize(
  "answers",
  [
    [{"out": "vanished\n"}],
    # The first VM's job noticed before; the second answer is of all VMs.
    [{"out": "exited 1\n"}, {"out": "exited 1\nvanished\n"}],
  ],
)
def test_a_vm_that_was_started_anew_is_used_again(cloud, answers):
  cloud.answers(
    ("detached.sh status", [*answers, {"out": "exited 0\n"}]),
    ("detached.sh running", [{"status": 1}]),
    ("describe", [NONE, READY]),
  )
  status, said = cloud.run(*TRAIN)
  assert status == 0, said
  assert len(cloud.calls("tpu-vm create")) == 1
  assert len(cloud.calls("detached.sh stop .*--worker=all|all.* stop")) == 1
  assert len(cloud.calls("detached.sh start")) == 2


def test_it_gives_up_in_the_end(cloud):
  cloud.answers(
    ("detached.sh status", [BROKEN]),
    ("describe", [NONE, READY, PREEMPTED, PREEMPTED, READY, PREEMPTED]),
  )
  status, said = cloud.run(*TRAIN, "--restarts", "1")
  assert status == 75
  assert "--restarts allows 1" in said
  assert steps(cloud)[-1] == "delete"


def test_a_job_that_fails(cloud):
  cloud.answers(
    ("detached.sh status", [{"out": "exited 3\n"}]),
    ("detached.sh tail", [{"out": "the end of the log\n"}]),
    ("describe", [NONE, READY]),
  )
  status, said = cloud.run(*TRAIN)
  assert status == 3
  assert "the end of the log" in said
  assert "train redial failed with status 3" in said
  assert cloud.calls("stop train_redial.*")  # What is left on the others.
  assert "--worker=all" in cloud.calls("stop train_redial")[0]
  assert steps(cloud)[-1] == "delete"
  assert len(cloud.calls("detached.sh start")) == 1


def test_an_installation_that_fails(cloud):
  cloud.answers(
    ("job.sh install", [{"status": 7, "out": "no space left\n"}]),
    ("describe", [NONE, READY]),
  )
  status, said = cloud.run(*TRAIN)
  assert status == 7
  assert "no space left" in said
  assert steps(cloud)[-1] == "delete"
  assert not cloud.calls("detached.sh")


def test_a_request_that_is_refused_leaves_nothing_to_delete(cloud):
  refused = {"status": 1, "error": "no quota"}
  cloud.answers(("tpu-vm create", [refused]), ("describe", [NONE]))
  status, said = cloud.run(*TRAIN)
  assert status == 1
  assert "no quota" in said
  assert not cloud.calls("delete")


def test_what_gcloud_says_is_shown(cloud):
  denied = {"status": 1, "error": "PERMISSION_DENIED: tpu.nodes.get"}
  cloud.answers(("describe", [denied]))
  status, said = cloud.run(*TRAIN)
  assert status == 1
  assert "PERMISSION_DENIED" in said
  assert not cloud.calls("create")
  # It may be there: nobody can tell.
  assert cloud.calls("delete")


def test_the_queue(cloud):
  states = ["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
  cloud.answers(
    DONE,
    ("tpu-vm describe", [READY]),
    ("describe", [NONE, *({"out": f"{state}\n"} for state in states)]),
  )
  status, said = cloud.run(*TRAIN, "--queued", "--spot", "--name", "mine")
  assert status == 0, said
  for state in states:
    assert f"mine: {state}" in said
  (create,) = cloud.calls("create")
  assert "queued-resources create mine --node-id=mine" in create
  assert "--runtime-version=v2-alpha-tpuv5-lite" in create
  assert "queued-resources delete mine --force" in cloud.calls()[-1]


def test_a_request_that_is_suspended_is_made_again(cloud):
  active, suspended = {"out": "ACTIVE\n"}, {"out": "SUSPENDED\n"}
  cloud.answers(
    ("detached.sh status", [BROKEN, {"out": "exited 0\n"}]),
    ("tpu-vm describe", [READY]),
    ("describe", [NONE, active, suspended, suspended, active]),
  )
  status, said = cloud.run(*TRAIN, "--queued", "--spot")
  assert status == 0, said
  requests = [step for step in steps(cloud) if "queued-resources " in step]
  assert [r.split()[1] for r in requests if "describe" not in r] == [
    *("create", "delete", "create", "delete")
  ]


def test_a_machine_that_is_there_is_used(cloud):
  """A job that was left there is followed, and nothing changed under it."""
  job = ("detached.sh running", [{"out": "train_redial\n"}])
  cloud.answers(DONE, job, ("describe", [READY]))
  status, said = cloud.run(*TRAIN, "--keep")
  assert status == 0, said
  assert steps(cloud)[-3:] == RAN
  assert not cloud.calls("scp|install")
  assert not cloud.calls("create|delete")
  assert "gcloud compute tpus tpu-vm delete t5cr" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_deletes_the_machine(cloud, number):
  cloud.answers(
    ("detached.sh follow", [{"run": "sleep 100"}]), ("describe", [NONE, READY])
  )
  status, said = cloud.interrupt("detached.sh follow", number, *TRAIN)
  assert status == 128 + number
  assert steps(cloud)[-2:] == ["describe", "delete"], said


# The deletion takes a moment, and notes that it came to its end.
DELETES = ("delete", [{"run": 'sleep 0.5; echo "deleted" >>"$folder/calls"'}])
HUP, INT, PIPE = signal.SIGHUP, signal.SIGINT, signal.SIGPIPE


@pytest.mark.parametrize(
  "signals",
  [
    [("detached.sh follow", PIPE)],
    [("detached.sh follow", INT)],
    [("detached.sh follow", INT), ("delete", INT)],
    [("detached.sh follow", HUP), ("delete", HUP)],
  ],
)
def test_it_deletes_the_machine_though_nobody_reads(cloud, signals):
  """Ctrl-C ends the `tee` behind it too; a closed terminal hangs up twice."""
  cloud.answers(
    DELETES,
    ("detached.sh follow", [{"run": "sleep 100"}]),
    ("describe", [NONE, READY]),
  )
  status = cloud.abandon(signals, *TRAIN)
  assert status == {INT: 130, HUP: 143, PIPE: 141}[signals[0][1]]
  assert cloud.calls()[-1] == "deleted"


@pytest.mark.parametrize("keys", [b"\x03", b""])
def test_a_question_on_the_terminal_does_not_hold_it(cloud, keys):
  """A passphrase, say; then Ctrl-C, or the terminal is closed."""
  cloud.answers(
    DELETES,
    ("detached.sh follow", [{"run": "read -r answer </dev/tty"}]),
    ("describe", [NONE, READY]),
  )
  status = cloud.on_terminal("detached.sh follow", keys, *TRAIN)
  assert status == (130 if keys else 143)
  assert cloud.calls()[-1] == "deleted"


@pytest.mark.parametrize("job", ["train_all\n", "data\n"])
def test_the_machine_of_another_launch_is_left_alone(cloud, job):
  cloud.answers(("running", [{"out": job}]), ("describe", [READY]))
  status, said = cloud.run(*TRAIN)
  assert status == 3
  assert f"TPU t5cr runs {job.strip()} of another launch" in said
  assert "use another --name" in said
  assert not cloud.calls("scp|start|create|stop|delete")


def test_another_launch_that_came_first_is_left_alone(cloud):
  cloud.answers(
    ("detached.sh start", [{"status": 3, "out": "train_all runs here\n"}]),
    ("describe", [NONE, READY]),
  )
  status, said = cloud.run(*TRAIN)
  assert status == 3
  assert "use another --name" in said
  assert not cloud.calls("stop|delete")


def test_a_step_before_that_hangs_on_a_vm_is_stopped(cloud):
  hangs = {"status": 3, "out": "data runs here\n"}
  cloud.answers(
    DONE, ("detached.sh start", [{}, hangs, {}]), ("describe", [NONE, READY])
  )
  arguments = [word if word != "train" else "study" for word in TRAIN]
  arguments.remove("redial")
  status, said = cloud.run(*arguments, "--rows", "all")
  assert status == 0, said
  (stop,) = cloud.calls("detached.sh stop data")
  assert "--worker=all" in stop
  assert steps(cloud)[-1] == "delete"


OUTAGE = {"status": 1, "error": "Network is unreachable\n"}


@pytest.mark.parametrize(
  ("unknown", "lost"),
  [(1, 0), (2, 0), (4, 1)],  # In a row; three of them look like a loss.
)
def test_an_outage_of_this_network_is_no_loss(cloud, unknown, lost):
  follows = min(unknown, 3)
  cloud.answers(
    DONE,
    ("detached.sh follow", [*[BROKEN] * follows, {}]),
    ("detached.sh running", [{"out": "train_redial\n"}]),
    ("describe", [NONE, READY, *[OUTAGE] * (5 * unknown), READY]),
  )
  status, said = cloud.run(*TRAIN)
  assert status == 0, said
  assert said.count("starting again") == lost
  assert len(cloud.calls("tpu-vm create")) == 1
  assert len(cloud.calls("job.sh install")) == 1
  assert len(cloud.calls("tpu-vm delete")) == 1


def test_after_a_loss_it_waits_until_there_is_a_machine_again(cloud):
  none_left = {"status": 1, "error": "There is no more capacity in the zone\n"}
  cloud.answers(
    DONE,
    ("tpu-vm create", [{}, none_left, {}]),
    ("detached.sh follow", [BROKEN, {}]),
    ("describe", [NONE, READY, PREEMPTED, PREEMPTED, NONE, READY]),
  )
  status, said = cloud.run(*TRAIN, "--spot")
  assert status == 0, said
  assert "no more capacity" in said and "--queued waits for one" in said
  assert len(cloud.calls("tpu-vm create")) == 3
