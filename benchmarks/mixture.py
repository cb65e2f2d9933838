"""Gradients over the examples of a mixture, side by side.

    python benchmarks/mixture.py --tfds_data_dir DIR [--vocabulary FILE]
        [--mixture t5cr_all] [--steps 4] [--json FILE]

The engine's own feeding makes packed batches of a mixture (short examples of
MovieLens beside long dialogues), a few rows of 512/128 each; a batch is one
step. All contenders compute the gradient of the same examples, step by step:

  t5cr, t5x      the packed batch as it is
  transformers   the examples that were packed into it, unpacked, in batches in
                 the order they came in, each padded to its longest; gradients
                 add up over the batches of a step
  transformers, by length
                 the same, a step's examples sorted by length first

Loss (nats, summed over target tokens), norm of the gradient and of the
embedding's part are compared step by step, to 2e-4, before anything is timed.
transformers is tried with several batch sizes, the best is taken. Rates count
real target tokens.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import contenders, probes, side_by_side
from benchmarks.contenders import engine, tokens
from benchmarks.side_by_side import Contender

Batch = Mapping[str, np.ndarray]
Example = tuple[list[int], list[int]]  # (inputs, targets)

LENGTHS = {"inputs": 512, "targets": 128}
TINY_LENGTHS = {"inputs": 128, "targets": 64}
BATCH_SIZES = (4, 8, 16, 32)
TOLERANCE = 2e-4


def packed_batches(
  mixture: str, steps: int, rows: int, lengths: Mapping[str, int], seed: int
) -> list[dict[str, np.ndarray]]:
  """The first batches that training on a mixture would see.

  Args:
    mixture: name of a Mixture or Task.
    steps: batches.
    rows: of a batch.
    lengths: most tokens of a row, by feature.
    seed: of the shuffling.
  """
  from t5cr.engine import feed, train_config

  batches = feed.train_batches(
    train_config.TrainData(mixture, lengths, rows, seed=seed)
  )
  return [dict(next(batches)) for _ in range(steps)]


def unpacked(batch: Batch) -> list[Example]:
  """The examples of a packed batch."""
  examples = []
  for row in range(len(batch["encoder_input_tokens"])):
    sources = batch["encoder_segment_ids"][row]
    targets = batch["decoder_segment_ids"][row]
    for segment in range(1, int(max(sources.max(), targets.max())) + 1):
      examples.append(
        (
          batch["encoder_input_tokens"][row][sources == segment].tolist(),
          batch["decoder_target_tokens"][row][targets == segment].tolist(),
        )
      )
  return examples


def in_batches(
  examples: Sequence[Example], size: int, *, by_length: bool
) -> list[dict[str, np.ndarray]]:
  """Batches of examples, each padded to its longest.

  Args:
    examples: in the order they came in.
    size: examples of a batch.
    by_length: sort them by length first.
  """
  if by_length:
    examples = sorted(examples, key=lambda pair: (len(pair[0]), len(pair[1])))
  batches = []
  for start in range(0, len(examples), size):
    inputs, targets = zip(*examples[start : start + size], strict=True)
    batches.append(tokens.batch(tokens.padded(inputs), tokens.padded(targets)))
  return batches


@dataclasses.dataclass(frozen=True)
class Work:
  """What is computed: some steps of training.

  Attributes:
    name: for the reader.
    packed: a batch of each step.
    examples: those of each step.
  """

  name: str
  packed: list[dict[str, np.ndarray]]
  examples: list[list[Example]]

  @classmethod
  def of(cls, name: str, packed: list[dict[str, np.ndarray]]) -> Work:
    """The steps that packed batches are."""
    return cls(name, packed, [unpacked(batch) for batch in packed])

  def target_tokens(self) -> int:
    """Real target tokens of all steps."""
    return sum(len(pair[1]) for step in self.examples for pair in step)

  def describe(self) -> str:
    """Counts that explain the speed."""
    sources = [len(pair[0]) for step in self.examples for pair in step]
    filled = [
      np.mean([np.mean(batch[name] > 0) for batch in self.packed])
      for name in ("encoder_input_tokens", "decoder_target_tokens")
    ]
    rows, length = self.packed[0]["encoder_input_tokens"].shape
    width = self.packed[0]["decoder_target_tokens"].shape[1]
    return (
      f"{self.name}: {len(self.packed)} steps of {rows} rows of "
      f"{length}/{width}, {len(sources)} examples, {self.target_tokens():,} "
      f"target tokens; an input has {np.median(sources):.0f} tokens in the "
      f"middle, {max(sources)} at most; packed, {filled[0]:.0%} of the input "
      f"side and {filled[1]:.0%} of the target side are real"
    )


def check(theirs: Any, ours: Any) -> None:
  """Raises Disagreement unless losses and norms of all steps agree."""
  side_by_side.check_close(
    theirs, ours, "loss or gradient norm", rtol=TOLERANCE
  )


def _packed(each: Any, work: Work) -> Contender:
  return Contender(
    lambda: np.array([each.gradient(batch) for batch in work.packed]),
    note="packed",
  )


def _padded(each: Any, work: Work, *, by_length: bool) -> Contender:
  """transformers with the batch size that is fastest on the first step."""

  # Made beforehand, as the packed batches are.
  steps = {
    size: [
      in_batches(examples, size, by_length=by_length)
      for examples in work.examples
    ]
    for size in BATCH_SIZES
  }
  size = side_by_side.best(
    {
      size: lambda first=made[0]: each.gradients(first)
      for size, made in steps.items()
    }
  )
  order = "sorted by length" if by_length else "in order"
  return Contender(
    lambda: np.array([each.gradients(batches) for batches in steps[size]]),
    note=f"batches of {size} padded to their longest, {order}",
  )


def measure(
  made: contenders.Contenders, work: Work, rounds: int
) -> side_by_side.Timing:
  """Times the gradients of all steps.

  Args:
    made: who takes part.
    work: the steps.
    rounds: timed calls of each.
  """
  everyone = {side_by_side.OURS: _packed(made.engine, work)}
  if "t5x" in made.peers:
    everyone["t5x"] = _packed(made.peers["t5x"], work)
  if "transformers" in made.peers:
    peer = made.peers["transformers"]
    everyone["transformers"] = _padded(peer, work, by_length=False)
    everyone["transformers, by length"] = _padded(peer, work, by_length=True)
  return side_by_side.measure(
    f"gradient, {work.name}",
    everyone,
    check,
    amount=work.target_tokens(),
    unit="target tokens",
    rounds=rounds,
  )


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  parser = side_by_side.argument_parser(__doc__, list(contenders.SHAPES))
  parser.add_argument("--tfds_data_dir", type=pathlib.Path, required=True)
  parser.add_argument("--vocabulary", type=pathlib.Path)
  parser.add_argument(
    "--mixture", default="t5cr_all", help="names, with commas (t5cr_all)"
  )
  parser.add_argument("--steps", type=int, default=4, help="(4)")
  parser.add_argument("--rows", type=int, default=4, help="of a batch (4)")
  parser.add_argument("--seed", type=int, default=0, help="of the shuffling")
  options = parser.parse_args(arguments)
  probes.use_data(options.tfds_data_dir, options.vocabulary)
  config = contenders.SHAPES[options.model]
  lengths = TINY_LENGTHS if options.model == "tiny" else LENGTHS
  works = []
  for name in options.mixture.split(","):
    packed = packed_batches(
      name, options.steps, options.rows, lengths, options.seed
    )
    works.append(Work.of(name, packed))
    print(works[-1].describe(), flush=True)
  made = contenders.make(config, engine.random_params(config), options.only)
  side_by_side.run(
    lambda: [measure(made, work, options.rounds) for work in works],
    options,
    made.absent,
  )


if __name__ == "__main__":
  main()
