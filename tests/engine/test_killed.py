"""A run that is killed fifty times ends as one that never was."""

import collections
import os
import pathlib
import random
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tiny

from t5cr.engine import checkpoints, partitioning

TESTS = pathlib.Path(__file__).parent
KILLS = 50
STEPS = 1000
RECIPE = f"""{tiny.RECIPE}
BATCH_SIZE = 4
SEED = 2
TRAIN_STEPS = {STEPS}
CHECKPOINT_PERIOD = 7
EVAL_PERIOD = 40
LOG_PERIOD = 5
"""


class Life:
  """A process from its start to its end, and the lines that it wrote."""

  def __init__(self, folder, name, recipe):
    self.log = folder / f"{name}.log"
    self.run = folder / "run"
    with (folder / f"{name}.out").open("wb") as out:
      self.process = subprocess.Popen(
        [sys.executable, TESTS / "killed_run.py", recipe, self.run, self.log],
        env={
          **os.environ,
          "PYTHONPATH": f"{TESTS.parents[1]}{os.pathsep}{TESTS}",
          "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        },
        stdout=out,
        stderr=out,
      )

  def lines(self):
    return self.log.read_text().splitlines() if self.log.exists() else []

  def batches(self):
    return [line.split() for line in self.lines() if line[0].isdigit()]

  def until(self, reached):
    """Waits for something; False if the process ended before."""
    while not reached():
      if self.process.poll() is not None:
        return False
      time.sleep(0.002)
    return True

  def kill(self, moment, dice):
    """Ends the process at a moment of some kind; False if it had ended."""
    if moment == "start":
      time.sleep(dice.uniform(0, 8))
    elif moment == "step":
      least = dice.randint(1, 40)
      if not self.until(lambda: len(self.batches()) >= least):
        return False
    elif moment == "checkpoint":
      least = dice.randint(1, 20)
      if not self.until(lambda: len(self.batches()) >= least) or not self.until(
        lambda: list(self.run.glob("*checkpoint-tmp*"))
      ):
        return False
    elif not self.until(lambda: "evaluate" in self.lines()):
      return False
    time.sleep(dice.uniform(0, 0.2))
    self.process.kill()
    return self.process.wait() < 0


@pytest.fixture
def recipe(tmp_path):
  path = tmp_path / "killed.gin"
  path.write_text(RECIPE)
  return path


def params_of(folder):
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  return checkpoints.restore_params(folder, mesh)[0]


@pytest.mark.long
def test_fifty_kills_change_nothing(recipe, tmp_path):
  (tmp_path / "whole").mkdir()
  whole = Life(tmp_path / "whole", "life", recipe)
  assert whole.process.wait() == 0, whole.log.with_suffix(".out").read_text()
  expected = dict(whole.batches())
  assert list(expected) == [str(step) for step in range(1, STEPS + 1)]
  dice = random.Random(7)
  kills, seen = collections.Counter(), {}
  number = 0
  while sum(kills.values()) < KILLS:
    moment = dice.choice(["start", "step", "checkpoint", "evaluation"])
    life = Life(tmp_path, f"life_{number}", recipe)
    number += 1
    assert life.kill(moment, dice), life.log.with_suffix(".out").read_text()
    kills[moment] += 1
    # What was trained again after a kill is trained on the very same batches.
    for step, digest in life.batches():
      assert digest == expected[step]
    seen |= dict(life.batches())
  last = Life(tmp_path, "last", recipe)
  assert last.process.wait() == 0, last.log.with_suffix(".out").read_text()
  assert seen | dict(last.batches()) == expected
  jax.tree.map(
    np.testing.assert_array_equal,
    params_of(tmp_path / "run"),
    params_of(tmp_path / "whole" / "run"),
  )
  results = [
    {
      path.name: path.read_text()
      for path in (folder / "run" / "inference_eval").glob("*.jsonl")
    }
    for folder in (tmp_path, tmp_path / "whole")
  ]
  assert results[0] == results[1]
  left = [path.name for path in (tmp_path / "run").iterdir()]
  assert not [name for name in left if "tmp" in name or "damaged" in name]
  print(f"{dict(kills)} of {KILLS} kills; {number + 1} starts")
