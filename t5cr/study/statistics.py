"""Bootstrap intervals of statistics that are functions of sums; paired tests.

Every metric of the study is `finish(sums)` of sums over examples (BLEU too:
of n-gram matches and lengths). A resample is then a weighted sum of rows of a
small matrix. What is drawn with replacement is a cluster of examples that are
not independent: a dialogue with all its turns, or a movie with all probes that
ask about it.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
import scipy.sparse
import scipy.stats

RESAMPLES = 2000
_CHUNK = 100  # resamples whose weights are held at once


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A statistic with its 95% bootstrap interval.

  Attributes:
    value: the statistic on the data itself.
    low: 2.5th percentile of the resampled statistics.
    high: 97.5th percentile.
    clusters: how many clusters were drawn from.
    resampled: the statistic on each resample, for paired comparisons.
  """

  value: float
  low: float
  high: float
  clusters: int
  resampled: np.ndarray = dataclasses.field(repr=False, compare=False)


def cluster_sums(
  per_example: np.ndarray, clusters: Sequence[Hashable]
) -> np.ndarray:
  """Adds up the rows of each cluster.

  Args:
    per_example: float [examples, k].
    clusters: the cluster of each example.

  Returns:
    float64 [number of clusters, k], in order of first appearance, so that two
    runs over the same examples are resampled alike.
  """
  number: dict[Hashable, int] = {}
  index = np.array(
    [number.setdefault(cluster, len(number)) for cluster in clusters], np.intp
  )
  sums = np.zeros((len(number), per_example.shape[1]))
  np.add.at(sums, index, per_example)
  return sums


def bootstrap(
  per_example: np.ndarray,
  clusters: Sequence[Hashable],
  finish: Callable[[np.ndarray], float],
  *,
  resamples: int = RESAMPLES,
  seed: int = 0,
) -> Estimate:
  """Estimates a statistic and its 95% percentile interval.

  The same seed draws the same clusters whatever the statistic, so estimates
  over the same clusters are paired.

  Args:
    per_example: float [examples, k], at least one example.
    clusters: the cluster of each example; whole clusters are drawn.
    finish: makes the statistic of the k sums.
    resamples: how many resamples to draw.
    seed: of the draws.

  Returns:
    The estimate.
  """
  sums = cluster_sums(np.asarray(per_example, np.float64), clusters)
  count = len(sums)
  resampled = np.array(
    [
      finish(total)
      for weights in _draws(count, resamples, seed)
      for total in weights @ sums
    ]
  )
  low, high = np.percentile(resampled, [2.5, 97.5])
  value = float(finish(sums.sum(0)))
  return Estimate(value, float(low), float(high), count, resampled)


def _draws(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
  """How often each resample holds each cluster, [up to _CHUNK, count] each."""
  generator = np.random.default_rng(seed)
  for start in range(0, resamples, _CHUNK):
    size = min(_CHUNK, resamples - start)
    drawn = generator.integers(count, size=(size, count))
    drawn += np.arange(size)[:, None] * count
    weights = np.bincount(drawn.ravel(), minlength=size * count)
    yield weights.reshape(size, count)


def shares(
  hits: scipy.sparse.csr_array,
  members: scipy.sparse.csr_array,
  clusters: Sequence[Hashable],
  *,
  resamples: int = RESAMPLES,
  seed: int = 0,
) -> list[Estimate]:
  """Estimates shares of groups of the same examples, from the same draws.

  So they are paired with each other, and with what `bootstrap` makes of the
  same clusters and seed. A resample that holds nothing of a group says nothing
  of its share.

  Args:
    hits: [examples, groups], nonzero for what counts; only of members.
    members: [examples, groups], 1 where an example belongs to a group, each of
      which has one at least. Sparse, since most groups are small.
    clusters: the cluster of each example.
    resamples: how many resamples to draw.
    seed: of the draws.

  Returns:
    An estimate for each group; its `clusters` are those with a member.
  """
  number: dict[Hashable, int] = {}
  index = [number.setdefault(cluster, len(number)) for cluster in clusters]
  by_cluster = scipy.sparse.csr_array(
    (np.ones(len(index)), (index, np.arange(len(index))))
  )
  tops = scipy.sparse.csr_array((by_cluster @ hits).T)
  bottoms = scipy.sparse.csr_array((by_cluster @ members).T)
  parts = []
  for weights in _draws(len(number), resamples, seed):
    drawn = weights.T.astype(np.float64)
    with np.errstate(invalid="ignore"):
      parts.append((tops @ drawn) / (bottoms @ drawn))
  resampled = np.concatenate(parts, axis=1)
  values = tops.sum(axis=1) / bottoms.sum(axis=1)
  low, high = np.nanpercentile(resampled, [2.5, 97.5], axis=1)
  counts = np.diff(bottoms.indptr)
  return [
    Estimate(float(values[j]), float(low[j]), float(high[j]), int(counts[j]), r)
    for j, r in enumerate(resampled)
  ]


def paired_difference(
  estimate: Estimate, base: Estimate
) -> tuple[float, float, float]:
  """How much larger a statistic is than another, estimated from the same draws.

  Returns:
    (difference, low, high) with a 95% percentile interval.
  """
  differences = estimate.resampled - base.resampled
  low, high = np.nanpercentile(differences, [2.5, 97.5])
  return estimate.value - base.value, float(low), float(high)


def mcnemar(first_only: int, second_only: int) -> float:
  """The exact McNemar test of two that answer the same questions.

  Under the hypothesis that both answer equally well, what only one of them
  answers is as often the first's as the second's (binomial, two-sided).

  Args:
    first_only: what only the first answers.
    second_only: what only the second answers.

  Returns:
    The p-value; 1 where they never differ.
  """
  differ = first_only + second_only
  if not differ:
    return 1.0
  return float(scipy.stats.binomtest(first_only, differ).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
  """Holm's step-down adjustment of p-values, whatever they depend on.

  The k-th smallest of m is multiplied by m - k + 1, is no smaller than those
  before it, and at most 1 (Holm 1979). What is below 0.05 then holds for all
  tests together with an error of at most 5%.

  Args:
    p_values: of all tests that are made.

  Returns:
    The adjusted ones, in the same order.
  """
  adjusted = [0.0] * len(p_values)
  largest = 0.0
  order = sorted(range(len(p_values)), key=lambda test: p_values[test])
  for place, test in enumerate(order):
    largest = max(largest, (len(p_values) - place) * p_values[test])
    adjusted[test] = min(1.0, largest)
  return adjusted


def relative_change(
  estimate: Estimate, base: Estimate
) -> tuple[float, float, float] | None:
  """How much larger a statistic is than a base, as a share of the base.

  Args:
    estimate: of one row.
    base: of the row it is compared with; paired with `estimate` if both were
      resampled from the same clusters with the same seed.

  Returns:
    (change, low, high) with a 95% percentile interval; 0.3 is 30% more. None
    where the base is 0.
  """
  if base.value == 0:
    return None
  kept = base.resampled != 0
  changes = estimate.resampled[kept] / base.resampled[kept] - 1
  low, high = np.percentile(changes, [2.5, 97.5])
  return estimate.value / base.value - 1, float(low), float(high)
