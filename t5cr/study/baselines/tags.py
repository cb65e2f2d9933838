"""Overlap of tags, without the tag that is asked for.

A related movie carries the tag that the probe asks for and the negative does
not, so whoever looks at that tag answers every probe. What is measured here is
how far a candidate's other tags go.
"""

import dataclasses
from typing import cast

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from t5cr.progress import Progress
from t5cr.study.baselines import counts
from t5cr.study.baselines.interactions import Index
from t5cr.study.baselines.probes import Candidates, Score

# Sums of equal terms in another order differ behind this place.
_DECIMALS = 12
# Movies whose fit is computed at once.
_BLOCK_MOVIES = 1024


@dataclasses.dataclass(frozen=True)
class Tagged:
  """Which movie carries which tag.

  Attributes:
    matrix: [movies, tags] of 0 and 1.
    titles: title of each movie.
    names: the tags.
  """

  matrix: scipy.sparse.csr_array
  titles: list[str]
  names: list[str]


def read(data_dir: str, progress: Progress | None = None) -> Tagged:
  """Reads the tags of all tagged movies.

  Raises:
    DataError: the data set is not built.
  """
  from t5cr_tasks import sources, tasks
  from t5cr_tasks.probes import sources as probe_sources

  spec = tasks.TASKS["t5cr_movielens_tags"]
  source = sources.BuiltDataSource(spec.tfds_name, spec.splits, data_dir)
  total = source.num_input_examples("train")
  records = source.get_dataset("train", shuffle=False).as_numpy_iterator()
  tagged = []
  for done, record in enumerate(records, start=1):
    tags = [tag.decode() for tag in record["tags"]]
    tagged.append((record["title"].decode(), tags))
    if progress and (done % 1000 == 0 or done == total):
      progress(f"read {spec.tfds_name}", done, total, "movies")
  titles = sorted(title for title, _ in tagged)
  _, kept = probe_sources.merge_titles(np.arange(len(titles)), titles)
  tags = probe_sources.tag_matrix(iter(tagged), kept)
  return Tagged(tags.matrix, kept, tags.names)


def overlap(tagged: Tagged) -> Score:
  """Scores a candidate by its tags other than the one that is asked for.

  The attribute probe: how well they go with that tag (`fit_of_tag`). The
  combination probe: how many of them the movie asked about has too
  (`jaccard`).
  """
  movies = Index(tagged.titles)
  tags = {name: place for place, name in enumerate(tagged.names)}
  # A candidate without any tag says nothing about one: the last row.
  share = np.asarray(tagged.matrix.mean(axis=0))
  fits = np.vstack([fit_of_tag(tagged.matrix), share])

  def score(asked: Candidates) -> Float[np.ndarray, " records"]:
    candidate = movies.find_any(asked.candidate)
    tag = np.array([tags[name] for name in asked.tag], np.int64)
    if asked.probe == "attribute":
      return fits[candidate, tag]
    return jaccard(tagged.matrix, movies.find_any(asked.movie), candidate, tag)

  return score


def fit_of_tag(
  matrix: scipy.sparse.csr_array,
) -> Float[np.ndarray, "movies tags"]:
  """How well a movie's other tags go with each tag.

  That is the mean of P(tag | other tag) over the movie's tags other than that
  one, each the share among the other movies with the other tag. The movie
  itself is not counted, so whether it carries the tag makes no difference. A
  tag that no other movie carries says nothing; where no tag says anything, it
  is the tag's share among the other movies.

  Args:
    matrix: [movies, tags] of 0 and 1.
  """
  matrix = scipy.sparse.csr_array(matrix, dtype=np.float64)
  carriers = np.asarray(matrix.sum(axis=0))
  both = (matrix.T @ matrix).toarray()
  # What a tag of a movie weighs: one by the other movies that carry it.
  says = carriers > 1
  weight = np.where(says, 1 / np.maximum(carriers - 1, 1), 0)
  movies, tags = cast(tuple[int, int], matrix.shape)
  weighted = weight[:, None] * both
  fits = np.empty((movies, tags))
  for start in range(0, movies, _BLOCK_MOVIES):
    block = matrix[start : start + _BLOCK_MOVIES]
    carried = block.toarray()
    # All tags of the movie, then less the tag itself and the movie itself.
    total = block @ weighted
    total -= carried * (both.diagonal() * weight)
    total -= carried * ((block @ weight)[:, None] - weight)
    count = (block @ says.astype(float))[:, None] - carried * says
    share = (carriers - carried) / max(movies - 1, 1)
    mean = np.divide(total, count, out=share, where=count > 0)
    fits[start : start + _BLOCK_MOVIES] = np.round(mean, _DECIMALS)
  return fits


def jaccard(
  matrix: scipy.sparse.csr_array,
  first: Int[np.ndarray, " pairs"],
  second: Int[np.ndarray, " pairs"],
  tag: Int[np.ndarray, " pairs"],
) -> Float[np.ndarray, " pairs"]:
  """Tags that two movies share, over the tags that either has.

  Args:
    matrix: [movies, tags] of 0 and 1.
    first: a movie of each pair, -1 for one without tags.
    second: the other movie, likewise.
    tag: the tag of each pair that does not count.

  Returns:
    From 0 to 1; 0 where neither has a tag that counts.
  """
  movies, tags = cast(tuple[int, int], matrix.shape)
  # A row of zeros at the end is what -1 stands for.
  none = scipy.sparse.csr_array((1, tags), dtype=matrix.dtype)
  matrix = scipy.sparse.csr_array(scipy.sparse.vstack([matrix, none]))
  first = np.where(first < 0, movies, first)
  second = np.where(second < 0, movies, second)
  sizes = np.asarray(matrix.sum(axis=1), np.int64)
  has_first = np.asarray(matrix[first, tag], np.int64)
  has_second = np.asarray(matrix[second, tag], np.int64)
  both = counts.common(matrix, first, second)
  either = sizes[first] + sizes[second] - both - (has_first | has_second)
  both = both - (has_first & has_second)
  return np.divide(both, either, out=np.zeros(len(both)), where=either > 0)
