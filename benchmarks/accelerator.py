"""Training, scoring and decoding on one GPU, side by side with torch.

    python benchmarks/accelerator.py [--model base] [--json FILE]

Needs JAX, torch and transformers, no TensorFlow. T5-base in bfloat16, batches
of 128 x 512/128. In ten minutes on an H100, compilation included: each stage
has a limit of time, one that fails or comes too late is a line of the table,
and the file is written after every stage.

  matmul   the peak: a product of two square bfloat16 matrices, by both
  train    gradient and Adafactor, dropout 0.1, parameters float32; torch with
           autocast, scaled_dot_product_attention where transformers has it and
           torch.compile; with fewer rows at once where memory demands it
  score    pairs of 17 to 32 tokens a side, two targets of each input; torch
           sorted by length, eager and compiled, the best of some batch sizes
  greedy, beam
           32 x 128 in, 64 out; torch eager, and compiled with a cache of fixed
           size
  train_bfloat16
           training again, torch with bfloat16 weights instead of autocast

What has to agree before anything is timed: loss and gradient norms of a model
of the same width and two layers, without dropout, to 2%; the first loss of the
timed step, whose dropout differs, to 2%; each score to 2%; the mean
log-probability of decoded texts, as t5cr's model scores them, to 2%.

The share of the peak counts the model's own operations (`flops.py`) over the
time of the step and the faster of the two matmuls.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence

# Both frameworks share the memory, so JAX takes what it needs and no more.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import contenders, machine, side_by_side, table
from benchmarks.accelerator_stages import (
  H100,
  STAGES,
  TINY,
  Bench,
  OutOfTime,
  free,
)
from benchmarks.side_by_side import Timing


def run(
  bench: Bench,
  stages: Sequence[str],
  budget_s: float,
  keep: Callable[[list[Timing]], None],
) -> list[Timing]:
  """Goes through stages while there is time.

  Args:
    bench: the stages.
    stages: their names.
    budget_s: no stage starts later than this, nor lasts beyond it.
    keep: called with all timings after every stage.

  Returns:
    The timings; a stage that failed or did not start is one without figures.
  """
  started = time.perf_counter()
  timings: list[Timing] = []
  for stage in stages:
    left = budget_s - (time.perf_counter() - started)
    begun = time.perf_counter()
    try:
      if left <= 0:
        raise OutOfTime(f"the {budget_s:.0f} s were over")
      timings += getattr(bench, stage)()
    except Exception as error:
      failed = {side_by_side.OURS: side_by_side.reason(error)}
      timings.append(Timing(stage, "", {}, {}, failed=failed))
      free()
    keep(timings)
    print(f"{stage}: {time.perf_counter() - begun:.0f} s", flush=True)
  return timings


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  parser = side_by_side.argument_parser(
    __doc__, list(contenders.SHAPES), "base", choose_peers=False
  )
  parser.add_argument("--stages", default=",".join(STAGES))
  parser.add_argument(
    "--budget_s", type=float, default=570.0, help="of all stages (570)"
  )
  parser.add_argument(
    "--torch_limit_s",
    type=float,
    default=150.0,
    help="of a torch contender's first call (150)",
  )
  parser.add_argument(
    "--eager", action="store_true", help="torch does not compile"
  )
  parser.add_argument("--dropout", type=float, default=0.1, help="(0.1)")
  options = parser.parse_args(arguments)
  stages = options.stages.split(",")
  if not set(stages) <= set(STAGES):
    parser.error(f"--stages is {options.stages}; known: {', '.join(STAGES)}.")
  where = {
    "benchmark": "accelerator",
    "model": options.model,
    "machine": machine.describe(),
    "absent": contenders.absent(["transformers"]),
  }
  config = dataclasses.replace(
    contenders.SHAPES[options.model],
    dtype="bfloat16",
    dropout_rate=options.dropout,
  )
  bench = Bench(
    config,
    TINY if options.model == "tiny" else H100,
    rounds=options.rounds,
    torch_limit_s=options.torch_limit_s,
    compiled=not options.eager,
  )

  def keep(timings: list[Timing]) -> None:
    if options.json:
      side_by_side.write(options.json, timings, where)

  timings = run(bench, stages, options.budget_s, keep)
  where["machine"]["load_after"] = machine.load()
  keep(timings)
  print(table.text(timings, where), flush=True)


if __name__ == "__main__":
  main()
