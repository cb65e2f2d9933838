"""Examples of a pipeline as the files of a TFDS data set.

TFDS's own Beam writer cuts shards by the hashes of the keys, its other writer
by the number of examples. The writer here does the latter in a pipeline, so
that the files are the same byte for byte, whichever way they were written.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, cast

import apache_beam as beam
import numpy as np
import tensorflow_datasets as tfds
from apache_beam.pvalue import AsSingleton, PCollection
from tensorflow_datasets.core import splits
from tensorflow_datasets.core import writer as tfds_writer
from tensorflow_datasets.core.utils import shard_utils

from t5cr_tasks.datasets import writer

# A hash that TFDS orders a split by.
_KEY_BYTES = 16


@dataclasses.dataclass(frozen=True)
class Layout:
  """How a split is cut into shards.

  Attributes:
    num_shards: how many there are; 0 for a split without examples.
    firsts: the lowest key of each shard but the first.
  """

  num_shards: int
  firsts: Sequence[int]

  def shard(self, key: int) -> int:
    """The shard that an example belongs to."""
    return bisect.bisect_right(self.firsts, key)


class _LayoutFn(beam.CombineFn):
  """(key, example) -> Layout; holds 16 bytes for each example."""

  def __init__(self, shard_config: shard_utils.ShardConfig):
    self._shard_config = shard_config

  def create_accumulator(self):
    return bytearray(), 0

  def add_input(self, accumulator, element):
    keys, size = accumulator
    key, example = element
    keys += key.to_bytes(_KEY_BYTES, "big")
    return keys, size + len(example)

  def merge_accumulators(self, accumulators):
    keys, size = self.create_accumulator()
    for more_keys, more_size in accumulators:
      keys += more_keys
      size += more_size
    return keys, size

  def extract_output(self, accumulator) -> Layout:
    data, size = accumulator
    keys = np.sort(np.frombuffer(bytes(data), f"S{_KEY_BYTES}"))
    if not len(keys):
      return Layout(0, ())
    num_shards = self._shard_config.get_number_shards(size, len(keys))
    ends = shard_utils.get_shard_boundaries(len(keys), num_shards)
    # numpy leaves out the zeros that a key ends with.
    firsts = [keys[end].ljust(_KEY_BYTES, b"\0") for end in ends[:-1]]
    return Layout(num_shards, [int.from_bytes(key, "big") for key in firsts])


class BeamWriter(tfds_writer.BeamWriter):
  """TFDS's Beam writer, with the shards of its other writer."""

  def write_from_pcollection(self, examples_pcollection: PCollection):
    """Writes (key, example) pairs."""
    serialized = examples_pcollection | "Serialize" >> beam.Map(
      self._serialize_example
    )
    lay_out = beam.CombineGlobally(_LayoutFn(self._shard_config))
    layout = AsSingleton(cast(PCollection, serialized | "LayOut" >> lay_out))
    return (
      serialized
      | "AssignShard"
      >> beam.Map(lambda pair, plan: (plan.shard(pair[0]), pair), layout)
      | "GroupShards" >> beam.GroupByKey()
      | "WriteShards" >> beam.Map(self._write_shard, layout)
      | "CollectShards" >> beam.combiners.ToList()
      | "StoreSplitInfo" >> beam.Map(self._store_split_info)
    )

  def _write_shard(self, shard: tuple[int, Iterable[Any]], layout: Layout):
    return self._write_final_shard(shard, range(layout.num_shards))


class BeamBuilder(writer.LeanBuilder, skip_registration=True):
  """A TFDS builder whose splits are pipelines that give (key, example) pairs.

  A class of this kind also derives from the builder whose data set it makes,
  and passes for it: the name of the module stands in the files.
  """

  def __init_subclass__(cls, **kwargs: Any):
    """Takes over what the data set says of its builder."""
    super().__init_subclass__(**kwargs)
    made = cls.__bases__[1]
    cls.name, cls.__doc__ = made.name, made.__doc__
    cls.__module__ = made.__module__

  def explain_failure(self) -> None:
    """Raises DataError where the data is why the pipeline failed."""

  def finish(self) -> None:
    """Called when the pipeline has ended well; may raise DataError."""

  def _generate_splits(
    self,
    dl_manager: tfds.download.DownloadManager,
    download_config: tfds.download.DownloadConfig,
  ) -> Sequence[splits.SplitInfo]:
    """As `LeanBuilder` does it, in a pipeline."""
    writers: dict[str, BeamWriter] = {}
    try:
      with beam.Pipeline(options=download_config.beam_options) as pipeline:
        for name, examples in self._split_generators(dl_manager).items():
          writers[name] = BeamWriter(
            serializer=writer.Serializer(cast(Any, self.info.features)),
            filename_template=self._get_filename_template(split_name=name),
            hash_salt=name,
            disable_shuffling=self.info.disable_shuffling,
            shard_config=writer.ShardConfig(),
            example_writer=self._example_writer(),
          )
          _ = (
            pipeline
            | name >> examples
            | f"{name}_write" >> beam.ptransform_fn(_write)(writers[name])
          )
    except Exception:
      self.explain_failure()
      raise
    self.finish()
    infos = []
    for name, split_writer in writers.items():
      shard_lengths, num_bytes = split_writer.finalize()
      self.check_written(name, sum(shard_lengths))
      infos.append(
        splits.SplitInfo(
          name=name,
          shard_lengths=shard_lengths,
          num_bytes=num_bytes,
          filename_template=self._get_filename_template(split_name=name),
        )
      )
    return infos


def _write(examples: PCollection, split_writer: BeamWriter):
  return split_writer.write_from_pcollection(examples)
