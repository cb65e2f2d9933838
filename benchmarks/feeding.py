"""Training batches: how fast they are made, beside seqio as t5x calls it.

    python benchmarks/feeding.py --tfds_data_dir DATA --cache_dir CACHE

Both sides give the same batches of the same mixture, which is checked first,
and take turns on the same cores; the consumer does nothing, so a side runs as
fast as it can. Examples, rows and real tokens (those that are not padding) a
second, from the cached tasks, if `--cache_dir` names a cache, and without.
T5CR_VOCABULARY names the vocabulary, as for training.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import side_by_side

LENGTHS = {"inputs": 512, "targets": 128}
SEQIO = "seqio"
# Taken before the clock starts: what was made while the other had its turn.
_WARM = 4
_COMPARED = 5

Batches = Iterator[Mapping[str, np.ndarray]]


def pipelines(options: argparse.Namespace, use_cached: bool) -> dict:
  """Endless batches of both sides."""
  import seqio

  from t5cr.engine import feed
  from t5cr.engine.train_config import TrainData

  data = TrainData(
    options.mixture,
    LENGTHS,
    options.batch_size,
    use_cached=use_cached,
    threads=options.threads,
  )
  theirs = seqio.get_dataset(
    options.mixture,
    LENGTHS,
    seqio.EncDecFeatureConverter(pack=True),
    use_cached=use_cached,
    shuffle=True,
    num_epochs=None,
    shard_info=seqio.ShardInfo(index=0, num_shards=1),
    seed=data.seed,
    batch_size=options.batch_size,
  )
  return {
    side_by_side.OURS: feed.train_batches(data),
    SEQIO: theirs.as_numpy_iterator(),
  }


def check(made: Mapping[str, Batches]) -> None:
  """Raises Disagreement if one side gives other batches."""
  for number in range(_COMPARED):
    ours, theirs = (next(made[name]) for name in (side_by_side.OURS, SEQIO))
    same = ours.keys() == theirs.keys() and all(
      np.array_equal(ours[name], theirs[name]) for name in ours
    )
    if not same:
      raise side_by_side.Disagreement(f"Batch {number} is not that of seqio")


def amounts(batch: Mapping[str, np.ndarray]) -> dict[str, int]:
  """What a batch holds."""
  sides = ("encoder_segment_ids", "decoder_segment_ids")
  return {
    "examples": int(batch["decoder_segment_ids"].max(axis=1).sum()),
    "rows": len(batch["decoder_segment_ids"]),
    "real tokens": sum(int(np.count_nonzero(batch[side])) for side in sides),
  }


def measure(
  work: str, made: Mapping[str, Batches], rounds: int, seconds: float
) -> list[side_by_side.Timing]:
  """Takes batches from both sides in turn; one timing for each unit."""
  check(made)
  taken: dict[str, list[tuple[float, dict[str, int]]]] = {n: [] for n in made}
  for number in range(rounds):
    for name in reversed(list(made)) if number % 2 else made:
      taken[name].append(_take(made[name], seconds))
  timings = []
  for unit in amounts(next(made[side_by_side.OURS])):
    # Rounds end with a batch, so they differ in size: seconds are those of the
    # same amount.
    amount = 1e6 if unit == "real tokens" else 1e3
    timings.append(
      side_by_side.Timing(
        work,
        unit,
        dict.fromkeys(made, amount),
        {
          name: [amount * spent / total[unit] for spent, total in rounds_]
          for name, rounds_ in taken.items()
        },
      )
    )
  return timings


def _take(batches: Batches, seconds: float) -> tuple[float, dict[str, int]]:
  """Takes batches for so long; the time spent and what they held."""
  for _ in range(_WARM):
    next(batches)
  held = []
  start = time.perf_counter()
  while time.perf_counter() - start < seconds:
    held.append(next(batches))
  spent = time.perf_counter() - start
  counted = [amounts(batch) for batch in held]
  return spent, {unit: sum(one[unit] for one in counted) for unit in counted[0]}


def measured(options: argparse.Namespace) -> Iterable[side_by_side.Timing]:
  """Measures with the cache, if there is one, and without."""
  from t5cr.engine import feed

  feed.use_data_dir(options.tfds_data_dir)
  feed.import_tasks(options.module)
  if options.cache_dir:
    feed.use_cache_dirs([options.cache_dir])
    feed.check_cached([options.mixture], True)
  found = []
  for use_cached in [True, False] if options.cache_dir else [False]:
    where = "cached" if use_cached else "not cached"
    made = pipelines(options, use_cached)
    found.append(
      measure(
        f"{options.mixture}, {where}", made, options.rounds, options.seconds
      )
    )
  return itertools.chain.from_iterable(found)


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--tfds_data_dir", required=True)
  parser.add_argument("--cache_dir", help="what seqio_cache_tasks wrote")
  parser.add_argument("--mixture", default="t5cr_all")
  parser.add_argument("--module", default="t5cr_tasks")
  parser.add_argument("--batch_size", type=int, default=128)
  parser.add_argument("--threads", type=int, default=2, help="DATA_THREADS")
  parser.add_argument("--seconds", type=float, default=4, help="of a round")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument(
    "--json", type=pathlib.Path, help="write the figures there"
  )
  options = parser.parse_args()
  options.model = f"{options.batch_size} rows, {options.threads} threads"
  side_by_side.run(lambda: measured(options), options, {})


if __name__ == "__main__":
  main()
