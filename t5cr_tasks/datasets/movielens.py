"""TFDS data set `t5cr_movielens`: runs of liked movies, and tags of movies."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from t5cr_tasks.datasets import base
from t5cr_tasks.raw import files
from t5cr_tasks.raw import movielens as raw


@dataclasses.dataclass(frozen=True)
class MovielensOptions(base.Options):
  """Which ratings and tags count.

  Attributes:
    rating_above: sequences: only ratings strictly above this one.
    run_length: sequences: movies per run.
    relevance_above: tags: only tags with a relevance strictly above this.
  """

  rating_above: float = 4.0
  run_length: int = 10
  relevance_above: float = 0.8


def run_example(
  row: Mapping[str, Any], movies: Mapping[int, str]
) -> dict[str, Any]:
  """The example of a row of `raw.cut_runs`."""
  return {**row, "titles": [movies[movie] for movie in row["movie_ids"]]}


def tag_example(
  row: Mapping[str, Any], movies: Mapping[int, str], tags: Mapping[int, str]
) -> dict[str, Any]:
  """The example of a row of `raw.gather_tags`."""
  return {
    "movie_id": row["movie_id"],
    "title": movies[row["movie_id"]],
    "tags": [tags[tag] for tag in row["tag_ids"]],
  }


def run_key(example: Mapping[str, Any]) -> str:
  """What tells a run from all others."""
  return f"{example['user_id']}/{example['run']}"


def tag_key(example: Mapping[str, Any]) -> int:
  """What tells a tagged movie from all others."""
  return example["movie_id"]


class T5crMovielens(base.RawBuilder):
  """MovieLens (Harper and Konstan 2015) as the two MovieLens tasks need it.

  `sequences`: each user's movies rated above 4.0, in time order, cut into runs
  of 10. `tags`: the tags of each movie with a relevance above 0.8.
  """

  name = "t5cr_movielens"
  OPTIONS = MovielensOptions
  options: MovielensOptions
  BUILDER_CONFIGS = [
    tfds.core.BuilderConfig(
      name="sequences", description="Runs of 10 movies that a user liked."
    ),
    tfds.core.BuilderConfig(
      name="tags", description="The tags that fit a movie."
    ),
  ]

  def features(self) -> dict[str, Any]:
    """One run, or one movie with its tags."""
    text = tfds.features.Text()
    if self.full_name == f"{self.name}/sequences":
      return {
        "user_id": np.int64,
        "run": np.int32,
        "movie_ids": tfds.features.Sequence(np.int64),
        "titles": tfds.features.Sequence(text),
      }
    return {
      "movie_id": np.int64,
      "title": text,
      "tags": tfds.features.Sequence(text),
    }

  def find_files(self, raw_dir: pathlib.Path) -> dict[str, pathlib.Path]:
    """The movies with the ratings or with the tag genome."""
    if self.full_name == f"{self.name}/sequences":
      return files.find_source(raw_dir, "movielens", (raw.MOVIES, raw.RATINGS))
    genome = (raw.GENOME_TAGS, raw.GENOME_SCORES)
    return files.find_source(
      raw_dir, "movielens", (raw.MOVIES, *genome), own_files=genome
    )

  def read_splits(
    self, paths: dict[str, pathlib.Path]
  ) -> dict[str, Iterator[dict[str, Any]]]:
    """All of it is the train split."""
    if self.full_name == f"{self.name}/sequences":
      return {"train": self._sequences(paths)}
    return {"train": self._tags(paths)}

  def counted(self, split: str) -> tuple[str, ...]:
    """The runs, or the movies with tags."""
    if self.full_name == f"{self.name}/sequences":
      return ("runs",)
    return ("tagged movies",)

  def key(self, example: dict[str, Any]) -> int | str | bytes:
    """The run of the user, or the movie."""
    if self.full_name == f"{self.name}/sequences":
      return run_key(example)
    return tag_key(example)

  def _movies(self, paths: dict[str, pathlib.Path]) -> dict[int, str]:
    return raw.read_movies(
      paths[raw.MOVIES], self.bad_lines, self.tallies["movies"]
    )

  def _sequences(
    self, paths: dict[str, pathlib.Path]
  ) -> Iterator[dict[str, Any]]:
    movies = self._movies(paths)
    runs = raw.read_runs(
      paths[raw.RATINGS],
      movies,
      self.bad_lines,
      self.tallies,
      rating_above=self.options.rating_above,
      run_length=self.options.run_length,
    )
    for row in self.count_progress(
      runs.iter_rows(named=True), runs.height, "runs"
    ):
      yield run_example(row, movies)

  def _tags(self, paths: dict[str, pathlib.Path]) -> Iterator[dict[str, Any]]:
    movies = self._movies(paths)
    tags = raw.read_tags(
      paths[raw.GENOME_TAGS], self.bad_lines, self.tallies["tags"]
    )
    tagged = raw.read_movie_tags(
      paths[raw.GENOME_SCORES],
      movies,
      tags,
      self.bad_lines,
      self.tallies,
      relevance_above=self.options.relevance_above,
    )
    for row in self.count_progress(
      tagged.iter_rows(named=True), tagged.height, "movies"
    ):
      yield tag_example(row, movies, tags)
