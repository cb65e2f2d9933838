"""Pairs to score: those of a data folder's probe suite, or invented ones."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from benchmarks.contenders import tokens
from t5cr.engine.config import T5Config

SPLIT = "validation"
LENGTHS = {"inputs": 512, "targets": 128}  # Longer text is truncated.


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Pairs to score.

  Attributes:
    name: what they are.
    inputs: token ids of each pair.
    targets: token ids of each pair.
  """

  name: str
  inputs: list[list[int]]
  targets: list[list[int]]

  def __len__(self) -> int:
    """Number of pairs."""
    return len(self.inputs)

  def taken(self, indices: Sequence[int]) -> Pairs:
    """Only these pairs."""
    return Pairs(
      self.name,
      [self.inputs[i] for i in indices],
      [self.targets[i] for i in indices],
    )

  def longest(self) -> tuple[int, int]:
    """Most tokens of an input and of a target."""
    return max(map(len, self.inputs)), max(map(len, self.targets))

  def describe(self) -> str:
    """Counts that explain the speed."""
    inputs = [len(tokens) for tokens in self.inputs]
    targets = [len(tokens) for tokens in self.targets]
    distinct = len({tuple(tokens) for tokens in self.inputs})
    return (
      f"{self.name}: {len(self):,} pairs, {distinct:,} distinct inputs; tokens "
      f"of an input {np.mean(inputs):.1f} (most {max(inputs)}), of a target "
      f"{np.mean(targets):.1f} (most {max(targets)})"
    )


def spread(total: int, number: int, run: int = 8) -> list[int]:
  """Indices of a sample: runs of neighbours, evenly placed.

  Neighbours often share their input, and a sample should have that, too.

  Args:
    total: of what is sampled from.
    number: wanted; all where there are no more.
    run: neighbours taken together.
  """
  if number >= total:
    return list(range(total))
  starts = np.linspace(0, total - run, max(number // run, 1)).astype(int)
  found = {start + i for start in starts.tolist() for i in range(run)}
  return sorted(found)[:number]


def invented(
  config: T5Config, number: int, length: int = 24, seed: int = 0
) -> Pairs:
  """Random pairs, two targets of each input, as a probe has.

  Args:
    config: of the model.
    number: of pairs.
    length: tokens of each input and of each target, EOS included.
    seed: of the tokens.
  """
  rng = np.random.default_rng(seed)
  inputs = tokens.random_texts(rng, config, [length] * -(-number // 2))
  return Pairs(
    f"{length}-token pairs",
    [inputs[i // 2] for i in range(number)],
    tokens.random_texts(rng, config, [length] * number),
  )


def use_data(data_dir: pathlib.Path, vocabulary: pathlib.Path | None) -> None:
  """Registers the tasks, over a TFDS folder and a vocabulary.

  Args:
    data_dir: of the TFDS data sets.
    vocabulary: a SentencePiece model; None for what T5CR_VOCABULARY names, or
      else T5's.
  """
  if vocabulary is not None:
    os.environ["T5CR_VOCABULARY"] = str(vocabulary)
  from t5cr.engine import feed

  feed.use_data_dir(data_dir)
  feed.import_tasks("t5cr_tasks")


def suite(
  patterns: Sequence[str], config: T5Config, number: int | None = None
) -> Pairs:
  """The pairs of probe tasks, as `t5cr eval` scores them.

  Args:
    patterns: names of tasks, or patterns.
    config: of the model, which has to know the tokens.
    number: of pairs, about evenly of each task, from its start on; None for
      all.
  """
  from t5cr.engine import feed

  names = feed.expand(patterns, SPLIT)
  each = None if number is None else -(-number // len(names))
  inputs: list[list[int]] = []
  targets: list[list[int]] = []
  for name in names:
    _, found = feed.records(
      name, task_feature_lengths=LENGTHS, split=SPLIT, num_examples=each
    )
    inputs += found.inputs
    targets += found.targets
  highest = max(max(map(max, inputs)), max(map(max, targets)))
  if highest >= config.vocab_size:
    raise SystemExit(
      f"A token is {highest}, but the model has {config.vocab_size}: name the "
      "vocabulary of the data (--vocabulary), or a larger --model."
    )
  return Pairs(f"{len(names)} probe tasks", inputs, targets)
