"""What each of two processes does for `test_processes.py`.

  T5CR_COORDINATOR=… T5CR_NUM_PROCESSES=2 T5CR_PROCESS_ID=… \\
    python two_processes.py JOB RECIPE OUT

Each writes what it saw to OUT/seen_<process>.json.
"""

import collections
import hashlib
import json
import os
import pathlib
import signal
import sys
import time

import jax
import numpy as np
import tiny

from t5cr import errors
from t5cr.engine import (
  checkpoints,
  feed,
  formats,
  main,
  partitioning,
  processes,
  train_config,
)

SQUARE = ("MESH_DATA = 1", "MESH_FSDP = 2", "MESH_MODEL = 2")


def flags(file, recipe, *bindings):
  return {
    "gin_files": [f"t5cr/{file}.gin", recipe],
    "gin_bindings": list(bindings),
  }


def everything(recipe, out):
  """Trains under two meshes, predicts, scores; then what has to be refused."""
  run = f"MODEL_DIR = {str(out / 'run')!r}"
  whole = main.train(**flags("finetune", recipe, run))
  more = ("TRAIN_STEPS = 6", "EVAL_TASKS = ()")
  main.train(**flags("finetune", recipe, run, *more, *SQUARE))
  for job, mesh in (("infer", SQUARE), ("score", ())):
    getattr(main, job)(
      **flags(
        job,
        recipe,
        f"CHECKPOINT_PATH = {str(out / 'run' / 'checkpoint_4')!r}",
        f"INFER_OUTPUT_DIR = {str(out / job)!r}",
        "MIXTURE_OR_TASK_NAME = 'tiny_copy'",
        *mesh,
      )
    )
  return {
    "metrics": whole,
    "epochs": [epoch(()), epoch((1, 2, 2))],
    "placed": placed(out / "run"),
    "other_flags": refusal(recipe, run, f"SEED = {jax.process_index()}"),
    "other_folder": refusal(recipe, "MODEL_DIR = 'mine'"),
  }


def epoch(sizes):
  """The texts that reach this process's devices in one pass over the data.

  A row that several devices hold counts once. (Shuffling mixes the end of a
  pass with the beginning of the next, as seqio does it.)
  """
  mesh = partitioning.make_mesh(partitioning.MeshConfig(*sizes))
  data = train_config.TrainData(
    "tiny_score", tiny.LENGTHS, batch_size=4, pack=False, shuffle=False
  )
  batches = feed.train_batches(data)
  vocabulary = feed.provider("tiny_score").output_features["inputs"].vocabulary
  texts = []
  for _ in range(60 // 4):
    batch = partitioning.put_batch(next(batches), mesh)
    for shard in batch["encoder_input_tokens"].addressable_shards:
      if shard.replica_id == 0:
        texts += [vocabulary.decode(row.tolist()) for row in shard.data[...]]
  return collections.Counter(texts)


def placed(run):
  """A restored array's shard, and whether all of it is what was saved."""
  mesh = partitioning.make_mesh(partitioning.MeshConfig(1, 2, 2))
  params, _, step = checkpoints.restore_params(run / "checkpoint_4", mesh)
  query = params["encoder"]["layers_0"]["attention"]["query"]["kernel"]
  leaves = map(partitioning.to_host, jax.tree.leaves(params))
  return {
    "step": step,
    "shard": query.addressable_shards[0].data.shape,
    "digest": hashlib.sha256(
      b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in leaves)
    ).hexdigest(),
  }


def refusal(recipe, *bindings):
  """What is said of processes that do not fit each other."""
  try:
    main.train(**flags("finetune", recipe, *bindings))
  except errors.UsageError as error:
    return str(error)
  return "nothing"


def dying(recipe, out):
  """The second process is gone after step 3, as in a power cut."""

  def progress(stage, done, total, unit):
    if (stage, done, jax.process_index()) == ("train", 3, 1):
      deadline = time.monotonic() + 120
      while formats.steps(out / "run") != [2]:
        assert time.monotonic() < deadline, "checkpoint_2 was never finished"
        time.sleep(0.05)
      (out / "died").write_text(str(time.time()))
      os.kill(os.getpid(), signal.SIGKILL)

  run = f"MODEL_DIR = {str(out / 'run')!r}"
  bindings = (run, "EVAL_TASKS = ()")
  main.train(**flags("finetune", recipe, *bindings), progress=progress)


def asked(recipe, out):
  """The second process alone gets SIGTERM, after step 3."""

  def progress(stage, done, total, unit):
    if (stage, done, jax.process_index()) == ("train", 3, 1):
      os.kill(os.getpid(), signal.SIGTERM)

  run = f"MODEL_DIR = {str(out / 'run')!r}"
  bindings = (run, "EVAL_TASKS = ()", "TRAIN_STEPS = 20")
  main.train(**flags("finetune", recipe, *bindings), progress=progress)


def going_on(recipe, out):
  """What `asked` left, one of whose checkpoints is damaged since."""
  run = f"MODEL_DIR = {str(out / 'run')!r}"
  bindings = (run, "EVAL_TASKS = ()", "TRAIN_STEPS = 8")
  main.train(**flags("finetune", recipe, *bindings))


if __name__ == "__main__":
  jobs = {job.__name__: job for job in (everything, dying, asked, going_on)}
  job, recipe, out = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
  tiny.register()
  processes._LOOKS = 2
  with processes.joined():
    own = out / f"own_{jax.process_index()}"
    own.mkdir(exist_ok=True)
    os.chdir(own)
    seen = jobs[job](recipe, out)
    path = out / f"seen_{jax.process_index()}.json"
    path.write_text(json.dumps(seen))
