"""Runs to the movies that are probed and their related movies, as a pipeline.

Each file of runs gives partial counts: how many runs each movie is in, and for
blocks of probed movies how many runs each pair shares. Only these sums leave a
worker, so the shuffle grows with the files and the movies, not with the pairs
of each run. The launching process keeps a few numbers for each movie.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import scipy.sparse
from apache_beam.pvalue import AsSingleton, PCollection
from etils import epath
from jaxtyping import Int

from t5cr_tasks import folders
from t5cr_tasks import titles as titles_lib
from t5cr_tasks.pipelines.runner import Runner
from t5cr_tasks.probes import cooccurrence, sources, worlds
from t5cr_tasks.probes.worlds import ProbeOptions, World


@dataclasses.dataclass
class Counts:
  """The movies of some runs.

  Attributes:
    title_of: title by movie id.
    frequency: by the key of a title, the number of runs that it is in.
  """

  title_of: dict[int, str] = dataclasses.field(default_factory=dict)
  frequency: Counter[str] = dataclasses.field(default_factory=Counter)


@dataclasses.dataclass(frozen=True)
class Movies:
  """The movies of all runs.

  Attributes:
    ids: their ids, ascending.
    merged: [ids] movie index of each id; ids of one title have one index.
    titles: title of each movie.
    counts: number of runs that each is in.
    probed: the movies over the threshold.
  """

  ids: Int[np.ndarray, " ids"]
  merged: Int[np.ndarray, " ids"]
  titles: list[str]
  counts: Int[np.ndarray, " movies"]
  probed: Int[np.ndarray, " probed"]


def probed_world(data_dir: str, options: ProbeOptions, runner: Runner) -> World:
  """What `worlds.probed_world` gives for the sequences of a data directory.

  Raises:
    DataError: no two movies are over the threshold.
  """
  paths, spec, _ = sources.record_files(
    data_dir, sources.SEQUENCES, sources.RUN_FEATURES
  )
  with folders.workshop(data_dir, folders.BUILDING) as folder:
    made = epath.Path(folder) / "made"
    with runner.pipeline() as pipeline:
      _ = pipeline | _Count(paths, spec, options, made)
    movies, blocks = pickle.loads(made.read_bytes())
  worlds.over_threshold(movies.counts, options)
  related = np.concatenate([block for _, block in sorted(blocks, key=_first)])
  return worlds.make_world(movies.titles, movies.counts, related, options)


class _Count(beam.PTransform):
  """Leaves (Movies, [(first row, related movies)…]) in a file."""

  def __init__(
    self,
    paths: list[str],
    spec: Mapping[str, Any],
    options: ProbeOptions,
    made: epath.Path,
  ):
    super().__init__()
    self._paths = paths
    self._spec = spec
    self._options = options
    self._made = made

  def expand(self, pipeline: beam.Pipeline) -> PCollection:
    options = self._options
    files = (
      pipeline
      | "Files" >> beam.Create(self._paths)
      | "Spread" >> beam.Reshuffle()
    )
    movies = (
      files
      | "CountMovies" >> beam.Map(_count_movies, spec=self._spec)
      | "MergeCounts" >> beam.CombineGlobally(_merge_counts)
      | "Movies" >> beam.Map(_movies, min_count=options.min_count)
    )
    blocks = (
      files
      | "CountPairs"
      >> beam.FlatMap(_count_pairs, AsSingleton(movies), spec=self._spec)
      | "SumPairs" >> beam.CombinePerKey(_sum)
      | "TopRelated"
      >> beam.Map(_top_related, AsSingleton(movies), related=options.related)
      | "Collect" >> beam.combiners.ToList()
    )
    return movies | "Store" >> beam.Map(
      _store, AsSingleton(blocks), path=self._made
    )


def _count_movies(path: str, *, spec: Mapping[str, Any]) -> Counts:
  """The movies in the runs of one file."""
  items, lengths, title_of = sources.collect_runs(sources.parsed([path], spec))
  ids, places = np.unique(items, return_inverse=True)
  merged, titles = sources.merge_titles(
    ids, [title_of[i] for i in ids.tolist()]
  )
  matrix = cooccurrence.incidence(merged[places], lengths, len(titles))
  keys = map(titles_lib.title_key, titles)
  frequency = cooccurrence.frequency(matrix).tolist()
  return Counts(title_of, Counter(dict(zip(keys, frequency, strict=True))))


def _merge_counts(several: Iterable[Counts]) -> Counts:
  total = Counts()
  for counts in several:
    total.title_of |= counts.title_of
    total.frequency.update(counts.frequency)
  return total


def _movies(counts: Counts, *, min_count: int) -> Movies:
  ids = np.array(sorted(counts.title_of), np.int64)
  merged, titles = sources.merge_titles(
    ids, [counts.title_of[movie_id] for movie_id in ids.tolist()]
  )
  frequency = np.array(
    [counts.frequency[titles_lib.title_key(title)] for title in titles],
    np.int64,
  )
  probed = np.flatnonzero(frequency > min_count)
  return Movies(ids, merged, titles, frequency, probed)


def _count_pairs(
  path: str, movies: Movies, *, spec: Mapping[str, Any]
) -> Iterator[tuple[int, scipy.sparse.csr_array]]:
  """(first movie of a block, runs that its movies share with each)."""
  items, lengths, _ = sources.collect_runs(sources.parsed([path], spec))
  place = np.full(len(movies.titles), -1)
  place[movies.probed] = np.arange(len(movies.probed))
  probed = place[movies.merged[np.searchsorted(movies.ids, items)]]
  matrix = cooccurrence.incidence(probed, lengths, len(movies.probed))
  yield from cooccurrence.cooccurrences(matrix)


def _sum(blocks: Iterable[scipy.sparse.csr_array]) -> scipy.sparse.csr_array:
  return functools.reduce(operator.add, blocks)


def _top_related(
  block: tuple[int, scipy.sparse.csr_array], movies: Movies, *, related: int
) -> tuple[int, np.ndarray]:
  start, shared = block
  counts = movies.counts[movies.probed]
  return start, cooccurrence.top_of_rows(shared, start, counts, related).movies


def _store(movies: Movies, blocks: list[Any], *, path: epath.Path) -> None:
  path.write_bytes(pickle.dumps((movies, blocks)))


def _first(block: tuple[int, np.ndarray]) -> int:
  return block[0]
