"""Bootstrap intervals of statistics that are functions of sums.

Every metric of the study is `finish(sums)` of sums over examples (BLEU too:
of n-gram matches and lengths). A resample is then a weighted sum of rows of a
small matrix. What is drawn with replacement is a cluster of examples that are
not independent: a dialogue with all its turns, or a movie with all probes that
ask about it.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence

import numpy as np

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
  generator = np.random.default_rng(seed)
  resampled = np.empty(resamples)
  for start in range(0, resamples, _CHUNK):
    size = min(_CHUNK, resamples - start)
    drawn = generator.integers(count, size=(size, count))
    drawn += np.arange(size)[:, None] * count
    weights = np.bincount(drawn.ravel(), minlength=size * count)
    totals = weights.reshape(size, count) @ sums
    resampled[start : start + size] = [finish(total) for total in totals]
  low, high = np.percentile(resampled, [2.5, 97.5])
  value = float(finish(sums.sum(0)))
  return Estimate(value, float(low), float(high), count, resampled)


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
