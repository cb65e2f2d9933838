"""PMI^2 against values worked by hand, and against counting pair by pair."""

import fractions
import itertools
import math

import numpy as np
import pytest

from t5cr_tasks.probes import cooccurrence

A, B, C, D = range(4)
# A is in 4 of the 5 runs, B in 4, C in 2, D in 2.
RUNS = [[A, B, C], [A, B], [A, C], [B, D], [A, B, D]]


def _incidence(runs, num_movies):
  return cooccurrence.incidence(
    np.array([movie for run in runs for movie in run]),
    np.array([len(run) for run in runs]),
    num_movies,
  )


def test_pmi2_by_hand():
  related = cooccurrence.top_related(_incidence(RUNS, 4), 10)

  np.testing.assert_array_equal(
    related.movies[:, :4],
    [[B, C, D, -1], [A, D, C, -1], [A, B, -1, -1], [B, A, -1, -1]],
  )
  # p(A,B) = 3/5 and p(A) = p(B) = 4/5: log (9/25) / (16/25) = log 9/16.
  # p(A,C) = 2/5, p(C) = 2/5: log (4/25) / (8/25) = log 1/2.
  # p(A,D) = 1/5, p(D) = 2/5: log (1/25) / (8/25) = log 1/8.
  np.testing.assert_allclose(
    related.pmi2[A, :3], np.log([9 / 16, 1 / 2, 1 / 8])
  )
  # C and D are never in one run.
  assert related.pmi2[C, 2] == -np.inf
  assert related.movies.shape == (4, 10)


def test_pmi2_is_zero_for_movies_that_are_always_together():
  related = cooccurrence.top_related(_incidence([[0, 1], [0, 1], [2, 1]], 3), 1)

  assert related.movies[0, 0] == 1
  np.testing.assert_allclose(related.pmi2[0, 0], math.log(4 / (2 * 3)))
  alone = cooccurrence.top_related(_incidence([[0, 1], [0, 1], [2]], 3), 1)
  np.testing.assert_allclose(alone.pmi2[:, 0], [0, 0, -np.inf])


def test_equal_pmi2_goes_to_the_lower_index():
  # Every other movie meets movie 3 once and is in one run; 0 to 2 and 4 tie.
  runs = [[3, 4], [3, 2], [3, 1], [3, 0]]

  related = cooccurrence.top_related(_incidence(runs, 5), 3)

  np.testing.assert_array_equal(related.movies[3], [0, 1, 2])


def test_unequal_counts_of_equal_pmi2_tie():
  # Movie 0 is in 6 runs. With movie 1: 2 of 2, 4/12. With movie 2: 4 of 8,
  # 16/48. Both are 1/3, though neither product nor logarithm is the same.
  runs = [[0, 2]] * 2 + [[0, 1, 2]] * 2 + [[0]] * 2 + [[2]] * 4

  related = cooccurrence.top_related(_incidence(runs, 3), 2)

  np.testing.assert_array_equal(related.movies[0], [1, 2])
  assert related.pmi2[0, 0] == related.pmi2[0, 1]


def test_a_movie_twice_in_a_run_counts_once_and_negatives_not_at_all():
  matrix = cooccurrence.incidence(
    np.array([0, 0, 1, -1, 1, 0]), np.array([4, 2]), 3
  )

  np.testing.assert_array_equal(matrix.todense(), [[1, 1, 0], [1, 1, 0]])
  np.testing.assert_array_equal(cooccurrence.frequency(matrix), [2, 2, 0])


def _oracle(runs, num_movies, related):
  """Counts pair by pair, with exact fractions."""
  counts = [sum(m in run for run in runs) for m in range(num_movies)]
  table = []
  for movie in range(num_movies):
    scored = []
    for other in range(num_movies):
      both = sum(movie in run and other in run for run in runs)
      if other != movie and both:
        score = fractions.Fraction(both**2, counts[movie] * counts[other])
        scored.append((-score, other))
    best = [other for _, other in sorted(scored)[:related]]
    table.append(best + [-1] * (related - len(best)))
  return table


@pytest.mark.parametrize("block_rows", [1, 7, 512])
def test_agrees_with_counting_pair_by_pair(block_rows):
  rng = np.random.default_rng(0)
  popularity = 1 / np.arange(1, 26)
  popularity /= popularity.sum()
  runs = [rng.choice(25, 10, replace=False, p=popularity) for _ in range(60)]
  runs = [run.tolist() for run in runs]

  related = cooccurrence.top_related(
    _incidence(runs, 25), 10, block_rows=block_rows
  )

  np.testing.assert_array_equal(related.movies, _oracle(runs, 25, 10))
  for movie, place in itertools.product(range(25), range(9)):
    assert related.pmi2[movie, place] >= related.pmi2[movie, place + 1]
