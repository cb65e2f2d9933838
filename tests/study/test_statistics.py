import numpy as np
import pytest

from t5cr.study import statistics


def mean(sums):
  return sums[0] / sums[1]


def ones_beside(values):
  return np.stack([values, np.ones(len(values))], axis=1)


def test_cluster_sums_by_hand():
  sums = statistics.cluster_sums(
    np.array([[1, 1], [0, 1], [1, 1]]), ["b", "a", "b"]
  )
  np.testing.assert_array_equal(sums, [[2, 2], [0, 1]])


def test_value_is_the_statistic_itself():
  estimate = statistics.bootstrap(
    ones_beside(np.array([1, 0, 1, 1])), [0, 1, 2, 3], mean, resamples=50
  )
  assert estimate.value == 0.75
  assert estimate.clusters == 4
  assert estimate.low <= 0.75 <= estimate.high


def test_interval_of_a_proportion_is_the_binomial_one():
  wins = np.arange(1000) < 600
  estimate = statistics.bootstrap(ones_beside(wins), range(1000), mean)
  half = 1.96 * (0.6 * 0.4 / 1000) ** 0.5
  assert estimate.low == pytest.approx(0.6 - half, abs=0.005)
  assert estimate.high == pytest.approx(0.6 + half, abs=0.005)


def test_clusters_that_agree_widen_the_interval():
  wins = np.repeat(np.arange(100) < 60, 10)
  alone = statistics.bootstrap(ones_beside(wins), range(1000), mean)
  together = statistics.bootstrap(
    ones_beside(wins), np.repeat(range(100), 10), mean
  )
  width = together.high - together.low
  assert width == pytest.approx(10**0.5 * (alone.high - alone.low), rel=0.1)


def test_same_seed_gives_the_same_interval():
  values = ones_beside(np.arange(20) % 3 == 0)
  first, again, other = (
    statistics.bootstrap(values, range(20), mean, seed=seed)
    for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(first.resampled, again.resampled)
  assert not np.array_equal(first.resampled, other.resampled)


def test_a_change_is_paired():
  values = np.arange(50) % 4 == 0
  base = statistics.bootstrap(ones_beside(values), range(50), mean)
  double = statistics.bootstrap(ones_beside(2 * values), range(50), mean)
  assert statistics.relative_change(double, base) == pytest.approx((1, 1, 1))


def test_no_change_against_nothing():
  nothing = statistics.bootstrap(ones_beside(np.zeros(5)), range(5), mean)
  some = statistics.bootstrap(ones_beside(np.ones(5)), range(5), mean)
  assert statistics.relative_change(some, nothing) is None
