"""Reads the TFDS data sets that the probes are made from into arrays.

A movie is told apart by its title, as it is for a model that reads text: two
movie ids of one title (MovieLens has about a hundred) are one movie here, and
titles are what joins the sequences, the tags, the reviews and the dialogues.
"""

import dataclasses
import heapq
import itertools
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse
import tensorflow as tf
import tensorflow_datasets as tfds
from jaxtyping import Int

from t5cr_tasks import titles as titles_lib
from t5cr_tasks.datasets.base import Progress
from t5cr_tasks.probes.leaks import Dialogue

SEQUENCES = "t5cr_movielens/sequences"
TAGS = "t5cr_movielens/tags"
REVIEWS = "t5cr_reviews"
DIALOGUES = "t5cr_redial"
RUN_FEATURES = ("movie_ids", "titles")
_VERSION = "1.0.0"
_BATCH = 1024
# Ids below this one are looked up in a table; MovieLens' are below 2^18.
_TABLE_SIZE = 1 << 24


@dataclasses.dataclass(frozen=True)
class Runs:
  """The runs of ten of the movies that users rated highly.

  Attributes:
    movies: movie index of every item, run after run.
    lengths: number of items of each run.
    titles: title of each movie, in the order of the (lowest) movie id.
  """

  movies: Int[np.ndarray, " items"]
  lengths: Int[np.ndarray, " runs"]
  titles: list[str]


@dataclasses.dataclass(frozen=True)
class Tags:
  """Which movie carries which tag.

  Attributes:
    matrix: [movies, tags] of 0 and 1.
    names: the tags, sorted.
  """

  matrix: scipy.sparse.csr_array
  names: list[str]


@dataclasses.dataclass(frozen=True)
class Sentences:
  """The first sentences of the first reviews, by movie, review and place.

  Attributes:
    texts: the sentences.
    movie: the movie that each is about.
    number: its place in its review, from 1.
  """

  texts: list[str]
  movie: Int[np.ndarray, " sentences"]
  number: Int[np.ndarray, " sentences"]


def _batches(
  data_dir: str,
  name: str,
  features: Sequence[str],
  *,
  progress: Progress | None,
) -> Iterator[dict]:
  """Batches of a training split, lists of texts or ids as ragged tensors.

  Records are parsed a batch at a time, which TFDS does one by one.

  Args:
    data_dir: the TFDS data directory.
    name: the data set, without version.
    features: the features to read.
    progress: told of the records read.
  """
  paths, spec, total = record_files(data_dir, name, features)
  done = 0
  for batch in parsed(paths, spec):
    if progress:
      progress(f"read {name}", done, total, "records")
    yield batch
    done += int(batch[features[0]].shape[0])
  if progress:
    progress(f"read {name}", done, total, "records")


def record_files(
  data_dir: str, name: str, features: Sequence[str]
) -> tuple[list[str], dict[str, Any], int]:
  """The files of a training split, how `parsed` reads them, and its records.

  Args:
    data_dir: the TFDS data directory.
    name: the data set, without version.
    features: the features to read.
  """
  # Any, for TFDS decorates its methods and so hides their signatures.
  builder: Any = tfds.builder(f"{name}:{_VERSION}", data_dir=data_dir)
  split = builder.info.splits["train"]
  spec = {key: _parsing(builder.info.features[key]) for key in features}
  paths = [os.fspath(path) for path in split.filepaths]
  return paths, spec, split.num_examples


def parsed(paths: Sequence[str], spec: Mapping[str, Any]) -> tf.data.Dataset:
  """Batches of the records in some files, in order."""
  return (
    tf.data.TFRecordDataset(list(paths))
    .batch(_BATCH)
    .map(
      lambda records: tf.io.parse_example(records, spec),
      num_parallel_calls=tf.data.AUTOTUNE,
    )
    .prefetch(2)
  )


def _parsing(feature: Any) -> tf.io.FixedLenFeature | tf.io.RaggedFeature:
  """How a feature stands in a record: numbers as int64, whatever they are."""
  is_list = isinstance(feature, tfds.features.Sequence)
  inner = feature.feature if is_list else feature
  is_text = isinstance(inner, tfds.features.Text)
  dtype = tf.string if is_text else tf.int64
  if is_list:
    return tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
  return tf.io.FixedLenFeature((), dtype)


def _texts(ragged) -> list[list[str]]:
  """The rows of a ragged batch of texts."""
  flat = [text.decode() for text in ragged.flat_values.numpy()]
  ends = ragged.row_splits.numpy().tolist()
  return [flat[start:end] for start, end in itertools.pairwise(ends)]


def merge_titles(
  movie_ids: Int[np.ndarray, " ids"], titles: Sequence[str]
) -> tuple[Int[np.ndarray, " ids"], list[str]]:
  """Gives ids of one title one index.

  Args:
    movie_ids: distinct movie ids, ascending.
    titles: title of each.

  Returns:
    ([ids] movie index of each id, title of each movie).
  """
  index: dict[str, int] = {}
  kept: list[str] = []
  merged = np.empty(len(movie_ids), np.int32)
  for place, title in enumerate(titles):
    movie = index.setdefault(titles_lib.title_key(title), len(kept))
    if movie == len(kept):
      kept.append(title)
    merged[place] = movie
  return merged, kept


def read_runs(data_dir: str, progress: Progress | None = None) -> Runs:
  """Reads the sequences data set."""
  items, lengths, title_of = collect_runs(
    _batches(data_dir, SEQUENCES, RUN_FEATURES, progress=progress)
  )
  movie_ids, places = distinct(items)
  merged, titles = merge_titles(
    movie_ids, [title_of[movie_id] for movie_id in movie_ids.tolist()]
  )
  return Runs(merged[places], lengths, titles)


def distinct(
  ids: Int[np.ndarray, " items"],
) -> tuple[Int[np.ndarray, " ids"], Int[np.ndarray, " items"]]:
  """The distinct ids, ascending, and the place of each item's among them."""
  if not len(ids) or ids.min() < 0 or ids.max() >= _TABLE_SIZE:
    return np.unique(ids, return_inverse=True)
  # Millions of ids are looked up far sooner than sorted.
  found = np.flatnonzero(np.bincount(ids))
  table = np.zeros(found[-1] + 1, np.int32)
  table[found] = np.arange(len(found))
  return found, table[ids]


def collect_runs(
  batches: Iterable[Mapping[str, Any]],
) -> tuple[Int[np.ndarray, " items"], Int[np.ndarray, " runs"], dict[int, str]]:
  """(movie id of every item, items of every run, title by movie id)."""
  ids, lengths = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
  title_of: dict[int, str] = {}
  for batch in batches:
    flat = batch["movie_ids"].flat_values.numpy()
    ids.append(flat)
    lengths.append(batch["movie_ids"].row_lengths().numpy())
    place_of = dict(zip(flat.tolist(), range(len(flat)), strict=True))
    new = [movie_id for movie_id in place_of if movie_id not in title_of]
    # Most batches have few new movies: only their titles leave TensorFlow.
    texts = tf.gather(
      batch["titles"].flat_values, [place_of[movie_id] for movie_id in new]
    )
    for movie_id, text in zip(new, texts.numpy(), strict=True):
      title_of[movie_id] = text.decode()
  return np.concatenate(ids), np.concatenate(lengths), title_of


def title_index(titles: Sequence[str]) -> dict[str, int]:
  """Movie index by the key of its title."""
  return {titles_lib.title_key(title): i for i, title in enumerate(titles)}


def tag_matrix(
  tagged: Iterator[tuple[str, Sequence[str]]], titles: Sequence[str]
) -> Tags:
  """Which of the movies carries which tag.

  Args:
    tagged: (title, tags) of each movie; several of one title add up, other
      movies than those of `titles` are passed over.
    titles: title of each movie.
  """
  movies = title_index(titles)
  carried = [
    (movies[key], tag)
    for title, tags in tagged
    if (key := titles_lib.title_key(title)) in movies
    for tag in tags
  ]
  names = sorted({tag for _, tag in carried})
  column = {tag: place for place, tag in enumerate(names)}
  matrix = scipy.sparse.csr_array(
    (
      np.ones(len(carried), np.int32),
      (
        np.fromiter((movie for movie, _ in carried), np.int64),
        np.fromiter((column[tag] for _, tag in carried), np.int64),
      ),
    ),
    shape=(len(titles), len(names)),
  )
  matrix.sum_duplicates()
  matrix.data[:] = 1
  return Tags(matrix, names)


def read_tags(
  data_dir: str, titles: Sequence[str], progress: Progress | None = None
) -> Tags:
  """Reads the tags of these movies."""
  return tag_matrix(
    (
      (title.decode(), tags)
      for batch in _batches(
        data_dir, TAGS, ("title", "tags"), progress=progress
      )
      for title, tags in zip(
        batch["title"].numpy(), _texts(batch["tags"]), strict=True
      )
    ),
    titles,
  )


def first_sentences(
  reviews: Iterator[tuple[int, str, Sequence[str]]],
  titles: Sequence[str],
  *,
  reviews_per_movie: int,
  sentences_per_review: int,
) -> Sentences:
  """The first sentences of each movie's first reviews.

  Args:
    reviews: (review_id, title, sentences) in any order; reviews of other
      movies than those of `titles` are passed over.
    titles: title of each movie.
    reviews_per_movie: how many reviews, by ascending review_id.
    sentences_per_review: how many sentences of each; blank ones do not count.
  """
  movies = title_index(titles)
  # A heap of (-review_id, sentences) keeps the lowest ids of each movie.
  kept: dict[int, list[tuple[int, list[str]]]] = defaultdict(list)
  for review_id, title, sentences in reviews:
    movie = movies.get(titles_lib.title_key(title))
    said = [sentence for sentence in sentences if sentence.strip()]
    if movie is None or not said:
      continue
    item = (-review_id, said[:sentences_per_review])
    if len(kept[movie]) < reviews_per_movie:
      heapq.heappush(kept[movie], item)
    else:
      heapq.heappushpop(kept[movie], item)
  rows = [
    (text, movie, number)
    for movie in sorted(kept)
    for _, sentences in sorted(kept[movie], reverse=True)
    for number, text in enumerate(sentences, 1)
  ]
  return Sentences(
    [text for text, _, _ in rows],
    np.fromiter((movie for _, movie, _ in rows), np.int32),
    np.fromiter((number for _, _, number in rows), np.int32),
  )


def read_sentences(
  data_dir: str,
  titles: Sequence[str],
  *,
  reviews_per_movie: int,
  sentences_per_review: int,
  progress: Progress | None = None,
) -> Sentences:
  """Reads the first sentences of the first reviews of these movies."""
  batches = _batches(
    data_dir,
    REVIEWS,
    ("review_id", "title", "sentences"),
    progress=progress,
  )
  return first_sentences(
    (
      (int(review_id), title.decode(), sentences)
      for batch in batches
      for review_id, title, sentences in zip(
        batch["review_id"].numpy(),
        batch["title"].numpy(),
        _texts(batch["sentences"][:, :sentences_per_review]),
        strict=True,
      )
    ),
    titles,
    reviews_per_movie=reviews_per_movie,
    sentences_per_review=sentences_per_review,
  )


def read_dialogues(
  data_dir: str, progress: Progress | None = None
) -> list[Dialogue]:
  """Reads the training dialogues, each once, sorted by id.

  A record holds one response and the turns before it, so the record of a
  dialogue's last response holds all that is trained on.
  """
  last: dict[str, tuple[int, list[str], list[str]]] = {}
  features = ("dialogue_id", "turn", "roles", "turns", "response")
  for batch in _batches(data_dir, DIALOGUES, features, progress=progress):
    columns = (
      batch["dialogue_id"].numpy(),
      batch["turn"].numpy(),
      _texts(batch["roles"]),
      _texts(batch["turns"]),
      batch["response"].numpy(),
    )
    rows = zip(*columns, strict=True)
    for dialogue_id, turn, roles, turns, response in rows:
      if turn > last.get(dialogue_id, (-1,))[0]:
        last[dialogue_id] = (
          int(turn),
          [*roles, "assistant"],
          [*turns, response.decode()],
        )
  return [
    Dialogue(roles, turns) for _, (_, roles, turns) in sorted(last.items())
  ]
