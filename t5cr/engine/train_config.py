"""What a model is trained on, and how."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from t5cr import errors
from t5cr.engine import sanity, schedules

# What LOSS_NORMALIZING_FACTOR calls the number of target tokens in a batch;
# the word is t5x's.
REAL_TARGET_TOKENS = "NUM_REAL_TARGET_TOKENS"


@dataclasses.dataclass(frozen=True)
class TrainData:
  """What a model is trained on.

  Attributes:
    mixture_or_task_name: a registered seqio Mixture or Task.
    task_feature_lengths: most tokens of a row, `{"inputs": …, "targets": …}`;
      longer text is truncated.
    batch_size: rows of a batch over all devices; a packed row holds several
      examples.
    split: of the data sets.
    seed: of shuffling, mixing and sampling preprocessors.
    pack: put as many examples into a row as fit.
    shuffle: the examples.
    use_cached: read what seqio's caching wrote instead of preprocessing.
    threads: of the tf.data pipeline; few, so that training keeps its cores.
  """

  mixture_or_task_name: str
  task_feature_lengths: Mapping[str, int]
  batch_size: int
  split: str = "train"
  seed: int = 0
  pack: bool = True
  shuffle: bool = True
  use_cached: bool = False
  threads: int = 2

  def __post_init__(self):
    """Raises UsageError for numbers that cannot be used."""
    errors.check_count("BATCH_SIZE", self.batch_size)
    errors.check_count("SEED", self.seed, least=0)
    errors.check_count("DATA_THREADS", self.threads)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """How a model is trained.

  Attributes:
    train_steps: the step to stop at, those of an initial checkpoint included.
    learning_rate: Adafactor's, relative to the scale of each parameter.
    learning_rate_schedule: 'constant', or how it falls to 0 at `train_steps`:
      'linear', 'cosine'; or 'rsqrt', as 1 / sqrt(step / warmup_steps).
    warmup_steps: over which it first rises from 0.
    loss_normalizing_factor: what the summed loss is divided by, a number or
      'NUM_REAL_TARGET_TOKENS', those of the batch; None leaves the sum.
    z_loss: coefficient of log(Z)^2.
    seed: of initial parameters and dropout.
    checkpoint_period: steps between checkpoints; the last step has one too.
    checkpoints_to_keep: the latest so many; None for all.
    log_period: steps between the metrics written.
    eval_period: steps between evaluations; None evaluates after the last step.
    on_nonfinite: what to do where a step's loss or gradients are NaN or
      infinite, which never changes a parameter: 'stop'; 'skip' goes on with the
      next batch; 'roll_back' goes back to the latest checkpoint and from there
      on with the next batch.
    nonfinite_limit: how many such steps are borne from one checkpoint to the
      next; one more stops the run.
    exploding_loss: a loss so many times the lowest is told of; None does not.
  """

  train_steps: int
  learning_rate: float = 0.003
  learning_rate_schedule: str = "constant"
  warmup_steps: int = 0
  loss_normalizing_factor: float | str | None = REAL_TARGET_TOKENS
  z_loss: float = 1e-4
  seed: int = 0
  checkpoint_period: int = 1000
  checkpoints_to_keep: int | None = 3
  log_period: int = 50
  eval_period: int | None = None
  on_nonfinite: str = "stop"
  nonfinite_limit: int = 10
  exploding_loss: float | None = 2.0

  def __post_init__(self):
    """Raises UsageError for values that cannot be used."""
    sanity.check_policy(self.on_nonfinite)
    errors.check_count("NONFINITE_LIMIT", self.nonfinite_limit, least=0)
    if self.checkpoints_to_keep is not None:
      errors.check_count("CHECKPOINTS_TO_KEEP", self.checkpoints_to_keep)
    if self.exploding_loss is not None:
      _check_above("EXPLODING_LOSS", self.exploding_loss, 1)
    schedules.check(self.learning_rate_schedule)
    _check_factor(self.loss_normalizing_factor)
    if self.train_steps < 0:
      raise errors.UsageError(
        f"TRAIN_STEPS is {self.train_steps}; it cannot be negative."
      )
    for name in ("checkpoint_period", "log_period"):
      if getattr(self, name) < 1:
        raise errors.UsageError(f"{name.upper()} must be at least 1.")


def _is_above(value: Any, least: float) -> bool:
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  return number and value > least


def _check_above(name: str, value: Any, least: float) -> None:
  if not _is_above(value, least):
    raise errors.UsageError(
      f"{name} is {value!r}; it has to be a number above {least}, or None."
    )


def _check_factor(factor: Any) -> None:
  """Raises UsageError for a LOSS_NORMALIZING_FACTOR that cannot be used."""
  if factor is None or factor == REAL_TARGET_TOKENS:
    return
  if not _is_above(factor, 0):
    raise errors.UsageError(
      f"LOSS_NORMALIZING_FACTOR is {factor!r}; it has to be a number above 0, "
      f"'{REAL_TARGET_TOKENS}' (those of the batch), or None (the sum)."
    )
