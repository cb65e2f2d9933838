"""The share of time that a run waits for data, with steps of known length."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5cr.engine import meter

# Three of twelve places are padding.
BATCH = {
  "encoder_input_tokens": np.array([[1] * 5, [1, 1, 0, 0, 0]], np.int32),
  "decoder_target_tokens": np.array([[4], [5]], np.int32),
}


def slow(seconds: float):
  """A step that keeps the device so long; a callback would keep the host."""

  @jax.jit
  def multiply(x, times):
    matrix = jnp.full((192, 192), 1e-3) * x
    last = jax.lax.fori_loop(0, times, lambda _, m: matrix @ m * 0.1, matrix)
    return x + 0.0 * last[0, 0]

  multiply(np.float32(1), 1).block_until_ready()
  started = time.perf_counter()
  multiply(np.float32(1), 500).block_until_ready()
  each = (time.perf_counter() - started) / 500
  return lambda x: multiply(x, round(seconds / each))


def sums(loss, tokens, target_tokens, finite=True):
  return {
    "loss": loss,
    "tokens": tokens,
    "target_tokens": target_tokens,
    "gradient_norm": loss + 1,
    "finite": jnp.bool_(finite),
  }


def share(batch_seconds: float, step_seconds: float, steps: int = 12) -> dict:
  """Runs steps as training does; the meter's metrics."""

  def batches():
    while True:
      time.sleep(batch_seconds)
      yield BATCH

  step = slow(step_seconds)
  source, clock = batches(), meter.Meter(lambda step: 0.5)
  clock.restart()
  for _ in range(steps):
    batch = clock.next_batch(source)
    loss = step(batch["encoder_input_tokens"][0, 0].astype(np.float32))
    clock.add(sums(loss, tokens=loss * 4, target_tokens=loss * 2))
  return clock.read(steps)


def test_waiting_for_slow_data_is_seen():
  metrics = share(batch_seconds=0.1, step_seconds=0.01)
  # 90 of each 100 ms; all of the first batch.
  assert 0.6 < metrics["data_wait_share"] <= 1.0


def test_data_that_comes_while_a_step_runs_is_not_waited_for():
  metrics = share(batch_seconds=0.04, step_seconds=0.06)
  # Only the first batch; one after the other, it would be 40 of each 100 ms.
  assert metrics["data_wait_share"] < 0.3


def test_rates_and_the_loss_are_of_the_interval():
  metrics = share(batch_seconds=0.0, step_seconds=0.01, steps=5)
  assert metrics["loss"] == pytest.approx(0.5)
  assert metrics["learning_rate"] == 0.5
  rate = metrics["steps_per_second"]
  assert metrics["tokens_per_second"] == pytest.approx(4 * rate)
  assert metrics["target_tokens_per_second"] == pytest.approx(2 * rate)
  assert metrics["padding_share"] == pytest.approx(3 / 12)


def test_an_interval_begins_anew():
  clock = meter.Meter(lambda step: 0.0)
  for value in (1.0, 3.0):
    clock.next_batch(iter([BATCH]))
    one = jnp.float32(value)
    clock.add(sums(one, one, jnp.float32(1)))
    metrics = clock.read(1)
    assert metrics["loss"] == value
    assert metrics["gradient_norm"] == value + 1
    assert metrics["nonfinite_steps"] == 0


def test_steps_that_are_not_finite_are_counted_and_left_out():
  clock = meter.Meter(lambda step: 0.0)
  zero, two = jnp.float32(0), jnp.float32(2)
  for each in (sums(two, two, two), sums(zero, zero, zero, finite=False)):
    clock.next_batch(iter([BATCH]))
    clock.add(each)
  metrics = clock.read(2)
  assert metrics["nonfinite_steps"] == 1
  assert (metrics["loss"], metrics["gradient_norm"]) == (1.0, 3.0)
