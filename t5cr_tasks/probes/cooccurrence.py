"""Co-occurrence of movies in the runs, and PMI^2.

Every probability is a share of runs: with R runs, c(a) of them with movie a
and c(a,b) with both, p(a) = c(a) / R and p(a,b) = c(a,b) / R. Then

  PMI^2(a, b) = log( p(a,b)^2 / (p(a) p(b)) ) = log( c(a,b)^2 / (c(a) c(b)) ),

in nats: R cancels, 0 is the highest value (two movies always together), and
movies that never meet have minus infinity. The paper's section 4.1 takes it
from Role and Nadif (2011), for it lacks PMI's bias towards rare movies.
"""

import dataclasses
import itertools
from collections.abc import Iterator

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
  # Half as wide as numpy's own, which products of the matrix are quicker with.
  runs = np.repeat(np.arange(len(run_lengths), dtype=np.int32), run_lengths)
  counted = run_movies >= 0
  runs, movies = runs[counted], run_movies[counted].astype(np.int32)
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
  first: Int[np.ndarray, " pairs"] | np.integer,
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
  tops = [
    top_of_rows(block, start, counts, related)
    for start, block in cooccurrences(matrix, block_rows=block_rows)
  ]
  return Related(
    np.concatenate([top.movies for top in tops]),
    np.concatenate([top.pmi2 for top in tops]),
  )


def cooccurrences(
  matrix: scipy.sparse.csr_array, *, block_rows: int = BLOCK_ROWS
) -> Iterator[tuple[int, scipy.sparse.csr_array]]:
  """How many runs each movie shares with each, some rows at a time.

  Args:
    matrix: [runs, movies] from `incidence`.
    block_rows: movies whose co-occurrences are held at once.

  Yields:
    (first movie, [rows, movies] runs with both).
  """
  transposed = matrix.T.tocsr()
  num_movies = matrix.shape[1]  # pyright: ignore[reportOptionalSubscript]
  for start in range(0, num_movies, block_rows):
    yield start, (transposed[start : start + block_rows] @ matrix).tocsr()


def top_of_rows(
  block: scipy.sparse.csr_array,
  start: int,
  counts: Int[np.ndarray, " movies"],
  related: int,
) -> Related:
  """The movies of highest PMI^2 with each of some movies.

  Args:
    block: [rows, movies] runs that these movies share with each movie.
    start: the first of these movies.
    counts: runs that each movie is in.
    related: how many to keep for each movie.

  Returns:
    Related, of these rows only; ordered as `top_related` says.
  """
  ends = np.asarray(block.indptr).tolist()
  columns: np.ndarray = np.asarray(block.indices)
  shared: np.ndarray = np.asarray(block.data)
  movies = np.full((len(ends) - 1, related), -1, np.int32)
  scores = np.full((len(ends) - 1, related), -np.inf)
  for row, (first, end) in enumerate(itertools.pairwise(ends)):
    others, both = columns[first:end], shared[first:end]
    scored = squared_cosine(both, counts[start + row], counts[others])
    # A movie shares its runs with itself too.
    scored[others == start + row] = -1.0
    least = 0.0
    if len(scored) > related:
      # To find the least that is good enough is quicker than to sort all.
      least = max(least, np.partition(scored, -related)[-related])
    near = np.flatnonzero(scored >= least)
    order = near[np.lexsort((others[near], -scored[near]))[:related]]
    movies[row, : len(order)] = others[order]
    scores[row, : len(order)] = np.log(scored[order])
  return Related(movies, scores)
