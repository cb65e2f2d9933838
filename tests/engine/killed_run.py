"""A training that writes down every batch it takes, for `test_killed.py`.

  python killed_run.py RECIPE MODEL_DIR LOG

LOG gets `start STEP`, then for each batch its step and a digest of its arrays,
and `evaluate` as often as an evaluation tells of itself; each line is with the
system at once, so that nothing is lost when the process is killed.
"""

import hashlib
import os
import sys

import numpy as np
import tiny

from t5cr.engine import feed, main

recipe, model_dir, log = sys.argv[1:]
tiny.register()
file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
steps = 0


def say(*words):
  os.write(file, (" ".join(map(str, words)) + "\n").encode())


class Told:
  """Batches, each told of before it is handed out."""

  def __init__(self, batches):
    self.batches = batches
    self.save, self.restore = batches.save, batches.restore

  def __next__(self):
    global steps
    batch = next(self.batches)
    steps += 1
    digest = hashlib.sha256()
    for name in sorted(batch):
      digest.update(np.ascontiguousarray(batch[name]).tobytes())
    say(steps, digest.hexdigest())
    return batch


def progress(stage, done, total, unit):
  global steps
  if stage != "train":
    say("evaluate")
  elif steps == 0:
    steps = done
    say("start", done)


make = feed.train_batches
feed.train_batches = lambda data: Told(make(data))
main.train(
  gin_files=["t5cr/finetune.gin", recipe],
  gin_bindings=[f"MODEL_DIR = {model_dir!r}"],
  progress=progress,
)
