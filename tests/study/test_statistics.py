import numpy as np
import pytest
import scipy.sparse

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


def sparse(columns):
  return scipy.sparse.csr_array(np.stack(columns, axis=1).astype(float))


def test_shares_are_those_of_the_bootstrap():
  wins = np.arange(60) % 3 == 0
  clusters = np.repeat(range(20), 3)
  whole = np.ones(60, bool)
  part = np.arange(60) < 9
  (one, of_part) = statistics.shares(
    sparse([wins, wins & part]), sparse([whole, part]), clusters
  )
  expected = statistics.bootstrap(ones_beside(wins), clusters, mean)
  assert (one.value, one.low, one.high) == (
    pytest.approx(expected.value),
    pytest.approx(expected.low),
    pytest.approx(expected.high),
  )
  np.testing.assert_allclose(one.resampled, expected.resampled)
  assert (of_part.value, of_part.clusters) == (pytest.approx(1 / 3), 3)


def test_a_resample_without_a_member_says_nothing():
  member = np.arange(20) < 1
  (estimate,) = statistics.shares(sparse([member]), sparse([member]), range(20))
  # A cluster is in no resample with probability (19 / 20)^20.
  assert np.isnan(estimate.resampled).mean() == pytest.approx(
    0.95**20, abs=0.04
  )
  assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
  ("first", "second", "expected"),
  [
    (0, 0, 1.0),
    (3, 3, 1.0),
    (5, 0, 2 / 32),
    (1, 6, 2 * (1 + 7) / 128),
    (9, 1, 2 * (1 + 10) / 1024),
  ],
)
def test_mcnemar_by_hand(first, second, expected):
  assert statistics.mcnemar(first, second) == pytest.approx(expected)
  assert statistics.mcnemar(second, first) == pytest.approx(expected)


def test_holm_by_hand():
  # In order 0.01 * 4, 0.02 * 3, 0.03 * 2 (no less than the one before), 0.9.
  adjusted = statistics.holm([0.03, 0.01, 0.9, 0.02])
  assert adjusted == pytest.approx([0.06, 0.04, 0.9, 0.06])
  assert statistics.holm([0.5, 0.6]) == [1.0, 1.0]
  assert statistics.holm([]) == []
