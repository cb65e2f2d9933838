"""Losses, gradients and scores equal t5x's."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from t5cr.engine import losses, model


@pytest.fixture(params=["t5_1_0_tiny", "t5_1_1_tiny"])
def tiny(request):
  return golden.load(request.param)


def loss(params, tiny, batch):
  logits = model.apply(params, tiny.config, batch)
  return losses.cross_entropy(
    logits,
    batch["decoder_target_tokens"],
    batch["decoder_loss_weights"],
    z_loss=tiny.settings["z_loss"],
  )


@pytest.mark.parametrize(
  ("batch", "expected"),
  [
    ("batch", "loss_sum_with_z"),
    ("packed", "loss_sum_with_z_packed"),
  ],
)
def test_loss(tiny, batch, expected):
  fields = tiny.group(batch)
  total, weight = loss(tiny.params, tiny, fields)
  np.testing.assert_allclose(
    total, tiny.numbers[expected], rtol=1e-5, err_msg=golden.CHANGED
  )
  assert weight == fields["decoder_loss_weights"].sum()


def test_gradients(tiny):
  gradients = jax.grad(lambda p: loss(p, tiny, tiny.group("batch"))[0])(
    tiny.params
  )
  ours = traverse_util.flatten_dict(gradients, sep="/")
  theirs = tiny.group("grad0")
  assert ours.keys() == theirs.keys()
  for name, value in theirs.items():
    np.testing.assert_allclose(
      ours[name],
      value,
      atol=2e-5 * max(1.0, np.abs(value).max()),
      err_msg=f"{name} {golden.CHANGED}",
    )


def test_token_scores(tiny):
  batch = tiny.group("batch")
  logits = model.apply(tiny.params, tiny.config, batch)
  targets = batch["decoder_target_tokens"]
  scores = losses.log_likelihood(logits, targets, targets > 0)
  # t5x's per-token numbers include padding; the sum does not.
  np.testing.assert_allclose(
    scores[targets > 0],
    tiny.numbers["score_per_token"][targets > 0],
    atol=1e-5,
    err_msg=golden.CHANGED,
  )
  assert (scores[targets == 0] == 0).all()


def test_hand_written_derivative_is_the_derivative():
  logits = jax.random.normal(jax.random.key(0), (3, 4, 11)) * 3
  targets = jnp.arange(12).reshape(3, 4) % 11
  weights = (targets != 3).astype(jnp.float32)

  def plain(x):
    log_probs = jax.nn.log_softmax(x)
    log_z = jax.nn.logsumexp(x, axis=-1)
    picked = jnp.take_along_axis(log_probs, targets[..., None], -1)[..., 0]
    return jnp.sum(weights * (-picked + 0.1 * log_z**2))

  def ours(x):
    return losses.cross_entropy(x, targets, weights, z_loss=0.1)[0]

  np.testing.assert_allclose(ours(logits), plain(logits), rtol=1e-6)
  np.testing.assert_allclose(
    jax.grad(ours)(logits), jax.grad(plain)(logits), atol=1e-5
  )


def test_uniform_logits_cost_log_vocab():
  total, weight = losses.cross_entropy(
    jnp.zeros((1, 3, 8)), jnp.array([[1, 2, 0]]), jnp.array([[1, 1, 0]])
  )
  np.testing.assert_allclose(total, 2 * np.log(8), rtol=1e-6)
  assert weight == 2
