"""Adafactor takes t5x's steps."""

import dataclasses

import golden
import jax
import numpy as np
import optax
import pytest
from flax import traverse_util

from t5cr.engine import losses, model, optimizer

pytestmark = pytest.mark.usefixtures("quick_compiles")


@pytest.mark.parametrize(
  "name", ["t5_1_0_tiny", "t5_1_1_tiny", "t5_1_1_factored"]
)
def test_steps(name):
  tiny = golden.load(name)
  settings = tiny.settings["adafactor"]
  batch = tiny.group("batch")
  transform = optimizer.adafactor(
    settings["learning_rate"], decay_rate=settings["decay_rate"]
  )

  @jax.jit
  def step(params, state):
    def loss(params):
      logits = model.apply(params, tiny.config, batch)
      return losses.cross_entropy(
        logits,
        batch["decoder_target_tokens"],
        batch["decoder_loss_weights"],
        z_loss=tiny.settings["z_loss"],
      )[0]

    value, gradients = jax.value_and_grad(loss)(params)
    updates, state = transform.update(gradients, state, params)
    return optax.apply_updates(params, updates), state, value

  params, state = tiny.params, transform.init(tiny.params)
  for i in range(settings["steps"]):
    params, state, value = step(params, state)
    np.testing.assert_allclose(
      value,
      tiny.numbers[f"adafactor/loss_{i}"],
      rtol=2e-6,
      err_msg=f"loss of step {i} {golden.CHANGED}",
    )
  final = tiny.group("adafactor/params_final")
  ours = traverse_util.flatten_dict(params, sep="/")
  assert ours.keys() == final.keys()
  for path, value in final.items():
    np.testing.assert_allclose(
      ours[path], value, atol=5e-6, err_msg=f"{path} {golden.CHANGED}"
    )


def test_wide_matrices_are_factored():
  state = optimizer.adafactor(0.003).init(
    {"wide": np.zeros((256, 128)), "narrow": np.zeros((256, 64))}
  )
  shapes = {leaf.shape for leaf in jax.tree.leaves(state)}
  assert (256, 128) not in shapes
  assert {(256,), (128,), (256, 64)} <= shapes


@pytest.mark.parametrize(
  "learning_rate",
  [
    pytest.param(0.01, marks=pytest.mark.long),
    lambda step: 0.1 / (step + 1),
  ],
)
def test_layers_together_take_the_same_steps(learning_rate):
  config = dataclasses.replace(
    golden.load("t5_1_1_tiny").config,
    emb_dim=128,
    mlp_dim=160,
    num_encoder_layers=3,
    num_decoder_layers=2,
  )
  alone = optimizer.adafactor(learning_rate)
  together = optimizer.layers_together(alone)
  params = model.init(config, jax.random.key(0))
  states = alone.init(params), together.init(params)
  for i in range(3):
    slopes = model.init(config, jax.random.key(i + 1))
    updates, states = zip(
      alone.update(slopes, states[0], params),
      together.update(slopes, states[1], params),
      strict=True,
    )
    for one, other in (updates, states):
      jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7, rtol=1e-6),
        one,
        other,
      )
    params = optax.apply_updates(params, updates[0])
