"""Learning rates as functions of the step, the same under every engine."""

import jax.numpy as jnp
import optax

from t5cr import errors

SCHEDULES = ("constant", "linear", "cosine", "rsqrt")


def check(schedule: str) -> None:
  """Raises UsageError for a schedule that is unknown."""
  if schedule not in SCHEDULES:
    raise errors.UsageError(
      f"LEARNING_RATE_SCHEDULE: {schedule!r} is unknown; known are "
      f"{', '.join(SCHEDULES)}."
    )


def learning_rate_schedule(
  *,
  schedule: str,
  learning_rate: float,
  warmup_steps: int,
  train_steps: int,
) -> optax.Schedule:
  """The learning rate as a function of the step, counted from 0.

  Args:
    schedule: 'constant', or how it falls to 0 at `train_steps`: 'linear',
      'cosine'; or 'rsqrt', as 1 / sqrt(step / warmup_steps).
    learning_rate: the highest.
    warmup_steps: over which it first rises from 0.
    train_steps: the step that training ends at.

  Returns:
    A function from a step, traced or not, to a scalar.

  Raises:
    UsageError: the schedule is unknown.
  """
  check(schedule)
  decay_steps = max(1, train_steps - warmup_steps)
  after = {
    "constant": lambda: optax.constant_schedule(learning_rate),
    "linear": lambda: optax.linear_schedule(learning_rate, 0.0, decay_steps),
    "cosine": lambda: optax.cosine_decay_schedule(learning_rate, decay_steps),
    "rsqrt": lambda: _rsqrt(learning_rate, max(warmup_steps, 1)),
  }[schedule]()
  if not warmup_steps:
    return after
  rise = optax.linear_schedule(0.0, learning_rate, warmup_steps)
  return optax.join_schedules([rise, after], [warmup_steps])


def _rsqrt(learning_rate: float, shift: int) -> optax.Schedule:
  return lambda step: learning_rate * jnp.sqrt(shift / (step + shift))
