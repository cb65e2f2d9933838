"""Scoring pairs of input and target, as probes need it, side by side.

    python benchmarks/scoring.py [--tfds_data_dir DIR --vocabulary FILE]
        [--examples N] [--json FILE]

The pairs are random ones of 24 tokens and, where a data folder is named, those
of its probe tasks (`t5cr_probe_*`, split validation). All contenders score the
same pairs; their scores (nats, summed over a target's tokens) have to equal
t5cr's to 1e-4 of the score before anything is timed.

  t5cr                  what `t5cr eval` does, `score_examples`
  t5x at 512/128        t5x as the paper's lengths have it: every pair padded to
                        them. A sample of the pairs is scored; all take equally
                        long, so the rate holds for all
  t5x at I/T            the same at the shortest lengths that hold all pairs and
                        at a few rounded ones: the best of those is timed
  transformers          sorted by length, each batch padded to its longest pair

Each is first tried with several batch sizes on a sample, and the best taken.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import contenders, probes, side_by_side
from benchmarks.contenders import engine
from benchmarks.side_by_side import Contender

TOLERANCE = 1e-4
PAPER_LENGTHS = (512, 128)
BATCH_SIZES = (16, 32, 64, 128)
PAPER_BATCH_SIZES = (4, 16)
# Rounded up to a multiple of these, t5x's lengths are tried.
_MULTIPLES = (1, 8, 32)


def check(theirs: Any, ours: Any) -> None:
  """Raises Disagreement unless scores agree to 1e-4 of the score."""
  side_by_side.check_close(
    theirs, ours, "score", rtol=TOLERANCE, atol=TOLERANCE
  )


def _with_best_batch(
  score: Callable[..., Any], pairs: probes.Pairs, sizes: Sequence[int]
) -> int:
  """The batch size that scores pairs fastest."""
  return side_by_side.best(
    {
      size: lambda size=size: score(pairs.inputs, pairs.targets, size)
      for size in sizes
      if size <= max(len(pairs), min(sizes))
    }
  )


def _whole(
  each: Any, pairs: probes.Pairs, sample: probes.Pairs, label: str = ""
) -> Contender:
  """A contender that scores all pairs with its best batch size."""
  size = _with_best_batch(each.score, sample, BATCH_SIZES)
  return Contender(
    lambda: each.score(pairs.inputs, pairs.targets, size),
    note=f"{label}batches of {size}",
  )


def _at_paper_lengths(
  each: Any, pairs: probes.Pairs, number: int, lengths: tuple[int, int]
) -> Contender:
  """t5x with every pair padded to the paper's lengths, on a sample."""
  indices = probes.spread(len(pairs), number)
  few = pairs.taken(indices)

  def score(inputs, targets, size):
    return each.score(inputs, targets, size, lengths)

  size = _with_best_batch(score, few, PAPER_BATCH_SIZES)
  return Contender(
    lambda: score(few.inputs, few.targets, size),
    amount=len(few),
    note=f"batches of {size}, {len(few)} of the pairs",
    check=lambda theirs, ours: check(theirs, ours[indices]),
  )


def _at_best_lengths(
  each: Any, pairs: probes.Pairs, sample: probes.Pairs
) -> Contender:
  """t5x at the lengths and batch size that are best for these pairs."""
  longest = pairs.longest()
  tried = {
    tuple(-(-length // multiple) * multiple for length in longest)
    for multiple in _MULTIPLES
  }
  lengths, size = side_by_side.best(
    {
      (lengths, size): lambda lengths=lengths, size=size: each.score(
        sample.inputs, sample.targets, size, lengths
      )
      for lengths in sorted(tried)
      for size in BATCH_SIZES
      if size <= max(len(sample), min(BATCH_SIZES))
    }
  )
  return Contender(
    lambda: each.score(pairs.inputs, pairs.targets, size, lengths),
    note=f"lengths {lengths[0]}/{lengths[1]}, batches of {size}",
  )


def measure(
  made: contenders.Contenders,
  pairs: probes.Pairs,
  *,
  rounds: int,
  paper_pairs: int = 16,
  sample: int = 128,
  paper_lengths: tuple[int, int] = PAPER_LENGTHS,
) -> side_by_side.Timing:
  """Times the scoring of pairs.

  Args:
    made: who takes part.
    pairs: to score.
    rounds: timed calls of each.
    paper_pairs: that t5x scores at the paper's lengths.
    sample: pairs that batch sizes and lengths are tried on.
    paper_lengths: the paper's lengths of inputs and targets.
  """
  few = pairs.taken(probes.spread(len(pairs), sample))
  everyone = {side_by_side.OURS: _whole(made.engine, pairs, few)}
  if "t5x" in made.peers:
    upstream = made.peers["t5x"]
    everyone["t5x at its best lengths"] = _at_best_lengths(upstream, pairs, few)
    name = f"t5x at {paper_lengths[0]}/{paper_lengths[1]}"
    everyone[name] = _at_paper_lengths(
      upstream, pairs, paper_pairs, paper_lengths
    )
  if "transformers" in made.peers:
    everyone["transformers"] = _whole(
      made.peers["transformers"], pairs, few, "sorted by length, "
    )
  return side_by_side.measure(
    f"scoring, {pairs.name}",
    everyone,
    check,
    amount=len(pairs),
    unit="pairs",
    rounds=rounds,
  )


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  parser = side_by_side.argument_parser(__doc__, list(contenders.SHAPES))
  parser.add_argument("--tfds_data_dir", type=pathlib.Path)
  parser.add_argument("--vocabulary", type=pathlib.Path)
  parser.add_argument(
    "--tasks", default="t5cr_probe_*", help="names or patterns, with commas"
  )
  parser.add_argument("--examples", type=int, help="pairs at most, of each set")
  parser.add_argument(
    "--paper_pairs", type=int, default=16, help="of t5x at 512/128 (16)"
  )
  parser.add_argument(
    "--no_invented", action="store_true", help="only the probe tasks"
  )
  options = parser.parse_args(arguments)
  config = contenders.SHAPES[options.model]
  sets = []
  if not options.no_invented:
    sets.append(probes.invented(config, min(options.examples or 512, 512)))
  if options.tfds_data_dir:
    probes.use_data(options.tfds_data_dir, options.vocabulary)
    patterns = options.tasks.split(",")
    sets.append(probes.suite(patterns, config, options.examples))
  if not sets:
    parser.error("--no_invented leaves nothing without --tfds_data_dir.")
  for pairs in sets:
    print(pairs.describe(), flush=True)
  made = contenders.make(config, engine.random_params(config), options.only)
  side_by_side.run(
    lambda: [
      measure(
        made, pairs, rounds=options.rounds, paper_pairs=options.paper_pairs
      )
      for pairs in sets
    ],
    options,
    made.absent,
  )


if __name__ == "__main__":
  main()
