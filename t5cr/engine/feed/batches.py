"""Training batches of a Mixture or Task."""

from typing import cast

import tensorflow as tf
from clu import data as clu_data

from t5cr.engine.feed import blocks, packing
from t5cr.engine.feed.names import check_trainable, provider
from t5cr.engine.train import Batches
from t5cr.engine.train_config import TrainData


def train_batches(data: TrainData) -> Batches:
  """Endless training batches, reproducible from the seed.

  They are those of `seqio.get_dataset` with `seqio.EncDecFeatureConverter`,
  made in less time. Of several processes each makes all of them, whole.

  Args:
    data: what to read.

  Returns:
    An iterator of dicts of int32 arrays [batch_size, length] with seqio's
    names; packed ones also carry segment ids and positions. Its `save` and
    `restore` keep the position after the batch last handed out, whatever the
    pipeline has prefetched.

  Raises:
    UsageError: unknown names or missing data.
  """
  mixture = provider(data.mixture_or_task_name)
  check_trainable(data.mixture_or_task_name, data.split)
  request = blocks.Request(
    split=data.split,
    use_cached=data.use_cached,
    shuffle=data.shuffle,
    seed=data.seed,
    num_epochs=None,
    lengths=dict(data.task_feature_lengths),
    threads=data.threads,
  )
  dataset = packing.model_batches(
    blocks.examples(mixture, request),
    request.lengths,
    data.batch_size,
    pack=data.pack,
    threads=data.threads,
  )
  dataset = dataset.prefetch(2).with_options(_options(data.threads))
  iterator = clu_data.TfDatasetIterator(dataset, checkpoint=True)
  return cast(Batches, iterator)


def _options(threads: int) -> tf.data.Options:
  options = tf.data.Options()
  options.deterministic = True
  options.threading.private_threadpool_size = threads
  options.threading.max_intra_op_parallelism = 1
  # Tuning the parallelism costs more than it can gain with so few threads.
  options.autotune.enabled = threads > 2
  return options
