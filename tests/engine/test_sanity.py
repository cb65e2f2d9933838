"""Steps that are not finite, and a loss that explodes."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import tiny
from synthetic import CONFIG, Synthetic, assert_same, run

from t5cr import errors
from t5cr.engine import (
  events,
  feed,
  formats,
  sanity,
  train,
  train_config,
)

pytestmark = pytest.mark.usefixtures("quick_compiles")

# Of such a weight, loss and gradients are.
BAD = {"nan": np.nan, "infinite": np.inf}


class Poisoned(Synthetic):
  """Batches some of which have a loss weight that is no finite number."""

  bad = (3,)
  weight = np.nan

  def __next__(self):
    batch = super().__next__()
    weights = batch["decoder_loss_weights"].astype(np.float32)
    if self.position in self.bad:
      weights[1, 2] = self.weight
    return {**batch, "decoder_loss_weights": weights}


class Clean(Poisoned):
  bad = ()


def configured(policy, **values):
  return dataclasses.replace(CONFIG, on_nonfinite=policy, **values)


def noting():
  noted = []
  return noted, train.Hooks(note=noted.append)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_step_changes_neither_parameters_nor_moments(mesh, kind):
  step = train.make_train_step(CONFIG, tiny.CONFIG, mesh)
  state, _ = step(train.initial_state(CONFIG, tiny.CONFIG, mesh), next(Clean()))
  before = jax.tree.map(np.array, state)
  batches = Poisoned()
  batches.position, batches.weight = 2, BAD[kind]
  after, numbers = step(state, next(batches))
  assert not numbers["finite"]
  assert numbers["loss"] == numbers["target_tokens"] == 0
  assert_same(after.params, before.params)
  assert int(after.step) == 2
  jax.tree.map(
    lambda old, new: np.testing.assert_array_equal(old + (old.ndim == 0), new),
    before.opt_state,
    after.opt_state,
  )


def test_gradients_alone_can_be_infinite(mesh, monkeypatch):
  """A finite loss with a gradient that is not: a square root at zero."""
  from t5cr.engine import losses

  def rooted(logits, targets, weights, z_loss):
    del targets, weights, z_loss
    return jax.numpy.sqrt(0.0 * logits.sum()), jax.numpy.float32(1)

  monkeypatch.setattr(losses, "cross_entropy", rooted)
  step = train.make_train_step(CONFIG, tiny.CONFIG, mesh)
  state = train.initial_state(CONFIG, tiny.CONFIG, mesh)
  before = jax.tree.map(np.array, state.params)
  after, numbers = step(state, next(Synthetic()))
  assert np.isfinite(numbers["step_loss"])
  assert not np.isfinite(numbers["gradient_norm"])
  assert_same(after.params, before)


def test_stops_at_that_step_and_keeps_what_was_before(tmp_path, mesh):
  noted, hooks = noting()
  with pytest.raises(errors.UsageError, match="nan .* at step 3:") as caught:
    run(tmp_path, mesh, configured("stop"), Poisoned, hooks=hooks)
  assert "ON_NONFINITE = 'skip'" in str(caught.value)
  assert formats.steps(tmp_path) == [2]
  (event,) = noted
  batch = event.pop("batch")
  assert event == {
    "event": "nonfinite_step",
    "step": 3,
    "loss": "nan",
    "gradient_norm": "nan",
    "action": "stop",
  }
  batches = Synthetic()
  batches.position = 2
  np.testing.assert_array_equal(
    batch["encoder_input_tokens"], next(batches)["encoder_input_tokens"]
  )


def test_a_stopped_run_goes_on_under_another_policy(tmp_path, mesh):
  """What was stopped for a bad step ends as if it had been skipped."""
  with pytest.raises(errors.UsageError):
    run(tmp_path / "a", mesh, configured("stop"), Poisoned)
  skipping = configured("skip")
  resumed = run(tmp_path / "a", mesh, skipping, Poisoned)
  assert_same(resumed, run(tmp_path / "b", mesh, skipping, Poisoned))


def test_skipping_goes_on_with_the_next_batch(tmp_path, mesh):
  noted, hooks = noting()
  skipped = run(tmp_path, mesh, configured("skip"), Poisoned, hooks=hooks)
  assert [(e["step"], e["action"]) for e in noted] == [(3, "skip")]
  # By hand: steps 1, 2, nothing, 4, 5, 6.
  step = train.make_train_step(CONFIG, tiny.CONFIG, mesh)
  state, batches = train.initial_state(CONFIG, tiny.CONFIG, mesh), Clean()
  for number in range(1, 7):
    batch = next(batches)
    if number == 3:
      state = dataclasses.replace(
        state,
        step=state.step + 1,
        opt_state=jax.tree.map(
          lambda x: x if x.ndim else x + 1, state.opt_state
        ),
      )
    else:
      state, _ = step(state, batch)
  assert_same(skipped, state)


def test_rolling_back_leaves_the_batches_since_the_checkpoint_out(
  tmp_path, mesh
):
  noted, hooks = noting()
  batches = Poisoned()
  config = configured("roll_back")
  rolled = run(tmp_path, mesh, config, lambda: batches, hooks=hooks)
  assert [(e["step"], e["action"]) for e in noted] == [(3, "roll_back")]
  # Noticed when step 4 was read, for its checkpoint; then steps 3 to 6 again.
  assert batches.position == 8
  step = train.make_train_step(config, tiny.CONFIG, mesh)
  state, clean = train.initial_state(config, tiny.CONFIG, mesh), Clean()
  for number in range(8):
    batch = next(clean)
    if number not in (2, 3):
      state, _ = step(state, batch)
  assert_same(rolled, state)


def test_rolling_back_without_a_checkpoint_starts_anew(tmp_path, mesh):
  class AtOnce(Poisoned):
    bad = (1,)

  noted, hooks = noting()
  state = run(tmp_path, mesh, configured("roll_back"), AtOnce, hooks=hooks)
  assert int(state.step) == 6
  assert [e["step"] for e in noted] == [1]


@pytest.mark.parametrize("policy", ["skip", "roll_back"])
def test_too_many_bad_steps_stop_a_run(tmp_path, mesh, policy):
  class Always(Poisoned):
    bad = range(1, 100)

  noted, hooks = noting()
  config = configured(policy, nonfinite_limit=2, checkpoint_period=6)
  with pytest.raises(errors.UsageError, match="after 2 others .NONFINITE_LIM"):
    run(tmp_path, mesh, config, Always, hooks=hooks)
  assert [e["action"] for e in noted] == [policy, policy, "stop"]


def test_a_loss_that_explodes_is_told_of_once():
  watch = sanity.Explosion(2.0)
  calm = [3.0 - step / 50 for step in range(100)]
  assert not any(map(watch.add, calm))
  told = [found for found in (watch.add(9.0) for _ in range(60)) if found]
  assert len(told) == 1
  mean, lowest = told[0]
  assert 1 < lowest < 1.6 and mean > 2 * lowest
  # It came down, and rises again.
  assert not any(watch.add(1.0) for _ in range(200))
  assert sum(bool(watch.add(9.0)) for _ in range(60)) == 1


@pytest.mark.parametrize(
  ("factor", "losses"),
  [(None, [1.0] * 30 + [99.0] * 30), (2.0, [0.01] * 30 + [0.4] * 30)],
)
def test_no_explosion_where_none_is_asked_for_or_worth_it(factor, losses):
  watch = sanity.Explosion(factor)
  assert not any(map(watch.add, losses))


def test_a_run_tells_of_an_exploding_loss(tmp_path, mesh):
  class Changing(Synthetic):
    """One batch over and over, then others."""

    taken = 0

    def __next__(self):
      self.position = max(0, self.taken - 60)
      self.taken += 1
      return super().__next__()

  config = dataclasses.replace(
    CONFIG, train_steps=90, checkpoint_period=90, learning_rate=0.1
  )
  noted, hooks = noting()
  run(tmp_path, mesh, config, Changing, hooks=hooks)
  (event,) = noted
  assert event["event"] == "exploding_loss" and event["step"] > 60
  assert event["loss"] > 2 * event["lowest"]


@pytest.mark.parametrize(
  ("name", "change", "message"),
  [
    (
      "encoder_input_tokens",
      lambda tokens: np.where(tokens == tokens.max(), 384, tokens),
      "tokens from .* to 384 in encoder_input_tokens, but the model has 384",
    ),
    ("decoder_target_tokens", lambda tokens: -tokens, "decoder_target_tokens"),
    (
      "decoder_loss_weights",
      lambda weights: weights[:, :-1],
      r"decoder_loss_weights is \(4, 5\) and decoder_target_tokens \(4, 6\)",
    ),
  ],
)
def test_a_batch_that_does_not_fit_is_refused(
  tmp_path, mesh, name, change, message
):
  class Odd(Synthetic):
    def __next__(self):
      batch = super().__next__()
      return {**batch, name: change(batch[name])}

  with pytest.raises(errors.UsageError, match=message):
    run(tmp_path, mesh, CONFIG, Odd)
  assert not list(tmp_path.glob("checkpoint*"))


@pytest.mark.parametrize("pack", [False, True])
def test_the_examples_of_a_batch_are_written_as_text(tmp_path, pack, caplog):
  tiny.register()
  data = feed.train_batches(
    train_config.TrainData(
      "tiny_score", tiny.LENGTHS, 2, pack=pack, shuffle=False
    )
  )
  told = events.Events(tmp_path, lambda batch: feed.texts("tiny_score", batch))
  event = {
    "event": "nonfinite_step",
    "step": 7,
    "loss": "nan",
    "gradient_norm": "inf",
    "action": "skip",
  }
  for _ in range(2):
    told.note({**event, "batch": next(data)})
  lines = (tmp_path / events.FILE).read_text().splitlines()
  records = [json.loads(line) for line in lines]
  examples = [e for record in records for e in record["examples"]]
  expected = tiny.pairs("train")[: len(examples)]
  assert [(e["inputs"], e["targets"]) for e in examples] == expected
  assert len(records) == 2 and len(examples) >= 4 + 2 * pack
  assert {name: records[0][name] for name in event} == event
  assert "Step 7 is not finite (loss nan, gradient norm inf)" in caplog.text
  assert expected[0][0] in caplog.text
