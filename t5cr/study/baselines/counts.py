"""Popularity and item co-occurrence."""

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from t5cr.study.baselines.interactions import Index, Interactions
from t5cr.study.baselines.probes import Candidates, Score

# Movies whose counts with all others are held at once: of 10,000 others that
# is 20 MB.
_BLOCK_ROWS = 512


def popularity(interactions: Interactions) -> Score:
  """Scores a candidate by the number of runs that it is in.

  It does not look at the question. The negatives of all probes are popular
  movies, so it loses nearly always: it shows what a model scores that prefers
  what is popular.
  """
  runs = np.asarray(interactions.by_run().sum(axis=0), np.float64)
  index = Index(interactions.titles)
  return lambda asked: runs[index.find(asked.candidate)]


def cooccurrence(interactions: Interactions) -> Score:
  """Scores a candidate by the number of runs with the movie asked about.

  PMI^2 would be no baseline: the related movies are those of highest PMI^2 and
  the negatives are none of them, so it wins every probe but for ties.
  """
  matrix = interactions.by_run().T.tocsr()
  index = Index(interactions.titles)

  def score(asked: Candidates) -> Float[np.ndarray, " records"]:
    return common(
      matrix, index.find(asked.movie), index.find(asked.candidate)
    ).astype(np.float64)

  return score


def common(
  matrix: scipy.sparse.csr_array,
  first: Int[np.ndarray, " pairs"],
  second: Int[np.ndarray, " pairs"],
) -> Int[np.ndarray, " pairs"]:
  """Columns that two rows of a matrix of 0 and 1 have in common.

  Args:
    matrix: of 0 and 1.
    first: a row of each pair, -1 for one without columns.
    second: the other row of each pair, likewise.
  """
  counts = np.zeros(len(first), np.int64)
  there = np.flatnonzero((first >= 0) & (second >= 0))
  rows, row = np.unique(first[there], return_inverse=True)
  others, other = np.unique(second[there], return_inverse=True)
  transposed = matrix[others].T.tocsr()
  for start in range(0, len(rows), _BLOCK_ROWS):
    block = rows[start : start + _BLOCK_ROWS]
    product = (matrix[block] @ transposed).toarray()
    here = np.flatnonzero((row >= start) & (row < start + len(block)))
    counts[there[here]] = product[row[here] - start, other[here]]
  return counts
