"""The parts of a T5 block as functions of a parameter dict.

Parameter names and shapes are t5x's, so that a checkpoint of one is a
checkpoint of the other. Shapes: b batch, l, q and k lengths, e embedding,
h heads, d head width.
"""

import dataclasses
import functools
import operator
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from t5cr.engine.config import T5Config

Params = Mapping[str, Any]

# Large enough to vanish in the softmax, small enough for bfloat16. A row that
# is masked throughout attends evenly rather than becoming NaN.
MASKED = -1e10

ACTIVATIONS = {
  "relu": jax.nn.relu,
  "gelu": lambda x: jax.nn.gelu(x, approximate=True),
  "silu": jax.nn.silu,
  "linear": lambda x: x,
}


@dataclasses.dataclass
class Dropout:
  """Dropout that draws a new mask at each call; a no-op without a key.

  T5 drops whole feature columns: one mask serves every position (axis -2).
  """

  rate: float
  rng: jax.Array | None = None
  calls: int = 0

  def __call__(self, x: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
    """Zeros a share `rate` of x's columns and scales up the others."""
    if self.rng is None or self.rate == 0.0:
      return x
    self.calls += 1
    shape = (*x.shape[:-2], 1, x.shape[-1])
    keep = jax.random.bernoulli(
      jax.random.fold_in(self.rng, self.calls), 1.0 - self.rate, shape
    )
    return x * keep.astype(x.dtype) / (1.0 - self.rate)


def dense(
  params: Params, x: Float[Array, "*batch features"]
) -> Float[Array, "*batch out"]:
  """A linear map without bias."""
  return x @ params["kernel"].astype(x.dtype)


def rms_norm(
  params: Params, x: Float[Array, "*batch features"]
) -> Float[Array, "*batch features"]:
  """T5's layer norm: scale only, no mean (https://arxiv.org/abs/1910.07467)."""
  wide = x.astype(jnp.float32)
  inverse = lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + 1e-6)
  return (wide * inverse * params["scale"]).astype(x.dtype)


def mlp(
  params: Params,
  config: T5Config,
  x: Float[Array, "b l e"],
  dropout: Dropout,
) -> Float[Array, "b l e"]:
  """Feed-forward layer, gated when it has several activations."""
  gated = len(config.mlp_activations) > 1
  branches = [
    ACTIVATIONS[name](dense(params[f"wi_{i}" if gated else "wi"], x))
    for i, name in enumerate(config.mlp_activations)
  ]
  hidden = functools.reduce(operator.mul, branches)
  return dense(params["wo"], dropout(hidden))


def split_heads(
  x: Float[Array, "b l hd"], config: T5Config
) -> Float[Array, "b l h d"]:
  """Parts the joined width of all heads."""
  return x.reshape(*x.shape[:-1], config.num_heads, config.head_dim)


def keys_and_values(
  params: Params, config: T5Config, x: Float[Array, "b k e"]
) -> tuple[Float[Array, "b k h d"], Float[Array, "b k h d"]]:
  """What `attend` looks at; computed once where the source does not change."""
  return (
    split_heads(dense(params["key"], x), config),
    split_heads(dense(params["value"], x), config),
  )


def attend(
  params: Params,
  config: T5Config,
  x: Float[Array, "b q e"],
  kv: tuple[Float[Array, "b k h d"], Float[Array, "b k h d"]],
  bias: Float[Array, "b h q k"],
  dropout: Dropout,
) -> Float[Array, "b q e"]:
  """Multi-head attention. T5 has no 1/sqrt(d): its initialisation holds it.

  Args:
    params: query and out kernels (key and value are in `kv`).
    config: of the model.
    x: what asks.
    kv: keys and values (`keys_and_values`).
    bias: added to the attention logits; dims b and h may be 1.
    dropout: of the attention weights.

  Returns:
    The attended values, projected back to the residual width.
  """
  query = split_heads(dense(params["query"], x), config)
  key, value = kv
  logits = jnp.einsum("bqhd,bkhd->bhqk", query, key)
  weights = jax.nn.softmax(logits.astype(jnp.float32) + bias, axis=-1)
  weights = dropout(weights.astype(x.dtype))
  out = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
  return dense(params["out"], out.reshape(*x.shape[:-1], -1))


def mask_to_bias(
  mask: Bool[Array, "b q k"],
) -> Float[Array, "b 1 q k"]:
  """What to add to attention logits: 0 where true, MASKED elsewhere."""
  return jnp.where(mask, 0.0, MASKED)[:, None].astype(jnp.float32)


def pair_mask(
  query: Int[Array, "b q"], key: Int[Array, "b k"]
) -> Bool[Array, "b q k"]:
  """True where both are real: not padding (0)."""
  return (query > 0)[:, :, None] & (key > 0)[:, None, :]


def segment_mask(
  query: Int[Array, "b q"], key: Int[Array, "b k"]
) -> Bool[Array, "b q k"]:
  """True where both lie in the same packed example."""
  return query[:, :, None] == key[:, None, :]


def relative_position_bucket(
  relative_position: np.ndarray | jax.Array,
  *,
  bidirectional: bool,
  num_buckets: int,
  max_distance: int,
) -> jax.Array:
  """Maps (key position - query position) to a bucket.

  Half of the buckets are exact distances, the others grow logarithmically to
  `max_distance` (https://arxiv.org/abs/1910.10683, section 2.1). With
  `bidirectional` each direction has half of the buckets; without, keys in the
  future share bucket 0.

  Args:
    relative_position: int array of any shape.
    bidirectional: true in the encoder.
    num_buckets: of both directions together.
    max_distance: where the last bucket begins.

  Returns:
    int32 buckets of the same shape.
  """
  distance = -jnp.asarray(relative_position)
  bucket = jnp.zeros_like(distance)
  if bidirectional:
    num_buckets //= 2
    bucket = jnp.where(distance < 0, num_buckets, 0)
    distance = jnp.abs(distance)
  else:
    distance = jnp.maximum(distance, 0)
  exact = num_buckets // 2
  # The epsilon keeps log(0) away; distances below `exact` do not use it.
  ratio = distance.astype(jnp.float32) / exact + np.finfo(np.float32).eps
  far = exact + (
    jnp.log(ratio) / np.log(max_distance / exact) * (num_buckets - exact)
  ).astype(jnp.int32)
  far = jnp.minimum(far, num_buckets - 1)
  return bucket + jnp.where(distance < exact, distance, far)


def relative_position_bias(
  params: Params,
  config: T5Config,
  query_positions: jax.Array,
  key_positions: jax.Array,
  *,
  bidirectional: bool,
) -> Float[Array, "1 h q k"]:
  """The learned bias of a stack, shared by its layers."""
  buckets = relative_position_bucket(
    key_positions[None, :] - query_positions[:, None],
    bidirectional=bidirectional,
    num_buckets=config.relative_attention_num_buckets,
    max_distance=config.relative_attention_max_distance,
  )
  return params["rel_embedding"][:, buckets][None]
