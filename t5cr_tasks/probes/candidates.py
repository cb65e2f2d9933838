"""What each probe asks about, and the popular movie it is compared with.

Probes are columns (`Probes`): one entry a probe, indices in place of texts, so
that millions of them cost a few arrays. `-1` stands for "there is none".
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Int

# Probes whose admissible negatives are held at once: [8192, popular] booleans.
BLOCK_PROBES = 8192


@dataclasses.dataclass(frozen=True)
class Probes:
  """Probes as columns of one length.

  Attributes:
    probe_id: number of the probe.
    movie: the movie asked about, -1 for the attribute probe.
    related: the movie that should win; the movie itself for the description
      probe (Table 4 calls it so).
    negative: the popular movie that should lose.
    tag: index of the tag asked for, -1 where there is none.
    rank: place of `related` among the related movies of `movie`, from 1; for
      the description probe the number of the sentence; 0 where there is none.
    sentence: index of the review sentence, -1 where there is none.
  """

  probe_id: Int[np.ndarray, " probes"]
  movie: Int[np.ndarray, " probes"]
  related: Int[np.ndarray, " probes"]
  negative: Int[np.ndarray, " probes"]
  tag: Int[np.ndarray, " probes"]
  rank: Int[np.ndarray, " probes"]
  sentence: Int[np.ndarray, " probes"]

  def __len__(self) -> int:
    """Number of probes."""
    return len(self.probe_id)

  def take(self, rows: np.ndarray) -> "Probes":
    """The probes of these row numbers (or of this mask)."""
    return Probes(
      **{
        field.name: getattr(self, field.name)[rows]
        for field in dataclasses.fields(self)
      }
    )


def _probes(
  count: int,
  *,
  related: np.ndarray,
  movie: np.ndarray | None = None,
  tag: np.ndarray | None = None,
  rank: np.ndarray | None = None,
  sentence: np.ndarray | None = None,
) -> Probes:
  """Columns of `count` probes, without a negative yet."""

  def column(values: np.ndarray | None, default: int) -> np.ndarray:
    if values is None:
      return np.full(count, default, np.int32)
    return np.asarray(values, np.int32)

  return Probes(
    probe_id=np.arange(count),
    movie=column(movie, -1),
    related=column(related, -1),
    negative=np.full(count, -1, np.int32),
    tag=column(tag, -1),
    rank=column(rank, 0),
    sentence=column(sentence, -1),
  )


def popular_movies(
  frequency: Int[np.ndarray, " movies"], share: float
) -> Int[np.ndarray, " popular"]:
  """The most frequent movies.

  Args:
    frequency: number of runs that each movie is in.
    share: the share of the movies that are popular.

  Returns:
    Their indices, most frequent first, equals by index; the count is rounded
    to the nearest whole number and is at least 1.
  """
  count = max(1, math.floor(share * len(frequency) + 0.5))
  order = np.lexsort((np.arange(len(frequency)), -frequency))
  return order[:count].astype(np.int32)


def recommendation(related: Int[np.ndarray, "movies related"]) -> Probes:
  """One probe for each movie and each of its related movies."""
  movie, place = np.nonzero(related >= 0)
  return _probes(
    len(movie), movie=movie, related=related[movie, place], rank=place + 1
  )


def attribute(tags: scipy.sparse.csr_array) -> Probes:
  """One probe for each association of a movie with a tag.

  Args:
    tags: [movies, tags], nonzero where the movie carries the tag.
  """
  movie, tag = tags.nonzero()
  order = np.lexsort((tag, movie))
  return _probes(len(movie), related=movie[order], tag=tag[order])


def combination(
  related: Int[np.ndarray, "movies related"], tags: scipy.sparse.csr_array
) -> Probes:
  """One probe for each tag that a movie shares with a related movie.

  Args:
    related: indices of the related movies, -1 where there are fewer.
    tags: [movies, tags], nonzero where the movie carries the tag.
  """
  movies, others, shared_tags, ranks = [], [], [], []
  for place in range(related.shape[1]):
    movie = np.flatnonzero(related[:, place] >= 0)
    other = related[movie, place]
    row, tag = tags[movie].multiply(tags[other]).nonzero()
    movies.append(movie[row])
    others.append(other[row])
    shared_tags.append(tag)
    ranks.append(np.full(len(row), place + 1))
  movie, other, tag, rank = (
    np.concatenate(columns) for columns in (movies, others, shared_tags, ranks)
  )
  order = np.lexsort((tag, rank, movie))
  return _probes(
    len(movie),
    movie=movie[order],
    related=other[order],
    tag=tag[order],
    rank=rank[order],
  )


def description(
  sentence_movie: Int[np.ndarray, " sentences"],
  sentence_number: Int[np.ndarray, " sentences"],
) -> Probes:
  """One probe for each sentence of a review.

  Args:
    sentence_movie: the movie that each sentence's review is about.
    sentence_number: the sentence's place in its review, from 1.
  """
  return _probes(
    len(sentence_movie),
    movie=sentence_movie,
    related=sentence_movie,
    rank=sentence_number,
    sentence=np.arange(len(sentence_movie)),
  )


def unrelated_popular(
  related: Int[np.ndarray, "movies related"],
  popular: Int[np.ndarray, " popular"],
) -> Bool[np.ndarray, "movies popular"]:
  """Which popular movies are neither the movie nor one of its related."""
  allowed = np.ones((len(related), len(popular)), bool)
  place = np.full(len(related), -1)
  place[popular] = np.arange(len(popular))
  near = np.column_stack([np.arange(len(related)), related])
  row, column = np.nonzero((near >= 0) & (place[near] >= 0))
  allowed[row, place[near[row, column]]] = False
  return allowed


def untagged_popular(
  tags: scipy.sparse.csr_array, popular: Int[np.ndarray, " popular"]
) -> Bool[np.ndarray, "tags popular"]:
  """Which popular movies do not carry each tag."""
  return np.asarray(tags[popular].todense() == 0).T


def draw_negatives(
  popular: Int[np.ndarray, " popular"],
  allowed: Sequence[tuple[np.ndarray, np.ndarray]],
  rng: np.random.Generator,
  *,
  block_probes: int = BLOCK_PROBES,
) -> Int[np.ndarray, " probes"]:
  """Draws a popular movie for each probe, evenly among the admissible ones.

  Args:
    popular: indices of the popular movies.
    allowed: tables of admissible movies, each with the row that each probe
      reads: ([rows, popular] booleans, [probes] row numbers). A movie is
      admissible where every table allows it.
    rng: one number is drawn for each probe, whatever its tables say.
    block_probes: probes handled at once; does not change the result.

  Returns:
    [probes] movie indices, -1 where no popular movie is admissible.
  """
  count = len(allowed[0][1])
  draws = rng.random(count)
  negatives = np.full(count, -1, np.int32)
  for start in range(0, count, block_probes):
    rows = slice(start, start + block_probes)
    admissible = np.logical_and.reduce(
      [table[index[rows]] for table, index in allowed]
    )
    choices = admissible.sum(axis=1)
    nth = np.minimum((draws[rows] * choices).astype(np.int64), choices - 1)
    seen = np.cumsum(admissible, axis=1, dtype=np.int32)
    chosen = popular[np.argmax(seen > nth[:, None], axis=1)]
    negatives[rows] = np.where(choices > 0, chosen, -1)
  return negatives


def with_negatives(
  probes: Probes, negatives: Int[np.ndarray, " probes"]
) -> Probes:
  """The probes that have a negative, numbered anew from 0."""
  kept = dataclasses.replace(probes, negative=negatives).take(negatives >= 0)
  return dataclasses.replace(kept, probe_id=np.arange(len(kept)))


def subset(
  probes: Probes, max_probes: int | None, rng: np.random.Generator
) -> Probes:
  """A random subset, in the old order and under the old numbers.

  Args:
    probes: all probes.
    max_probes: how many to keep, None for all.
    rng: draws which.
  """
  if max_probes is None or len(probes) <= max_probes:
    return probes
  rows = rng.choice(len(probes), max_probes, replace=False, shuffle=False)
  return probes.take(np.sort(rows))
