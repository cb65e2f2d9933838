"""Two processes of two devices each do what one process of one device does."""

import collections
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tiny
from event_files import scalars

from t5cr import cli, errors
from t5cr.engine import checkpoints, formats, main, partitioning, processes

TESTS = pathlib.Path(__file__).parent
SCRIPT = TESTS / "two_processes.py"

RECIPE = f"{tiny.RECIPE}BATCH_SIZE = 8\nLOG_PERIOD = 1\n"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
  path = tmp_path_factory.mktemp("gin") / "tiny.gin"
  path.write_text(RECIPE)
  return path


@contextlib.contextmanager
def two(commands, folder, **variables):
  """Two processes that know of each other; none is left behind."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  children = []
  with contextlib.ExitStack() as stack:
    for index, command in enumerate(commands):
      log = stack.enter_context((folder / f"log_{index}").open("w"))
      environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        # The last two only make compilation quick.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2"
        " --xla_backend_optimization_level=0"
        " --xla_llvm_disable_expensive_passes=true",
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "PYTHONPATH": f"{TESTS.parents[1]}{os.pathsep}{TESTS}",
        "T5CR_COORDINATOR": address,
        "T5CR_NUM_PROCESSES": "2",
        "T5CR_PROCESS_ID": str(index),
        "T5CR_HEARTBEAT_SECONDS": "20",
        **variables,
      }
      child = subprocess.Popen(
        command, env=environment, stdout=log, stderr=log, cwd=folder
      )
      children.append(child)
      stack.callback(child.wait)
      stack.callback(child.kill)
    yield children


def logs(folder):
  return [(folder / f"log_{index}").read_text() for index in range(2)]


def run_two(commands, folder, **variables):
  with two(commands, folder, **variables) as children:
    statuses = [child.wait(300) for child in children]
  assert statuses == [0, 0], "\n".join(log[-3000:] for log in logs(folder))


@pytest.fixture(scope="module")
def together(recipe, tmp_path_factory):
  """The folder of two processes, and what each of them saw."""
  folder = tmp_path_factory.mktemp("two")
  run_two([[sys.executable, SCRIPT, "everything", recipe, folder]] * 2, folder)
  seen = [json.loads((folder / f"seen_{i}.json").read_text()) for i in range(2)]
  return folder, seen


@pytest.fixture(scope="module")
def alone(recipe, tmp_path_factory):
  """The folder of one process with one device, and its metrics at step 4."""
  tiny.register()
  folder = tmp_path_factory.mktemp("one")

  def flags(file, *bindings):
    return {
      "gin_files": [f"t5cr/{file}.gin", recipe],
      "gin_bindings": list(bindings),
    }

  run = f"MODEL_DIR = {str(folder / 'run')!r}"
  metrics = main.train(**flags("finetune", run))
  main.train(**flags("finetune", run, "TRAIN_STEPS = 6", "EVAL_TASKS = ()"))
  for job in ("infer", "score"):
    getattr(main, job)(
      **flags(
        job,
        f"CHECKPOINT_PATH = {str(folder / 'run' / 'checkpoint_4')!r}",
        f"INFER_OUTPUT_DIR = {str(folder / job)!r}",
        "MIXTURE_OR_TASK_NAME = 'tiny_copy'",
      )
    )
  return folder, metrics


def params_of(path):
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  return checkpoints.restore_params(path, mesh)[0]


@pytest.mark.slow
def test_losses_are_those_of_one_process(together, alone):
  """Steps 1 to 4 under data 4, 5 and 6 resumed under fsdp 2 x model 2."""
  there = scalars(together[0] / "run" / "train")["loss"]
  here = scalars(alone[0] / "run" / "train")["loss"]
  assert sorted(there) == sorted(here) == [1, 2, 3, 4, 5, 6]
  np.testing.assert_allclose(
    [there[step] for step in range(1, 7)],
    [here[step] for step in range(1, 7)],
    atol=1e-5,
  )


@pytest.mark.slow
def test_parameters_are_those_of_one_process(together, alone):
  for step in (4, 6):
    there, here = (
      params_of(folder / "run" / f"checkpoint_{step}")
      for folder in (together[0], alone[0])
    )
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), there, here
    )


@pytest.mark.slow
def test_each_example_is_seen_once_an_epoch(together):
  expected = collections.Counter(inputs for inputs, _ in tiny.pairs("train"))
  for of_mesh in zip(*(seen["epochs"] for seen in together[1]), strict=True):
    first, second = map(collections.Counter, of_mesh)
    assert first + second == expected
    assert first.total() == second.total() == 30


@pytest.mark.slow
def test_evaluation_is_that_of_one_process(together, alone):
  folder, (first, second) = together
  assert first["metrics"] == second["metrics"]
  for task, metrics in alone[1].items():
    assert first["metrics"][task] == pytest.approx(metrics, abs=1e-3)
  name = "run/inference_eval/tiny_copy-000004.jsonl"
  assert (folder / name).read_text() == (alone[0] / name).read_text()


@pytest.mark.slow
def test_predictions_and_scores_are_those_of_one_process(together, alone):
  name = "infer/tiny_copy-predict.jsonl-00000-of-00001"
  assert (together[0] / name).read_text() == (alone[0] / name).read_text()
  name = "score/tiny_copy-score.jsonl-00000-of-00001"
  there, here = (
    [
      json.loads(line)["score"]
      for line in (folder / name).read_text().splitlines()
    ]
    for folder in (together[0], alone[0])
  )
  np.testing.assert_allclose(there, here, atol=1e-3)


@pytest.mark.slow
def test_files_have_one_writer(together, alone):
  def files(folder):
    return sorted(
      path.name
      for place in ("", "train", "inference_eval", "inference_eval/tiny_copy")
      for path in (folder / "run" / place).iterdir()
      if not path.name.startswith("events.")
    )

  folder = together[0]
  assert files(folder) == files(alone[0])
  for place, starts in (("train", 2), ("inference_eval/tiny_copy", 1)):
    assert len(list((folder / "run" / place).glob("events.*"))) == starts
  record = json.loads((folder / "run" / "run.json").read_text())
  assert (record["starts"], record["step"]) == (2, 6)
  assert record["machine"]["processes"] == 2
  assert record["machine"]["devices"].startswith("4 x")
  metrics = folder / "run" / "inference_eval" / "tiny_score-metrics.jsonl"
  assert len(metrics.read_text().splitlines()) == 1


@pytest.mark.slow
def test_checkpoints_are_restored_under_another_mesh(together):
  leaves = jax.tree.leaves(params_of(together[0] / "run" / "checkpoint_4"))
  digest = hashlib.sha256(
    b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in leaves)
  ).hexdigest()
  for seen in together[1]:
    assert seen["placed"] == {"step": 4, "shard": [8, 8], "digest": digest}


@pytest.mark.slow
def test_one_process_goes_on_from_two(together, alone, recipe, tmp_path):
  folder = tmp_path / "run"
  source = together[0] / "run"
  shutil.copytree(source / "checkpoint_4", folder / "checkpoint_4")
  shutil.copy(source / "run.json", folder)
  main.train(
    gin_files=["t5cr/finetune.gin", recipe],
    gin_bindings=[
      f"MODEL_DIR = {str(folder)!r}",
      "TRAIN_STEPS = 6",
      "EVAL_TASKS = ()",
    ],
  )
  there = scalars(folder / "train")["loss"]
  here = scalars(alone[0] / "run" / "train")["loss"]
  assert sorted(there) == [5, 6]
  for step in there:
    assert there[step] == pytest.approx(here[step], abs=1e-5)


@pytest.mark.slow
def test_processes_that_do_not_fit_are_refused(together):
  for seen in together[1]:
    assert (
      "gin files and flags say is not the same in process 1"
      in (seen["other_flags"])
    )
    assert (
      "is not there for process 1. MODEL_DIR has to be one folder"
      in (seen["other_folder"])
    )


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_both_go_on(
  together, recipe, tmp_path
):
  with two(
    [[sys.executable, SCRIPT, "dying", recipe, tmp_path]] * 2,
    tmp_path,
    T5CR_HEARTBEAT_SECONDS="10",
  ) as children:
    assert children[1].wait(300) == -signal.SIGKILL, logs(tmp_path)[1][-3000:]
    status = children[0].wait(60)
  waited = time.time() - float((tmp_path / "died").read_text())
  said = logs(tmp_path)[0]
  # It saw the connection break, or JAX missed the other's heartbeat.
  assert (status, "Another process has ended" in said) == (1, True) or (
    (status, "another task died" in said) == (-signal.SIGABRT, True)
  ), said[-3000:]
  assert waited < 30
  assert formats.steps(tmp_path / "run") == [2]
  (tmp_path / "tiny_tasks.py").write_text("import tiny\n\ntiny.register()\n")
  command = [
    *(sys.executable, "-m", "t5cr.cli", "train"),
    *("--gin_file=t5cr/finetune.gin", f"--gin_file={recipe}"),
    f"--gin.MODEL_DIR='{tmp_path}/run'",
    "--gin.MIXTURE_OR_TASK_MODULE='tiny_tasks'",
    "--gin.EVAL_TASKS=()",
  ]
  path = os.pathsep.join(map(str, (TESTS.parents[1], TESTS, tmp_path)))
  run_two([command] * 2, tmp_path, PYTHONPATH=path)
  first, second = logs(tmp_path)
  assert "train: " in first
  assert "train: " not in second
  jax.tree.map(
    np.testing.assert_array_equal,
    params_of(tmp_path / "run" / "checkpoint_4"),
    params_of(together[0] / "run" / "checkpoint_4"),
  )


@pytest.mark.long
def test_sigterm_to_one_saves_in_both_and_both_fall_back(recipe, tmp_path):
  with two(
    [[sys.executable, SCRIPT, "asked", recipe, tmp_path]] * 2, tmp_path
  ) as children:
    statuses = [child.wait(300) for child in children]
  assert statuses == [143, 143], "\n".join(
    log[-2000:] for log in logs(tmp_path)
  )
  # Asked before step 4; what both know of that step is read two steps later.
  for log in logs(tmp_path):
    assert "Stopped by SIGTERM after step 6, which is saved" in log
  assert formats.steps(tmp_path / "run") == [2, 4, 6]
  data = [
    path
    for path in (tmp_path / "run" / "checkpoint_6" / "state").rglob("*")
    if path.is_file()
  ]
  largest = max(data, key=lambda path: path.stat().st_size)
  largest.write_bytes(largest.read_bytes()[:-100])
  run_two(
    [[sys.executable, SCRIPT, "going_on", recipe, tmp_path]] * 2, tmp_path
  )
  assert formats.steps(tmp_path / "run") == [4, 6, 8]
  assert (tmp_path / "run" / "damaged_checkpoint_6").is_dir()
  first, second = logs(tmp_path)
  assert "the run goes on from checkpoint_4" in first
  assert "damaged" not in second


ALL = {
  "T5CR_COORDINATOR": "127.0.0.1:9",
  "T5CR_NUM_PROCESSES": "2",
  "T5CR_PROCESS_ID": "1",
}


def test_the_environment_says_who_takes_part():
  assert processes.settings({}) == {}
  assert processes.settings({**ALL, "T5CR_COORDINATOR": "tpu-0:1234"}) == {
    "coordinator_address": "tpu-0:1234",
    "num_processes": 2,
    "process_id": 1,
    "cluster_detection_method": "deactivate",
  }
  # On the loopback nobody else is listened to.
  assert (
    processes.settings(ALL)["coordinator_bind_address"]
    == ALL["T5CR_COORDINATOR"]
  )


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"T5CR_PROCESS_ID": ""}, "T5CR_PROCESS_ID not"),
    ({"T5CR_COORDINATOR": ""}, "T5CR_COORDINATOR not"),
    ({"T5CR_COORDINATOR": "here"}, "HOST:PORT"),
    ({"T5CR_COORDINATOR": "here:99999"}, "HOST:PORT"),
    ({"T5CR_NUM_PROCESSES": "0"}, "T5CR_NUM_PROCESSES is '0'"),
    ({"T5CR_PROCESS_ID": "2"}, "numbered from 0 to 1"),
    ({"T5CR_PROCESS_ID": "-1"}, "T5CR_PROCESS_ID is '-1'"),
  ],
)
def test_an_environment_that_cannot_be_used_is_told(changes, message):
  with pytest.raises(errors.UsageError, match=message):
    processes.settings({**ALL, **changes})


def test_the_command_names_what_is_missing(recipe, monkeypatch, capsys):
  monkeypatch.setenv("T5CR_PROCESS_ID", "1")
  flags = ["--gin_file=t5cr/finetune.gin", f"--gin_file={recipe}"]
  assert cli.main(["train", *flags, "--gin.MODEL_DIR='nowhere'"]) == 2
  said = capsys.readouterr().err
  assert "T5CR_COORDINATOR and T5CR_NUM_PROCESSES not" in said


@pytest.mark.parametrize("index", ["0", "1"])
def test_a_process_that_stays_alone_says_where_it_waited(index, tmp_path):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  ended = subprocess.run(
    [
      *(sys.executable, "-c"),
      "from t5cr.engine import processes\n"
      "with processes.joined(): print('joined')",
    ],
    env={
      **os.environ,
      **ALL,
      "T5CR_COORDINATOR": address,
      "T5CR_PROCESS_ID": index,
      "T5CR_START_SECONDS": "2",
      "PYTHONPATH": str(TESTS.parents[1]),
    },
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert ended.returncode == 1
  assert f"(process {index} of 2)" in ended.stderr
  assert f"T5CR_COORDINATOR={address}" in ended.stderr
  assert "joined" not in ended.stdout
