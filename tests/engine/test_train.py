"""Training: one step by hand, interruption, determinism."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from synthetic import CONFIG, Synthetic, assert_same, run

from t5cr import errors
from t5cr.engine import formats, losses, model, partitioning, train

pytestmark = pytest.mark.usefixtures("quick_compiles")


class Interrupted(Exception):
  """Stands for whatever ends a process."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, mesh):
  return run(tmp_path_factory.mktemp("whole"), mesh)


def test_the_same_seed_gives_the_same_parameters(tmp_path, mesh, uninterrupted):
  assert_same(run(tmp_path, mesh), uninterrupted)


@pytest.mark.parametrize("killed_at", [1, 3, 4])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
  tmp_path, mesh, uninterrupted, killed_at
):
  def kill(stage, done, total, unit):
    if done == killed_at:
      raise Interrupted

  with pytest.raises(Interrupted):
    run(tmp_path, mesh, hooks=train.Hooks(progress=kill))
  assert formats.steps(tmp_path) == [s for s in (2, 4) if s <= killed_at]
  reported = []
  hooks = train.Hooks(progress=lambda *what: reported.append(what))
  assert_same(run(tmp_path, mesh, hooks=hooks), uninterrupted)
  first = killed_at - killed_at % 2
  assert reported == [("train", step, 6, "steps") for step in range(first, 7)]


def test_more_steps_go_on_from_the_last(tmp_path, mesh, uninterrupted):
  run(tmp_path, mesh, dataclasses.replace(CONFIG, train_steps=3))
  assert_same(run(tmp_path, mesh), uninterrupted)


def test_a_complete_run_is_left_alone(tmp_path, mesh):
  first = run(tmp_path, mesh)

  def never():
    raise AssertionError("no data is needed")

  seen = []
  hooks = train.Hooks(evaluate=lambda state, step: seen.append(step))
  again = run(tmp_path, mesh, make_batches=never, hooks=hooks)
  assert_same(again, first)
  assert seen == [6]


def test_no_steps_write_the_initial_checkpoint(tmp_path, mesh):
  def never():
    raise AssertionError("no data is needed")

  config = dataclasses.replace(CONFIG, train_steps=0)
  state = run(tmp_path, mesh, config, never)
  assert formats.steps(tmp_path) == [0]
  assert int(state.step) == 0
  assert_same(state, train.initial_state(config, tiny.CONFIG, mesh))


def test_training_goes_on_from_the_initial_checkpoint_without_data(
  tmp_path, mesh, uninterrupted
):
  run(tmp_path, mesh, dataclasses.replace(CONFIG, train_steps=0))
  assert_same(run(tmp_path, mesh), uninterrupted)


def test_an_initial_checkpoint_gives_parameters_moments_and_step(
  tmp_path, mesh
):
  source = run(tmp_path / "a", mesh, dataclasses.replace(CONFIG, train_steps=2))
  config = dataclasses.replace(CONFIG, train_steps=3)
  batches = Synthetic()
  state = run(
    tmp_path / "b",
    mesh,
    config,
    lambda: batches,
    initial_checkpoint=tmp_path / "a",
  )
  assert batches.position == 1  # its own data, from the start
  assert formats.steps(tmp_path / "b") == [3]
  step = train.make_train_step(config, tiny.CONFIG, mesh)
  expected, _ = step(source, next(Synthetic()))
  assert_same(state, expected)


def test_one_step_is_the_gradient_of_the_mean_loss(mesh):
  """The step against the same thing written out."""
  config = dataclasses.replace(CONFIG, z_loss=0.0)
  quiet = dataclasses.replace(tiny.CONFIG, dropout_rate=0.0)
  state = train.initial_state(config, quiet, mesh)
  params = jax.tree.map(np.array, state.params)
  batch = next(Synthetic())
  stepped, sums = train.make_train_step(config, quiet, mesh)(state, batch)

  def mean_loss(params):
    logits = model.apply(params, quiet, batch)
    targets = batch["decoder_target_tokens"][..., None]
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), targets, -1)
    weights = batch["decoder_loss_weights"]
    return -(picked[..., 0] * weights).sum() / weights.sum()

  loss, gradients = jax.jit(jax.value_and_grad(mean_loss))(params)
  tx = train.make_optimizer(config)
  updates, _ = tx.update(gradients, tx.init(params), params)
  expected = optax.apply_updates(params, updates)
  np.testing.assert_allclose(sums["loss"] / sums["target_tokens"], loss, 1e-5)
  assert sums["target_tokens"] == batch["decoder_loss_weights"].sum()
  assert sums["tokens"] == sums["target_tokens"] + 4 * 8
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
    stepped.params,
    expected,
  )


@pytest.mark.parametrize(
  ("factor", "divisor"),
  [(None, 1.0), (8, 8.0), (train.REAL_TARGET_TOKENS, 20.0)],
)
def test_the_loss_is_divided_by_the_factor(mesh, factor, divisor):
  """Seen in the second moments, the squares of the gradients at first."""
  quiet = dataclasses.replace(tiny.CONFIG, dropout_rate=0.0)
  batch = next(Synthetic())
  assert batch["decoder_loss_weights"].sum() == 20

  def moments(factor):
    config = dataclasses.replace(CONFIG, loss_normalizing_factor=factor)
    state = train.initial_state(config, quiet, mesh)
    state, _ = train.make_train_step(config, quiet, mesh)(state, batch)
    (factored,) = (
      leaf
      for leaf in jax.tree.leaves(
        state.opt_state, is_leaf=lambda x: isinstance(x, optax.FactoredState)
      )
      if isinstance(leaf, optax.FactoredState)
    )
    return np.asarray(factored.v["token_embedder"]["embedding"])

  expected = moments(1.0) / divisor**2
  np.testing.assert_allclose(moments(factor), expected, rtol=1e-3, atol=1e-20)


def test_each_step_has_a_dropout_of_its_own(mesh):
  take = train.make_train_step(CONFIG, tiny.CONFIG, mesh)

  def loss(step):
    state = train.initial_state(CONFIG, tiny.CONFIG, mesh)
    state = dataclasses.replace(state, step=jnp.int32(step))
    return float(take(state, next(Synthetic()))[1]["loss"])

  assert loss(0) == loss(0) != loss(1)


def test_the_step_compiles_once(mesh):
  state = train.initial_state(CONFIG, tiny.CONFIG, mesh)
  step = train.make_train_step(CONFIG, tiny.CONFIG, mesh)
  batches = Synthetic()
  for _ in range(3):
    state, _ = step(state, partitioning.put_batch(next(batches), mesh))
  assert step._cache_size() == 1


def test_metrics_cover_every_step_once(tmp_path, mesh):
  class Writer:
    written: dict = {}

    def write_scalars(self, step, scalars):
      self.written[step] = scalars

    def flush(self):
      self.written["flushed"] = True

  writer = Writer()
  config = dataclasses.replace(CONFIG, log_period=4, eval_period=3)
  seen = []
  hooks = train.Hooks(
    metric_writer=writer, evaluate=lambda state, step: seen.append(step)
  )
  run(tmp_path, mesh, config, hooks=hooks)
  assert seen == [3, 6]
  # Each checkpoint, evaluation and logging period ends an interval.
  assert list(writer.written) == [2, 3, 4, 6, "flushed"]
  for step in (2, 3, 4, 6):
    metrics = writer.written[step]
    assert 4 < metrics["loss"] < 9
    assert metrics["learning_rate"] == pytest.approx(0.01)
    assert 0 <= metrics["data_wait_share"] <= 1
    assert metrics["tokens_per_second"] > metrics["target_tokens_per_second"]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, mesh, monkeypatch):
  monkeypatch.setattr(losses, "cross_entropy", lambda *a, **k: (jnp.nan, 1.0))
  with pytest.raises(errors.UsageError, match="loss is nan .* at step 1:"):
    run(tmp_path, mesh)
  assert formats.steps(tmp_path) == []


@pytest.mark.parametrize(
  ("values", "macro"),
  [
    ({"learning_rate_schedule": "steep"}, "LEARNING_RATE_SCHEDULE"),
    ({"train_steps": -1}, "TRAIN_STEPS"),
    ({"checkpoint_period": 0}, "CHECKPOINT_PERIOD"),
    ({"on_nonfinite": "ignore"}, "ON_NONFINITE"),
    ({"nonfinite_limit": -1}, "NONFINITE_LIMIT"),
    ({"exploding_loss": 1}, "EXPLODING_LOSS"),
    ({"exploding_loss": "2"}, "EXPLODING_LOSS"),
    ({"loss_normalizing_factor": 0}, "LOSS_NORMALIZING_FACTOR"),
    ({"loss_normalizing_factor": "TOKENS"}, "LOSS_NORMALIZING_FACTOR"),
  ],
)
def test_impossible_values_name_their_macro(values, macro):
  with pytest.raises(errors.UsageError, match=macro):
    dataclasses.replace(CONFIG, **values)
