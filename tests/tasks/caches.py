"""Caches of tasks as `seqio_cache_tasks` writes them, without Apache Beam."""

import json
import os
import pathlib
import random

import pytest
import seqio
import tensorflow as tf

# Beam holds back other packages, so it has an environment of its own.
BEAM_PYTHON = os.environ.get("T5CR_BEAM_PYTHON", "")
needs_beam = pytest.mark.skipif(
  not BEAM_PYTHON,
  reason="T5CR_BEAM_PYTHON names no interpreter that has '.[beam]' installed",
)


def write(
  folder: pathlib.Path, task_name: str, *, shards: int = 3, seed: int = 0
) -> pathlib.Path:
  """Caches a task with the data and vocabulary in use, in shuffled order.

  seqio's own functions make the examples, the records and the names of the
  files; what Beam adds to them is copying from worker to worker.

  Returns:
    The task's folder.
  """
  task = seqio.TaskRegistry.get(task_name)
  target = folder / seqio.get_task_dir_from_name(task_name)
  target.mkdir(parents=True)
  for split in task.splits:
    source = task.source.get_dataset(split, shuffle=False)
    examples = list(task.preprocess_precache(source, seed=seed))
    random.Random(seed).shuffle(examples)
    prefix = seqio.get_cached_tfrecord_prefix(str(target), split)
    for shard in range(shards):
      path = f"{prefix}-{shard:05}-of-{shards:05}"
      with tf.io.TFRecordWriter(path) as writer:
        for example in examples[shard::shards]:
          record = seqio.dict_to_tfexample(example)
          writer.write(record.SerializeToString())
    info = {
      "num_shards": shards,
      "seqio_version": seqio.__version__,
      "features": {
        name: {
          "shape": [None] * value.shape.rank,
          "dtype": value.dtype.name,
        }
        for name, value in examples[0].items()
      },
    }
    paths = {
      seqio.get_cached_info_path(str(target), split): info,
      seqio.get_cached_stats_path(str(target), split): {
        "examples": len(examples)
      },
    }
    for path, content in paths.items():
      pathlib.Path(path).write_text(json.dumps(content))
  (target / "COMPLETED").touch()
  return target
