"""The two MovieLens data sets as pipelines.

The lines of the large table are read in parts, what counts of them is gathered
by user (or by movie), and the functions of `raw.movielens` do each step, on
frames of many users at once.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import apache_beam as beam
import polars as pl
import tensorflow_datasets as tfds
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput
from etils import epath

from t5cr_tasks import folders
from t5cr_tasks.datasets import movielens
from t5cr_tasks.datasets.movielens import MovielensOptions
from t5cr_tasks.errors import DataError
from t5cr_tasks.pipelines import tables, writer
from t5cr_tasks.pipelines.tables import Part, Reading
from t5cr_tasks.raw import counts, files
from t5cr_tasks.raw import movielens as raw
from t5cr_tasks.raw import tables as raw_tables

# What the two stages of a pipeline counted, beside the examples until it ends.
_READ = "read.json"
_GATHERED = "gathered.json"
_READING = "reading"

Small = tuple[dict[int, str], dict[int, str]]


@dataclasses.dataclass(frozen=True)
class Runs:
  """Ratings to runs of liked movies.

  Attributes:
    paths: the raw files.
    options: which ratings count.
  """

  paths: Mapping[str, pathlib.Path]
  options: MovielensOptions

  table: ClassVar = raw.RATINGS
  columns: ClassVar = raw.RATING_COLUMNS
  tallies: ClassVar = ("ratings", "runs")
  group: ClassVar = "userId"

  def small_tables(self) -> Small:
    """(the movies, nothing)."""
    return _movies(self.paths), {}

  def read(self, part: Part, small: Small, keep: int):
    """(the ratings of a part that count, what was read)."""
    ratings, reading = tables.read_part(
      part, raw.read_ratings, "ratings", keep=keep
    )
    liked = raw.liked_ratings(
      ratings, small[0], reading.tallies, rating_above=self.options.rating_above
    )
    return liked.select("userId", "timestamp", "movieId"), reading

  def gather(
    self, liked: pl.DataFrame, small: Small, tallies: counts.Tallies
  ) -> Iterator[tuple[str, dict[str, Any]]]:
    """The examples of some users, with their keys."""
    runs = raw.cut_runs(liked, tallies, run_length=self.options.run_length)
    for row in runs.iter_rows(named=True):
      example = movielens.run_example(row, small[0])
      yield movielens.run_key(example), example


@dataclasses.dataclass(frozen=True)
class Tags:
  """The tag genome to the tags of movies; attributes as those of `Runs`."""

  paths: Mapping[str, pathlib.Path]
  options: MovielensOptions

  table: ClassVar = raw.GENOME_SCORES
  columns: ClassVar = raw.SCORE_COLUMNS
  tallies: ClassVar = ("scores", "tagged movies")
  group: ClassVar = "movieId"

  def small_tables(self) -> Small:
    """(the movies, the tags)."""
    path = self.paths[raw.GENOME_TAGS]
    return _movies(self.paths), raw.read_tags(path, _any(), counts.Tally())

  def read(self, part: Part, small: Small, keep: int):
    """(the scores that count and each movie without a tag, what was read)."""
    scores, reading = tables.read_part(
      part, raw.read_scores, "scores", keep=keep
    )
    fitting = raw.fitting_tags(
      scores,
      *small,
      reading.tallies,
      relevance_above=self.options.relevance_above,
    )
    scored = scores.select("movieId").unique()
    return pl.concat(
      [fitting.select("movieId", "tagId"), scored], how="diagonal"
    ), reading

  def gather(
    self, read: pl.DataFrame, small: Small, tallies: counts.Tallies
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    """The examples of some movies, with their keys."""
    tagged = raw.gather_tags(
      read.drop_nulls("tagId"), read["movieId"].unique(), tallies
    )
    for row in tagged.iter_rows(named=True):
      example = movielens.tag_example(row, *small)
      yield movielens.tag_key(example), example


class BeamMovielens(
  writer.BeamBuilder, movielens.T5crMovielens, skip_registration=True
):
  """Makes what `T5crMovielens` makes."""

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, beam.PTransform]:
    self._raw_dir = folders.as_path(os.fspath(dl_manager.manual_dir))
    paths = self.find_files(self._raw_dir)
    steps_class = Runs if raw.RATINGS in paths else Tags
    self._steps = steps = steps_class(paths, self.options)
    # The small tables are read here too, so that what is wrong with them is
    # told at once and counted first.
    self._movies(paths)
    if raw.GENOME_TAGS in paths:
      raw.read_tags(
        paths[raw.GENOME_TAGS], self.bad_lines, self.tallies["tags"]
      )
    raw_tables.read_header(paths[steps.table], list(steps.columns))
    parts = tables.split_lines(paths[steps.table])
    allowed = self.options.max_bad_lines - self.bad_lines.count
    folder = epath.Path(self.data_dir)
    return {"train": _Examples(steps, parts, folder, allowed)}

  def explain_failure(self) -> None:
    """Raises the error of a bad line, where that is why."""
    self._count(_READ)

  def finish(self) -> None:
    """Counts what the pipeline counted."""
    for name in self._steps.tallies:
      self.tallies[name].keep(0)  # In the order of a serial reading.
    self._count(_READ)
    self._count(_GATHERED)
    if not self.tallies[self._steps.tallies[-1]].kept:
      raise self.no_example("train", self._raw_dir)
    self.record_origin(self._raw_dir)

  def _count(self, name: str) -> None:
    path = epath.Path(self.data_dir) / name
    if path.exists():
      reading = Reading.from_json(path.read_text())
      path.unlink()
      reading.add_to(self.tallies, self.bad_lines)


class _Examples(beam.PTransform):
  """The (key, example) pairs of a large raw table.

  Args of the initialiser:
    steps: what is done with the lines.
    parts: the lines.
    folder: where to leave the readings.
    allowed: how many of the lines may be bad.
  """

  def __init__(
    self,
    steps: Runs | Tags,
    parts: list[Part],
    folder: epath.Path,
    allowed: int,
  ):
    super().__init__()
    self._steps = steps
    self._parts = parts
    self._folder = folder
    self._allowed = allowed

  def expand(self, pipeline: beam.Pipeline) -> PCollection:
    steps, folder, allowed = self._steps, self._folder, self._allowed
    merge = functools.partial(tables.merge, keep=allowed + 1)
    small = AsSingleton(
      pipeline
      | "SmallTables" >> beam.Create([steps])
      | "ReadSmallTables" >> beam.Map(lambda steps: steps.small_tables())
    )
    read = (
      pipeline
      | "Parts" >> beam.Create(self._parts)
      | "Spread" >> beam.Reshuffle()
      | "Read"
      >> beam.FlatMap(
        _read, small, steps=steps, groups=len(self._parts), keep=allowed + 1
      ).with_outputs(_READING, main="frames")
    )
    checked = (
      read[_READING]
      | "MergeRead" >> beam.CombineGlobally(merge)
      | "CheckRead" >> beam.Map(_check, path=folder / _READ, allowed=allowed)
    )
    gathered = (
      read["frames"]
      | "Group" >> beam.GroupByKey()
      | "Gather"
      >> beam.FlatMap(
        _gather, small, AsSingleton(checked), steps=steps
      ).with_outputs(_READING, main="examples")
    )
    _ = (
      gathered[_READING]
      | "MergeGathered" >> beam.CombineGlobally(merge)
      | "Store" >> beam.Map(_store, path=folder / _GATHERED)
    )
    return gathered["examples"]


def _read(part: Part, small: Small, *, steps: Any, groups: int, keep: int):
  """(group, frame) pairs of a part, and the reading."""
  frame, reading = steps.read(part, small, keep)
  yield TaggedOutput(_READING, reading)
  grouped = frame.with_columns(group=pl.col(steps.group) % groups)
  for (group,), rows in grouped.partition_by(
    "group", as_dict=True, include_key=False
  ).items():
    yield group, rows


def _gather(
  group: tuple[int, Iterable[pl.DataFrame]],
  small: Small,
  checked: None,
  *,
  steps: Any,
):
  """(key, example) pairs of a group, and the reading."""
  del checked  # Only so that nothing is gathered before it.
  tallies = counts.Tallies()
  yield from steps.gather(pl.concat(group[1]), small, tallies)
  yield TaggedOutput(_READING, Reading(tallies))


def _store(reading: Reading, *, path: epath.Path) -> None:
  path.write_text(reading.to_json())


def _check(reading: Reading, *, path: epath.Path, allowed: int) -> None:
  """Stores a reading, and ends the pipeline where too many lines are bad."""
  _store(reading, path=path)
  if reading.bad > allowed:
    raise DataError(reading.bad_lines[allowed][1])


def _any() -> files.BadLines:
  """Takes all bad lines: they were judged before the pipeline began."""
  return files.BadLines(1 << 62)


def _movies(paths: Mapping[str, Any]) -> dict[int, str]:
  return raw.read_movies(paths[raw.MOVIES], _any(), counts.Tally())
