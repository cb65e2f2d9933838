"""Co-occurrence of movies in the runs, and PMI^2.

Every probability is a share of runs: with R runs, c(a) of them with movie a
and c(a,b) with both, p(a) = c(a) / R and p(a,b) = c(a,b) / R. Then

  PMI^2(a, b) = log( p(a,b)^2 / (p(a) p(b)) ) = log( c(a,b)^2 / (c(a) c(b)) ),

in nats: R cancels, 0 is the highest value (two movies always together), and
movies that never meet have minus infinity. The paper's section 4.1 takes it
from Role and Nadif (2011), for it lacks PMI's bias towards rare movies.
"""

import dataclasses

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

# Rows of X^T X that are held at once: 512 rows of 5,000 movies are 2.5 million
# entries at the very most, whatever the number of runs.
BLOCK_ROWS = 512


@dataclasses.dataclass(frozen=True)
class Related:
  """The movies most related to each movie, best first.

  Attributes:
    movies: [movies, related] index of the related movie, -1 where there are
      fewer.
    pmi2: [movies, related] PMI^2 in nats, minus infinity where there is none.
  """

  movies: Int[np.ndarray, "movies related"]
  pmi2: Float[np.ndarray, "movies related"]


def incidence(
  run_movies: Int[np.ndarray, " items"],
  run_lengths: Int[np.ndarray, " runs"],
  num_movies: int,
) -> scipy.sparse.csr_array:
  """Which movie is in which run.

  Args:
    run_movies: movie index of every item, run after run; a negative index is
      an item that is not counted.
    run_lengths: number of items of each run.
    num_movies: number of movies.

  Returns:
    [runs, movies] matrix of 0 and 1, int32; a movie that stands twice in a run
    counts once.
  """
  runs = np.repeat(np.arange(len(run_lengths)), run_lengths)
  counted = run_movies >= 0
  runs, movies = runs[counted], run_movies[counted]
  matrix = scipy.sparse.csr_array(
    (np.ones(len(movies), np.int32), (runs, movies)),
    shape=(len(run_lengths), num_movies),
  )
  matrix.sum_duplicates()
  matrix.data[:] = 1
  return matrix


def frequency(matrix: scipy.sparse.csr_array) -> Int[np.ndarray, " movies"]:
  """Number of runs that each movie is in."""
  return np.asarray(matrix.sum(axis=0), dtype=np.int64)


def squared_cosine(
  both: Int[np.ndarray, " pairs"],
  first: Int[np.ndarray, " pairs"],
  second: Int[np.ndarray, " pairs"],
) -> Float[np.ndarray, " pairs"]:
  """c(a,b)^2 / (c(a) c(b)): PMI^2 before the logarithm.

  Both products are whole numbers below 2^53 and the quotient is rounded
  correctly, so pairs of equal PMI^2 have bit-equal values and ties can be
  broken by a rule rather than by rounding.

  Args:
    both: runs with both movies.
    first: runs with the first movie.
    second: runs with the second movie.
  """
  both = both.astype(np.float64)
  return both * both / (first.astype(np.float64) * second)


def top_related(
  matrix: scipy.sparse.csr_array,
  related: int,
  *,
  block_rows: int = BLOCK_ROWS,
) -> Related:
  """The movies of highest PMI^2 with each movie.

  Args:
    matrix: [runs, movies] from `incidence`.
    related: how many to keep for each movie.
    block_rows: movies whose co-occurrences are held at once.

  Returns:
    Related; equal PMI^2 goes to the lower movie index, and a movie is never
    related to itself or to one that it shares no run with.
  """
  counts = frequency(matrix)
  num_movies = len(counts)
  movies = np.full((num_movies, related), -1, np.int32)
  scores = np.full((num_movies, related), -np.inf)
  transposed = matrix.T.tocsr()
  for start in range(0, num_movies, block_rows):
    block = (transposed[start : start + block_rows] @ matrix).tocoo()
    rows, columns = block.row + start, block.col
    others = rows != columns
    rows, columns, both = rows[others], columns[others], block.data[others]
    scored = squared_cosine(both, counts[rows], counts[columns])
    order = np.lexsort((columns, -scored, rows))
    rows, columns, scored = rows[order], columns[order], scored[order]
    # Rows are sorted, so the distance to a row's first entry is the rank.
    ranks = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = ranks < related
    rows, ranks = rows[kept], ranks[kept]
    movies[rows, ranks] = columns[kept]
    scores[rows, ranks] = np.log(scored[kept])
  return Related(movies, scores)
