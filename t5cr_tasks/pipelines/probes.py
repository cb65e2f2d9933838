"""The records of the probe sets, rendered in a pipeline.

The probes themselves are columns of indices, a few numbers each, which the
launching process draws with the one generator of `worlds.make_probes`. What
takes time is rendered by the workers: the texts, and their files.
"""

from __future__ import annotations

import dataclasses
import functools
import pickle
from collections.abc import Iterator
from typing import Any, cast

import apache_beam as beam
import numpy as np
import tensorflow_datasets as tfds
from apache_beam.pvalue import PCollection
from etils import epath

from t5cr_tasks.datasets import probes
from t5cr_tasks.datasets.probes import Table
from t5cr_tasks.pipelines import writer

# Probes that one worker renders at a time.
_BLOCK = 5000


class BeamProbes(writer.BeamBuilder, probes.T5crProbes, skip_registration=True):
  """Writes what `T5crProbes` writes."""

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, beam.PTransform]:
    (split,) = super()._split_generators(dl_manager)
    table = cast(Table, self._table)
    self._stored = epath.Path(self.data_dir) / "table"
    self._stored.write_bytes(pickle.dumps(table))
    blocks = [
      (phrasing, start)
      for phrasing in range(len(table.phrasings))
      for start in range(0, len(table.probes), _BLOCK)
    ]
    return {split: _Records(str(self._stored), blocks)}

  def finish(self) -> None:
    """Takes away what the workers read."""
    self._stored.unlink()


class _Records(beam.PTransform):
  """(key, record) pairs of blocks of a stored table."""

  def __init__(self, path: str, blocks: list[tuple[int, int]]):
    super().__init__()
    self._path = path
    self._blocks = blocks

  def expand(self, pipeline: beam.Pipeline) -> PCollection:
    return (
      pipeline
      | "Blocks" >> beam.Create(self._blocks)
      | "Spread" >> beam.Reshuffle()
      | "Render" >> beam.FlatMap(_render, path=self._path)
    )


@functools.lru_cache(maxsize=1)
def _load(path: str) -> Table:
  return pickle.loads(epath.Path(path).read_bytes())


def _render(
  block: tuple[int, int], *, path: str
) -> Iterator[tuple[int, dict[str, Any]]]:
  """The records of a block, with the keys that they have in the whole table."""
  table = _load(path)
  phrasing, start = block
  rows = np.arange(start, min(start + _BLOCK, len(table.probes)))
  part = dataclasses.replace(
    table,
    phrasings=table.phrasings[phrasing : phrasing + 1],
    probes=table.probes.take(rows),
    decile=table.decile[rows],
    named=table.named[rows],
  )
  first = 2 * (phrasing * len(table.probes) + start)
  yield from enumerate(probes.records(part), first)
