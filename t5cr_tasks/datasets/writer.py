"""Writes TFDS data sets with TFDS's own writer and a leaner serialiser.

TFDS takes each value of each example through numpy before it serialises it,
which takes ten times as long as all the rest. Our data sets hold texts, whole
numbers and lists of these, which go into a `tf.train.Example` as they are.

The bytes are those of TFDS's serialiser with the features of a record in the
order of their names. TFDS leaves that order to a hash table, which is laid out
anew in each process; here an example gives the same bytes everywhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer, splits
from tensorflow_datasets.core import writer as tfds_writer
from tensorflow_datasets.core.utils import shard_utils


def _put_text(feature: tf.train.Feature, value: str) -> None:
  feature.bytes_list.value.append(value.encode())


def _put_texts(feature: tf.train.Feature, values: Iterable[str]) -> None:
  feature.bytes_list.value.extend([value.encode() for value in values])
  feature.bytes_list.SetInParent()  # Also where there is no text.


def _put_number(
  limits: tuple[int, int], feature: tf.train.Feature, value: int
) -> None:
  if not limits[0] <= value <= limits[1]:
    raise ValueError(f"{value} is not between {limits[0]} and {limits[1]}")
  feature.int64_list.value.append(value)


def _put_numbers(feature: tf.train.Feature, values: Iterable[int]) -> None:
  feature.int64_list.value.extend(values)
  feature.int64_list.SetInParent()


def _is_number(feature: Any, *types: type[np.integer]) -> bool:
  return (
    isinstance(feature, tfds.features.Tensor)
    and feature.shape == ()
    and feature.np_dtype in types
  )


def _putter(name: str, feature: Any) -> Callable[[tf.train.Feature, Any], None]:
  """What puts the value of a feature into its message."""
  if isinstance(feature, tfds.features.Text):
    return _put_text
  if _is_number(feature, np.int32, np.int64):
    limits = np.iinfo(feature.np_dtype)
    return functools.partial(_put_number, (int(limits.min), int(limits.max)))
  if isinstance(feature, tfds.features.Sequence):
    if isinstance(feature.feature, tfds.features.Text):
      return _put_texts
    if _is_number(feature.feature, np.int64):
      return _put_numbers
  raise TypeError(
    f"the feature {name} is {feature}: neither text, nor int32 or int64, nor a"
    " sequence of texts or int64, which is all that this serialiser knows"
  )


class Serializer(example_serializer.Serializer):
  """Serialises examples of texts, whole numbers and lists of these.

  For TFDS's writers, in place of its own serialiser and of what the features
  do to an example before that: it takes examples as a builder makes them.
  """

  def __init__(self, features: tfds.features.FeaturesDict):
    """Prepares for the features of a data set.

    Raises:
      TypeError: one of them is of another kind.
    """
    super().__init__(cast(Any, features.get_serialized_info()))
    self._putters = [
      (name, _putter(name, feature)) for name, feature in features.items()
    ]

  def serialize_example(self, example: Mapping[str, Any]) -> bytes:
    """The bytes of an example.

    Raises:
      ValueError: it has other features, or a number that is too large.
    """
    if len(example) != len(self._putters):
      raise ValueError(
        f"an example with {sorted(example)} where the features are"
        f" {sorted(name for name, _ in self._putters)}"
      )
    message = tf.train.Example()
    features = message.features.feature
    for name, put in self._putters:
      put(features[name], example[name])
    return message.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _unsearched_heap() -> Iterator[None]:
  """Spares the garbage collector what is there before the examples.

  It would search all modules over and over while millions of records come.
  """
  gc.freeze()
  try:
    yield
  finally:
    gc.unfreeze()


@dataclasses.dataclass(frozen=True)
class ShardConfig(shard_utils.ShardConfig):
  """Shards of 8 MiB or more, so that the hosts of a pod can share a data set.

  TFDS asks the class for the least size, whatever an object of it says.
  """

  min_shard_size: int = 8 << 20


class LeanBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A TFDS builder that writes its examples with `Serializer`."""

  def check_written(self, split: str, examples: int) -> None:
    """Called with the number of examples written; may raise InternalError."""

  def _generate_splits(
    self,
    dl_manager: tfds.download.DownloadManager,
    download_config: tfds.download.DownloadConfig,
  ) -> Sequence[splits.SplitInfo]:
    """As TFDS does it where no pipeline is asked for."""
    if download_config.max_examples_per_split is not None:
      raise ValueError("max_examples_per_split is not supported")
    infos = []
    for name, examples in self._split_generators(dl_manager).items():
      template = self._get_filename_template(split_name=name)
      writer = tfds_writer.Writer(
        serializer=Serializer(cast(Any, self.info.features)),
        filename_template=template,
        hash_salt=name,
        disable_shuffling=self.info.disable_shuffling,
        shard_config=ShardConfig(),
        example_writer=self._example_writer(),
      )
      with _unsearched_heap():
        for key, example in examples:
          writer.write(key, example)
      shard_lengths, num_bytes = writer.finalize()
      self.check_written(name, sum(shard_lengths))
      infos.append(
        splits.SplitInfo(
          name=name,
          shard_lengths=shard_lengths,
          num_bytes=num_bytes,
          filename_template=template,
        )
      )
    return infos
