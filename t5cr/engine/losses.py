"""The training loss and the log-likelihood of a target."""

import functools
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def token_losses(
  logits: Float[Array, "*batch vocab"],
  targets: Int[Array, "*batch"],
  z_loss: float = 0.0,
) -> Float[Array, "*batch"]:
  """Cross entropy of each token, plus `z_loss` * log(Z)^2, in nats.

  The derivative is written out so that softmax and loss share one pass and
  nothing of vocabulary width but the gradient itself is kept.

  Args:
    logits: unnormalised, float32.
    targets: token ids.
    z_loss: coefficient of log(Z)^2 (Mesh TensorFlow; T5 uses 1e-4).

  Returns:
    One loss a token.
  """
  return cast(jax.Array, _token_losses(logits, targets, z_loss))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _token_losses(logits, targets, z_loss):
  return _forward(logits, targets, z_loss)[0]


def _forward(logits, targets, z_loss):
  log_z = jax.nn.logsumexp(logits, axis=-1)
  target_logits = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
  losses = log_z - target_logits + z_loss * log_z**2
  return losses, (logits, targets, log_z)


def _backward(z_loss, saved, cotangent):
  logits, targets, log_z = saved
  softmax = jnp.exp(logits - log_z[..., None])
  slope = (1.0 + 2.0 * z_loss * log_z)[..., None] * softmax
  # A comparison with an iota fuses into the product; no one-hot is stored.
  hit = jnp.arange(logits.shape[-1]) == targets[..., None]
  return (cotangent[..., None] * jnp.where(hit, slope - 1.0, slope), None)


_token_losses.defvjp(_forward, _backward)


def cross_entropy(
  logits: Float[Array, "batch length vocab"],
  targets: Int[Array, "batch length"],
  weights: Float[Array, "batch length"],
  *,
  z_loss: float = 0.0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Token cross entropy, summed over real tokens.

  Args:
    logits: unnormalised, float32.
    targets: token ids, 0 = padding.
    weights: 1 for a real token, 0 for padding.
    z_loss: coefficient of log(Z)^2 (Mesh TensorFlow; T5 uses 1e-4).

  Returns:
    (loss in nats, summed; number of real tokens).
  """
  losses = token_losses(logits, targets, z_loss)
  weights = weights.astype(losses.dtype)
  return jnp.sum(losses * weights), jnp.sum(weights)


def log_likelihood(
  logits: Float[Array, "batch length vocab"],
  targets: Int[Array, "batch length"],
  weights: Float[Array, "batch length"],
) -> Float[Array, "batch length"]:
  """Log-probability of each target token in nats, 0 at padding."""
  return -token_losses(logits, targets) * weights.astype(logits.dtype)
