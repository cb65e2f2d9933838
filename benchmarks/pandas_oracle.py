"""The data steps as one writes them in pandas when nothing has to be fast.

Each function does what a step of `t5cr_tasks` does, from the same files, by the
plain means: read_csv, sort_values, groupby and merge; a loop over the probes;
TFDS's own builder and serialiser. The benchmarks take their time beside ours,
and the tests compare the results. Only the wording is shared: how a title is
cleaned, a review split and a probe phrased.
"""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import tensorflow_datasets as tfds

from t5cr_tasks import titles
from t5cr_tasks.probes import templates
from t5cr_tasks.raw import reviews

Record = dict[str, Any]
KINDS = ("recommendation", "attribute", "combination", "description")


def read_titles(raw: pathlib.Path) -> dict[int, str]:
  """Clean title by movie id."""
  movies = pd.read_csv(raw / "movielens" / "movies.csv")
  return dict(
    zip(movies["movieId"], movies["title"].map(titles.clean_title), strict=True)
  )


def make_runs(
  raw: pathlib.Path,
  title_of: dict[int, str],
  rating_above: float = 4.0,
  run_length: int = 10,
) -> pd.DataFrame:
  """Columns user_id, run, movie_ids: the runs of each user, in time order."""
  ratings = pd.read_csv(raw / "movielens" / "ratings.csv")
  liked = ratings[
    (ratings["rating"] > rating_above) & ratings["movieId"].isin(title_of)
  ]
  liked = liked.sort_values(["userId", "timestamp", "movieId"])
  liked["run"] = liked.groupby("userId").cumcount() // run_length
  runs = liked.groupby(["userId", "run"])["movieId"].agg(list).reset_index()
  runs = runs[runs["movieId"].map(len) == run_length]
  return runs.rename(columns={"userId": "user_id", "movieId": "movie_ids"})


def make_tagged(
  raw: pathlib.Path, relevance_above: float = 0.8
) -> pd.DataFrame:
  """Columns movie_id and tags: the fitting tags of each movie."""
  movies = pd.read_csv(raw / "movielens" / "movies.csv")
  tags = pd.read_csv(raw / "movielens" / "genome-tags.csv")
  scores = pd.read_csv(raw / "movielens" / "genome-scores.csv")
  fitting = scores[
    (scores["relevance"] > relevance_above)
    & scores["movieId"].isin(movies["movieId"])
  ].merge(tags, on="tagId")
  fitting = fitting.sort_values(["movieId", "tagId"])
  tagged = fitting.groupby("movieId")["tag"].agg(list).reset_index()
  return tagged.rename(columns={"movieId": "movie_id", "tag": "tags"})


def make_related(
  items: pd.DataFrame, min_count: int = 30, related: int = 10
) -> tuple[pd.Series, pd.DataFrame]:
  """Counts co-occurrences by joining the runs with themselves.

  Args:
    items: columns run and movie.
    min_count: only movies that are in more runs than this.
    related: how many related movies of each to keep.

  Returns:
    (runs that each such movie is in, by movie; columns movie, other, pmi2 by
    movie and place).
  """
  items = items.drop_duplicates()
  counts = items.groupby("movie").size()
  counts = counts[counts > min_count]
  items = items[items["movie"].isin(counts.index)]
  pairs = items.merge(items, on="run", suffixes=("", "_other"))
  pairs = pairs[pairs["movie"] != pairs["movie_other"]]
  both = pairs.groupby(["movie", "movie_other"]).size().reset_index(name="both")
  both["score"] = both["both"] ** 2 / (
    both["movie"].map(counts) * both["movie_other"].map(counts)
  )
  both = both.sort_values(
    ["movie", "score", "movie_other"], ascending=[True, False, True]
  )
  top = both.groupby("movie").head(related).reset_index(drop=True)
  return counts, pd.DataFrame(
    {
      "movie": top["movie"],
      "other": top["movie_other"],
      "pmi2": np.log(top["score"]),
    }
  )


def read_records(data_dir: pathlib.Path, name: str) -> Iterator[Record]:
  """The records of a built data set, by TFDS."""
  dataset = tfds.load(name, split="train", data_dir=data_dir)
  for record in tfds.as_numpy(dataset):
    yield {key: _plain(value) for key, value in record.items()}


def _plain(value: Any) -> Any:
  if isinstance(value, bytes):
    return value.decode()
  if isinstance(value, np.ndarray):
    return [_plain(item) for item in value.tolist()]
  return int(value)


@dataclasses.dataclass(frozen=True)
class Sets:
  """What the probes are made from, by title key in place of movie.

  Attributes:
    title: the title of each movie of the runs.
    counts: runs that each movie over the threshold is in.
    related: columns movie, other.
    tags: tags of each movie.
    sentences: the first sentences of each movie's first review.
  """

  title: dict[int, str]
  counts: pd.Series
  related: pd.DataFrame
  tags: dict[int, set[str]]
  sentences: dict[int, list[str]]


def read_sets(data_dir: pathlib.Path) -> Sets:
  """Reads the built data sets, and relates the movies of one title as one."""
  title_of: dict[int, str] = {}
  run_of, movie_of = [], []
  sequences = read_records(data_dir, "t5cr_movielens/sequences")
  for number, record in enumerate(sequences):
    title_of.update(zip(record["movie_ids"], record["titles"], strict=True))
    run_of += [number] * len(record["movie_ids"])
    movie_of += record["movie_ids"]
  movies: dict[str, int] = {}
  same: dict[int, int] = {}
  for movie_id in sorted(title_of):
    key = titles.title_key(title_of[movie_id])
    same[movie_id] = movies.setdefault(key, movie_id)
  items = pd.DataFrame({"run": run_of, "movie": movie_of})
  items["movie"] = items["movie"].map(same)
  counts, related = make_related(items)

  tags = collections.defaultdict(set)
  for record in read_records(data_dir, "t5cr_movielens/tags"):
    movie = movies.get(titles.title_key(record["title"]))
    if movie in counts.index:
      tags[movie].update(record["tags"])
  first: dict[int, tuple[int, list[str]]] = {}
  for record in read_records(data_dir, "t5cr_reviews"):
    movie = movies.get(titles.title_key(record["title"]))
    if movie in counts.index:
      review = (record["review_id"], record["sentences"][:4])
      first[movie] = min(first.get(movie, review), review)
  return Sets(
    title=title_of,
    counts=counts,
    related=related,
    tags=dict(tags),
    sentences={movie: said for movie, (_, said) in first.items()},
  )


def _found(probe: str, sets: Sets) -> Iterator[Record]:
  """The probes of a kind, without negatives: movie ids, tag and text."""
  if probe == "attribute":
    for movie in sets.counts.index:
      for tag in sorted(sets.tags.get(movie, ())):
        yield {"movie": None, "related": movie, "tag": tag, "rank": 0}
  elif probe == "description":
    for movie in sets.counts.index:
      for rank, text in enumerate(sets.sentences.get(movie, ()), start=1):
        yield {"movie": movie, "related": movie, "rank": rank, "said": text}
  else:
    for movie, group in sets.related.groupby("movie"):
      for rank, other in enumerate(group["other"], start=1):
        pair = {"movie": movie, "related": other, "rank": rank}
        if probe != "combination":
          yield pair
          continue
        carried = sets.tags.get(movie, set()) & sets.tags.get(other, set())
        for tag in sorted(carried):
          yield {**pair, "tag": tag}


def make_probes(
  probe: str, sets: Sets, seed: int = 0, popular_share: float = 0.1
) -> Iterator[Record]:
  """The records of a probe set, each negative drawn in a loop."""
  order = sets.counts.reset_index(name="count").sort_values(
    ["count", "movie"], ascending=[False, True]
  )
  popular = order["movie"].tolist()
  popular = popular[: max(1, int(popular_share * len(popular) + 0.5))]
  place = {movie: number for number, movie in enumerate(popular)}
  near = sets.related.groupby("movie")["other"].agg(set).to_dict()
  kind = "recommendation" if probe == "recommendation_sequence" else probe
  rng = np.random.default_rng([seed, templates.PROBES.index(kind)])
  probe_id = 0
  for found in _found(kind, sets):
    draw = rng.random()
    movie, tag = found["movie"], found.get("tag")
    admissible = [
      other
      for other in popular
      if (tag is None or tag not in sets.tags.get(other, ()))
      and (movie is None or other != movie and other not in near.get(movie, ()))
    ]
    if not admissible:
      continue
    negative = admissible[int(draw * len(admissible))]
    decile = place[negative] * 10 // len(popular) + 1
    yield from _records(probe, sets, probe_id, found, negative, decile)
    probe_id += 1


def _records(
  probe: str,
  sets: Sets,
  probe_id: int,
  found: Record,
  negative: int,
  decile: int,
) -> Iterator[Record]:
  phrasing = templates.find(probe, "paper")
  movie = "" if found["movie"] is None else sets.title[found["movie"]]
  pair = (sets.title[found["related"]], sets.title[negative])
  for candidate, title in enumerate(pair):
    about = title if probe == "description" else movie
    words = {
      "movie": titles.mark_title(about),
      "candidate": titles.mark_title(title),
      "title": title,
      "tag": found.get("tag", ""),
      "sentence": found.get("said", ""),
    }
    yield {
      "probe_id": probe_id,
      "candidate": candidate,
      "inputs": phrasing.inputs.format(**words),
      "targets": phrasing.targets.format(**words),
      "movie": movie,
      "related": pair[0],
      "negative": pair[1],
      "tag": found.get("tag", ""),
      "rank": found["rank"],
      "decile": decile,
      "named": -1,
      "template": "paper",
    }


class StockBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Writes records with nothing but TFDS."""

  VERSION = tfds.core.Version("1.0.0")

  def __init__(
    self,
    name: str,
    features: dict[str, Any],
    examples: Iterable[tuple[int | str, Record]],
    *,
    shuffled: bool = True,
    **kwargs: Any,
  ):
    """Takes what to write.

    Args:
      name: the folder.
      features: of an example.
      examples: key and example of each.
      shuffled: whether TFDS orders them by a hash of the key.
      **kwargs: TFDS's own: data_dir.
    """
    self.name = name
    self._features = features
    self._examples = examples
    self._shuffled = shuffled
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(self._features),
      disable_shuffling=not self._shuffled,
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager
    return {"train": self._generate_examples()}

  def _generate_examples(self) -> Iterator[tuple[int | str, Record]]:
    yield from self._examples


_TEXT = tfds.features.Text()
_TEXTS = tfds.features.Sequence(_TEXT)
_PROBE = {
  **dict.fromkeys(("inputs", "targets", "movie", "related"), _TEXT),
  **dict.fromkeys(("negative", "tag", "template"), _TEXT),
  **dict.fromkeys(("candidate", "rank", "decile", "named"), np.int32),
  "probe_id": np.int64,
}


def _write(name: str, data_dir: pathlib.Path, *arguments, **options) -> int:
  builder = StockBuilder(name, *arguments, data_dir=data_dir, **options)
  builder.download_and_prepare()
  return builder.info.splits["train"].num_examples


def write_probes(sets_dir: pathlib.Path, data_dir: pathlib.Path) -> int:
  """Writes the probe sets from the built data sets; returns their records."""
  sets = read_sets(sets_dir)
  return sum(
    _write(
      probe,
      data_dir,
      _PROBE,
      enumerate(make_probes(probe, sets)),
      shuffled=False,
    )
    for probe in (*KINDS, "recommendation_sequence")
  )


def write_sets(raw: pathlib.Path, data_dir: pathlib.Path) -> int:
  """Writes sequences, tags and reviews; returns how many records."""
  title_of = read_titles(raw)
  sequences = (
    (
      f"{row['user_id']}/{row['run']}",
      {**row, "titles": [title_of[movie] for movie in row["movie_ids"]]},
    )
    for row in make_runs(raw, title_of).to_dict("records")
  )
  count = _write(
    "sequences",
    data_dir,
    {
      "user_id": np.int64,
      "run": np.int32,
      "movie_ids": tfds.features.Sequence(np.int64),
      "titles": _TEXTS,
    },
    sequences,
  )
  tagged = (
    (row["movie_id"], {**row, "title": title_of[row["movie_id"]]})
    for row in make_tagged(raw).to_dict("records")
  )
  count += _write(
    "tags",
    data_dir,
    {"movie_id": np.int64, "title": _TEXT, "tags": _TEXTS},
    tagged,
  )
  with (raw / "reviews" / "reviews.csv").open(encoding="utf-8") as file:
    read = (
      (
        line,
        {
          "review_id": line,
          "title": titles.clean_title(text.partition("\t")[0]),
          "sentences": reviews.split_sentences(text.partition("\t")[2]),
        },
      )
      for line, text in enumerate(file, start=1)
    )
    count += _write(
      "reviews",
      data_dir,
      {"review_id": np.int64, "title": _TEXT, "sentences": _TEXTS},
      read,
    )
  return count
