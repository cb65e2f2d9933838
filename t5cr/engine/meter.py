"""What a training run does with its time: rates, and the wait for data."""

import math
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any, Protocol

import jax
import numpy as np

from t5cr.engine import sanity

# The tokens of both sides.
_TOKENS = ("encoder_input_tokens", "decoder_target_tokens")


class _Batches(Protocol):
  def __next__(self) -> Mapping[str, np.ndarray]: ...


class Meter:
  """Collects the sums of steps on the device and reads them now and then.

  Steps run while the host takes the next batch and puts it on the devices.
  Time counts as waiting for data from when the devices have done all their
  steps until the host has the next batch.
  """

  def __init__(self, schedule: Callable[[int], Any]):
    """Begins an interval.

    Args:
      schedule: step -> learning rate.
    """
    self._schedule = schedule
    # Only by waiting for a step can one tell when it ended.
    self._watcher = futures.ThreadPoolExecutor(1, "steps")
    self.restart()

  def restart(self) -> None:
    """Begins a new interval."""
    self._sums: list[dict[str, jax.Array]] = []
    self._ends: list[futures.Future[float]] = []
    self._waited = 0.0
    self._places = self._padding = 0
    self._started = time.perf_counter()

  def next_batch(self, batches: _Batches) -> Mapping[str, np.ndarray]:
    """Takes a batch, and notes how long the devices had nothing to do."""
    asked = time.perf_counter()
    batch = next(batches)
    here = time.perf_counter()
    if not self._ends:
      self._waited += here - asked
    elif self._ends[-1].done():
      idle_since = max(asked, self._ends[-1].result())
      self._waited += max(here - idle_since, 0.0)
    for name in _TOKENS:
      self._places += batch[name].size
      self._padding += batch[name].size - np.count_nonzero(batch[name])
    return batch

  def add(self, sums: dict[str, jax.Array]) -> None:
    """Adds the sums of a step, and keeps the host from running far ahead."""
    self._sums.append(sums)
    self._ends.append(self._watcher.submit(_end_of, sums["loss"]))
    if len(self._sums) > sanity.LOOKAHEAD:
      self._sums[-1 - sanity.LOOKAHEAD]["loss"].block_until_ready()

  def read(self, step: int) -> dict[str, float]:
    """Metrics of the interval that ends at `step`; begins the next.

    Returns:
      `learning_rate` of the step; `nonfinite_steps` that were left out; means
      over the interval: `loss` in nats a target token, `gradient_norm` of a
      step, tokens (of both sides), target tokens and steps a second,
      `padding_share`, the share of both sides' places that hold no token, and
      `data_wait_share`, the share of the time without work for the devices.
    """
    fetched = jax.device_get(self._sums)
    total = {
      name: float(np.sum([sums[name] for sums in fetched]))
      for name in ("loss", "target_tokens", "tokens")
    }
    norms = [sums["gradient_norm"] for sums in fetched if sums["finite"]]
    seconds = time.perf_counter() - self._started
    metrics = {
      "loss": total["loss"] / max(total["target_tokens"], 1.0),
      "learning_rate": np.asarray(self._schedule(step - 1)).item(),
      "gradient_norm": float(np.mean(norms)) if norms else math.nan,
      "nonfinite_steps": len(fetched) - len(norms),
      "tokens_per_second": total["tokens"] / seconds,
      "target_tokens_per_second": total["target_tokens"] / seconds,
      "steps_per_second": len(fetched) / seconds,
      "padding_share": self._padding / self._places,
      "data_wait_share": self._waited / seconds,
    }
    self.restart()
    return metrics


def _end_of(loss: jax.Array) -> float:
  """When a step has ended."""
  loss.block_until_ready()
  return time.perf_counter()
