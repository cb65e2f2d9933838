"""Caches of tasks as `seqio_cache_tasks` writes them, without Apache Beam."""

import importlib.util
import json
import pathlib
import random

import numpy as np
import pytest
import seqio
import tensorflow as tf

LENGTHS = {"inputs": 24, "targets": 6}

needs_beam = pytest.mark.skipif(
  not importlib.util.find_spec("apache_beam"),
  reason="needs Apache Beam: pip install '.[beam]'",
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


def forget(name: str) -> None:
  """A Task remembers its cache; another process would look again."""
  task = seqio.TaskRegistry.get(name)
  task._cache_dir, task._stats = None, {}


def examples(name: str, split: str, use_cached: bool, **settings) -> list[str]:
  """The examples of a task, each as a text."""
  dataset = seqio.TaskRegistry.get(name).get_dataset(
    LENGTHS, split, use_cached=use_cached, **{"shuffle": False, **settings}
  )
  return [_text(example) for example in dataset.as_numpy_iterator()]


def assert_same(name: str) -> None:
  """The cache of a task holds its examples, in whatever order."""
  for split in seqio.TaskRegistry.get(name).splits:
    fresh = examples(name, split, False, seed=3)
    assert fresh
    assert sorted(examples(name, split, True, seed=3)) == sorted(fresh)


def _text(example: dict) -> str:
  return json.dumps(
    {name: np.asarray(value).tolist() for name, value in example.items()},
    default=bytes.decode,
    sort_keys=True,
  )
