"""Gradients and training steps of one batch, side by side.

    python benchmarks/training.py [--model small] [--json FILE]

At two shapes, float32, without dropout, the batches full of tokens:

  gradient   of the summed cross entropy; the losses, the norms of the whole
             gradient and of the embedding's are compared, to 2e-4
  step       gradient and Adafactor's update; the losses of three steps from the
             same weights are compared, the first to 2e-4, the others to 2e-3
             (torch's Adafactor also factors small matrices)

Rates count the tokens of both sides.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import contenders, side_by_side
from benchmarks.contenders import engine, tokens
from benchmarks.side_by_side import Contender

# (rows, input tokens, target tokens)
SIZES = ((8, 128, 64), (4, 512, 128))
TINY_SIZES = ((2, 16, 8),)
WORK = ("gradient", "step")

_GRADIENT_TOLERANCE = 2e-4
_STEP_TOLERANCE = 2e-3
_STEPS_COMPARED = 3


def check_gradient(theirs: Any, ours: Any) -> None:
  """Raises Disagreement unless loss and norms agree."""
  side_by_side.check_close(
    theirs, ours, "loss or gradient norm", rtol=_GRADIENT_TOLERANCE
  )


def check_losses(theirs: Any, ours: Any) -> None:
  """Raises Disagreement unless the losses of the first steps agree."""
  side_by_side.check_close(
    theirs[:1], ours[:1], "first loss", rtol=_GRADIENT_TOLERANCE
  )
  side_by_side.check_close(
    theirs, ours, "loss after a step", rtol=_STEP_TOLERANCE
  )


def _first_losses(each: Any, batch: Any) -> Any:
  """What takes three steps when called first, and one whenever after."""
  step = each.trainer()
  called = []

  def run() -> Any:
    times = 1 if called else _STEPS_COMPARED
    called.append(times)
    return step(batch, times)

  return run


def measure(
  made: contenders.Contenders,
  size: tuple[int, int, int],
  work: str,
  rounds: int,
) -> side_by_side.Timing:
  """Times one kind of work at one shape.

  Args:
    made: who takes part.
    size: (rows, input tokens, target tokens).
    work: 'gradient' or 'step'.
    rounds: timed calls of each.
  """
  rows, inputs, targets = size
  batch = tokens.random_batch(made.engine.config, rows, inputs, targets)
  everyone = {side_by_side.OURS: made.engine, **made.peers}
  return side_by_side.measure(
    f"{work}, {rows} x {inputs}/{targets}",
    {
      name: Contender(
        _first_losses(each, batch)
        if work == "step"
        else lambda each=each: each.gradient(batch)
      )
      for name, each in everyone.items()
    },
    check_losses if work == "step" else check_gradient,
    amount=rows * (inputs + targets),
    unit="tokens",
    rounds=rounds,
  )


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  parser = side_by_side.argument_parser(__doc__, list(contenders.SHAPES))
  parser.add_argument(
    "--work", default=",".join(WORK), help="gradient, step or both"
  )
  options = parser.parse_args(arguments)
  kinds = options.work.split(",")
  if not set(kinds) <= set(WORK):
    parser.error(f"--work is {options.work}; known are {', '.join(WORK)}.")
  config = contenders.SHAPES[options.model]
  made = contenders.make(config, engine.random_params(config), options.only)
  sizes = TINY_SIZES if options.model == "tiny" else SIZES
  side_by_side.run(
    lambda: [
      measure(made, size, work, options.rounds)
      for work in kinds
      for size in sizes
    ],
    options,
    made.absent,
  )


if __name__ == "__main__":
  main()
