"""What feeds the engine: the one part that needs TensorFlow and seqio.

It is imported late, inside functions, so that training, scoring and decoding
also run where TensorFlow is not installed, from batches that something else
makes.
"""

import tensorflow as tf
from absl import logging

from t5cr.engine.feed.batches import train_batches
from t5cr.engine.feed.identity import (
  fingerprints,
  vocabulary_model,
  vocabulary_size,
)
from t5cr.engine.feed.names import (
  check_built,
  check_cached,
  check_split,
  check_trainable,
  expand,
  import_tasks,
  is_built,
  mixture,
  provider,
  readable,
  task_names,
  use_cache_dirs,
  use_data_dir,
)
from t5cr.engine.feed.results import (
  Examples,
  JSONLogger,
  detokenize,
  evaluator,
  examples,
  records,
)
from t5cr.engine.feed.tensorboard import metric_writer, samples
from t5cr.engine.feed.texts import texts

__all__ = [
  "Examples",
  "JSONLogger",
  "check_built",
  "check_cached",
  "check_split",
  "check_trainable",
  "detokenize",
  "evaluator",
  "examples",
  "expand",
  "fingerprints",
  "import_tasks",
  "is_built",
  "metric_writer",
  "mixture",
  "provider",
  "readable",
  "records",
  "samples",
  "task_names",
  "texts",
  "train_batches",
  "use_cache_dirs",
  "use_data_dir",
  "vocabulary_model",
  "vocabulary_size",
]

# TensorFlow only reads here; the accelerator's memory belongs to JAX.
for _kind in ("GPU", "TPU"):
  try:
    tf.config.set_visible_devices([], _kind)
  except (RuntimeError, ValueError):
    logging.info("TensorFlow was started before; its %ss stay visible.", _kind)
