"""Whether a run is sane: steps without a finite update, a loss that explodes.

A step whose loss or gradients are NaN or infinite changes no parameter: its
update is left out where it is computed. The host reads how a step went two
steps later, so that the devices never wait for it; what it then does with the
run is configured.
"""

import collections
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from t5cr import errors

POLICIES = ("stop", "skip", "roll_back")

# Steps that may be under way while the host prepares the next batch.
LOOKAHEAD = 2
# Losses are compared as means over about so many steps.
_MEMORY = 20
# A loss near zero may double for no reason; nats a target token.
_LEAST_RISE = 0.5


def check_policy(policy: Any) -> None:
  """Raises UsageError for an ON_NONFINITE that cannot be used."""
  if policy not in POLICIES:
    raise errors.UsageError(
      f"ON_NONFINITE is {policy!r}; it has to be one of "
      f"{', '.join(map(repr, POLICIES))}."
    )


_TOKENS = {
  "encoder": "encoder_input_tokens",
  "decoder": "decoder_target_tokens",
}


def check_batch(
  batch: Mapping[str, np.ndarray], vocab_size: int | None, step: int
) -> None:
  """Refuses a batch that the model would compute nonsense from.

  A token beyond the embedding, or a position or segment of another length,
  raises nothing in XLA: it reads another place.

  Args:
    batch: int arrays [batch_size, length] with seqio's names.
    vocab_size: rows of the model's embedding.
    step: for the message.

  Raises:
    UsageError: it names both sides.
  """
  for side, name in _TOKENS.items():
    tokens = np.asarray(batch[name])
    for other, array in batch.items():
      if other.startswith(side) and np.shape(array) != tokens.shape:
        raise errors.UsageError(
          f"The batch of step {step} does not fit together: {other} is "
          f"{np.shape(array)} and {name} {tokens.shape}. See to what makes the "
          "batches."
        )
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < (
      vocab_size or np.inf
    ):
      raise errors.UsageError(
        f"The batch of step {step} has tokens from {tokens.min()} to "
        f"{tokens.max()} in {name}, but the model has {vocab_size} rows in its "
        "vocabulary. Train with the vocabulary of the tasks (VOCAB_SIZE = None "
        "takes its size)."
      )


class RollBack(Exception):
  """Training has to go back to its latest checkpoint."""


class Watch:
  """Looks at each step of a run once the devices have done it."""

  def __init__(
    self,
    *,
    policy: str,
    limit: int,
    exploding: float | None,
    vocab_size: int | None,
    note: Callable[[dict[str, Any]], None],
  ):
    """No step was taken.

    Args:
      policy: one of POLICIES.
      limit: how many steps may fail from one checkpoint to the next.
      exploding: see `Explosion`.
      vocab_size: see `check_batch`.
      note: is told of what was found.
    """
    self._policy = policy
    self._limit = limit
    self._explosion = Explosion(exploding)
    self._vocab_size = vocab_size
    self._note = note
    self._failed = 0
    self._steps: collections.deque[tuple[int, Any, Any]] = collections.deque()

  def before(self, step: int, batch: Mapping[str, np.ndarray]) -> None:
    """Raises UsageError for a batch that does not fit the model."""
    check_batch(batch, self._vocab_size, step)

  def add(self, step: int, batch: Mapping[str, np.ndarray], sums: Any) -> None:
    """Notes a step that the devices were given.

    Args:
      step: its number.
      batch: what it is computed from, on the host.
      sums: what the step function gives besides the state.
    """
    self._steps.append((step, batch, sums))

  def begin_period(self) -> None:
    """A checkpoint was saved: failures are counted from here."""
    self._failed = 0

  def check(self, wait: bool) -> None:
    """Looks at the steps that were not looked at yet.

    Args:
      wait: for all of them; else those that may be under way are left.

    Raises:
      UsageError: one was not finite, and the run stops at that or has had too
        many.
      RollBack: one was not finite, and the run goes back.
    """
    while len(self._steps) > (0 if wait else LOOKAHEAD):
      step, batch, sums = self._steps.popleft()
      names = ("step_loss", "gradient_norm", "finite")
      loss, norm, finite = jax.device_get([sums[name] for name in names])
      if not finite:
        self._fail(step, batch, float(loss), float(norm))
      elif exploded := self._explosion.add(float(loss)):
        mean, lowest = exploded
        self._note(
          {
            "event": "exploding_loss",
            "step": step,
            "loss": mean,
            "lowest": lowest,
          }
        )

  def _fail(self, step: int, batch: Any, loss: float, norm: float) -> None:
    self._failed += 1
    too_many = self._policy != "stop" and self._failed > self._limit
    action = "stop" if too_many else self._policy
    event = {
      "event": "nonfinite_step",
      "step": step,
      "loss": repr(loss),
      "gradient_norm": repr(norm),
      "action": action,
    }
    self._note({**event, "batch": batch})
    if action == "roll_back":
      # What was computed since is thrown away, whatever it was.
      self._steps.clear()
      raise RollBack
    if action == "stop":
      many = f", after {self._limit} others (NONFINITE_LIMIT)"
      raise errors.UsageError(
        f"The loss is {loss} and the norm of the gradients {norm} at step "
        f"{step}{many if too_many else ''}: training diverged, or the batch "
        "has an example that it cannot bear. Lower LEARNING_RATE or set "
        "WARMUP_STEPS, with a new MODEL_DIR; or leave such steps out with "
        "ON_NONFINITE = 'skip', or go back with 'roll_back'. The same command "
        "goes on from the latest checkpoint."
      )


class Explosion:
  """Notices when the loss rises far above the lowest it has been."""

  def __init__(self, factor: float | None):
    """Nothing is known of the loss yet.

    Args:
      factor: of the lowest loss, above which it is said to explode; None never
        says so.
    """
    self._factor = factor
    self._mean = 0.0
    self._weight = 0.0
    self._seen = 0
    self._lowest = float("inf")
    self._told = False

  def add(self, loss: float) -> tuple[float, float] | None:
    """Takes the loss of a step.

    Args:
      loss: finite, in nats a target token.

    Returns:
      (the mean loss now, the lowest it has been) if it has just exploded.
    """
    keep = 1 - 1 / _MEMORY
    self._mean = keep * self._mean + (1 - keep) * loss
    self._weight = keep * self._weight + (1 - keep)
    self._seen += 1
    mean = self._mean / self._weight
    if self._factor is None or self._seen < _MEMORY:
      return None
    self._lowest = min(self._lowest, mean)
    high = mean > max(self._factor * self._lowest, self._lowest + _LEAST_RISE)
    news = high and not self._told
    self._told = high
    return (mean, self._lowest) if news else None
