"""The parts of a T5 block as functions of a parameter dict.

Parameter names and shapes are t5x's, so that a checkpoint of one is a
checkpoint of the other. Shapes: b batch, l, q and k lengths, e embedding,
h heads, d head width.
"""

import dataclasses
import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
    keep = self.mask((*x.shape[:-2], 1, x.shape[-1]), x.dtype)
    return x if keep is None else x * keep

  def mask(self, shape: tuple[int, ...], dtype: Any) -> jax.Array | None:
    """What to multiply with: 0 or 1 / (1 - rate); None for nothing."""
    if self.rng is None or self.rate == 0.0:
      return None
    self.calls += 1
    rng = jax.random.fold_in(self.rng, self.calls)
    keep = jax.random.bernoulli(rng, 1.0 - self.rate, shape)
    return keep.astype(dtype) / (1.0 - self.rate)

  def of_stack(self) -> "Dropout":
    """The dropout of the next stack of layers, whose masks are its own."""
    self.calls += 1
    return self.of_layer(self.calls)

  def of_layer(self, number: int | jax.Array) -> "Dropout":
    """The dropout of a layer of a stack, whose masks are its own."""
    if self.rng is None:
      return self
    return Dropout(self.rate, jax.random.fold_in(self.rng, number))


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
) -> Float[Array, "b h l d"]:
  """Parts the joined width of all heads, and puts the heads first."""
  parted = x.reshape(*x.shape[:-1], config.num_heads, config.head_dim)
  return parted.swapaxes(-2, -3)


def join_heads(x: Float[Array, "b h l d"]) -> Float[Array, "b l hd"]:
  """The inverse of `split_heads`."""
  x = x.swapaxes(-2, -3)
  return x.reshape(*x.shape[:-2], -1)


def project(
  params: Params,
  config: T5Config,
  names: Sequence[str],
  x: Float[Array, "b l e"],
) -> list[Float[Array, "b h l d"]]:
  """Heads of several projections of one stream, in one product.

  Args:
    params: of an attention layer.
    config: of the model.
    names: of "query", "key", "value".
    x: the stream.

  Returns:
    One array for each name.
  """
  # A new axis, so that each kernel stays split over devices as it is.
  kernels = jnp.stack([params[name]["kernel"] for name in names], axis=1)
  joined = jnp.einsum("ble,enf->blnf", x, kernels.astype(x.dtype))
  # A split, whose derivative is one concatenation; that of indexing is a sum.
  parts = jnp.split(joined, len(names), axis=2)
  return [split_heads(part[:, :, 0], config) for part in parts]


def keys_and_values(
  params: Params, config: T5Config, x: Float[Array, "b k e"]
) -> tuple[Float[Array, "b h k d"], Float[Array, "b h k d"]]:
  """What `attend` looks at; computed once where the source does not change."""
  key, value = project(params, config, ("key", "value"), x)
  return key, value


class Bias(NamedTuple):
  """What is added to attention logits.

  The parts are kept apart: together they are as large as the logits, and each
  layer would read them.

  Attributes:
    mask: bool [b, q, k], true where query may see key.
    position: float32 [b or 1, h, q, k], learned; None in cross-attention.
  """

  mask: jax.Array
  position: jax.Array | None = None


def self_attend(
  params: Params,
  config: T5Config,
  x: Float[Array, "b l e"],
  bias: Bias,
  dropout: Dropout,
) -> Float[Array, "b l e"]:
  """Attention of a stream to itself; see `attend`."""
  names = ("query", "key", "value")
  query, key, value = project(params, config, names, x)
  return _attend(params, query, (key, value), bias, dropout)


def attend(
  params: Params,
  config: T5Config,
  x: Float[Array, "b q e"],
  kv: tuple[Float[Array, "b h k d"], Float[Array, "b h k d"]],
  bias: Bias,
  dropout: Dropout,
) -> Float[Array, "b q e"]:
  """Multi-head attention. T5 has no 1/sqrt(d): its initialisation holds it.

  Args:
    params: query and out kernels (key and value are in `kv`).
    config: of the model.
    x: what asks.
    kv: keys and values (`keys_and_values`).
    bias: mask and position bias.
    dropout: of the attention weights.

  Returns:
    The attended values, projected back to the residual width.
  """
  query = split_heads(dense(params["query"], x), config)
  return _attend(params, query, kv, bias, dropout)


def _attend(params, query, kv, bias, dropout) -> Float[Array, "b q e"]:
  key, value = kv
  # A mask of weights that serves every query (see `Dropout`) is one of values:
  # of [b, h, k] numbers, with nothing of the logits' size.
  keep = dropout.mask((*value.shape[:-1], 1), value.dtype)
  value = value if keep is None else value * keep
  out = dot_product_attention(query, key, value, bias.position, bias.mask)
  return dense(params["out"], join_heads(out))


@jax.custom_vjp
def dot_product_attention(
  query: Float[Array, "b h q d"],
  key: Float[Array, "b h k d"],
  value: Float[Array, "b h k d"],
  position: Float[Array, "#b h q k"] | None,
  mask: Bool[Array, "b q k"],
) -> Float[Array, "b h q d"]:
  """softmax(query key^T + position, where mask) value.

  The derivative is written out. Of the logits' size it keeps the exponentials
  alone, in the activations' dtype; the softmax is normalised behind the second
  product, and its derivative needs row sums of outputs instead of weights (as
  in https://arxiv.org/abs/2205.14135, appendix B).
  """
  return _attention_forward(query, key, value, position, mask)[0]


def _attention_forward(query, key, value, position, mask):
  logits = jnp.einsum("bhqd,bhkd->bhqk", query, key).astype(jnp.float32)
  logits = logits if position is None else logits + position
  logits += mask_to_bias(mask)[:, None]
  highest = jnp.max(logits, axis=-1, keepdims=True)
  weights = jnp.exp(logits - highest).astype(query.dtype)
  total = jnp.sum(weights, axis=-1, keepdims=True, dtype=jnp.float32)
  out = jnp.einsum("bhqk,bhkd->bhqd", weights, value)
  out = (out / total).astype(query.dtype)
  return out, (query, key, value, position, mask, weights, total, out)


def _attention_backward(saved, slope):
  query, key, value, position, mask, weights, total, out = saved
  wide = slope.astype(jnp.float32)
  row = jnp.sum(wide * out, axis=-1, keepdims=True) / total
  slope = (wide / total).astype(slope.dtype)
  d_value = jnp.einsum("bhqk,bhqd->bhkd", weights, slope)
  d_weights = jnp.einsum("bhqd,bhkd->bhqk", slope, value)
  d_logits = weights * (d_weights - row)
  d_position = None
  if position is not None:
    shared = [i for i, n in enumerate(position.shape) if n < d_logits.shape[i]]
    d_position = jnp.sum(d_logits, shared, keepdims=True)
  d_logits = d_logits.astype(query.dtype)
  d_query = jnp.einsum("bhqk,bhkd->bhqd", d_logits, key)
  d_key = jnp.einsum("bhqk,bhqd->bhkd", d_logits, query)
  return d_query, d_key, d_value, d_position, None


dot_product_attention.defvjp(_attention_forward, _attention_backward)


def mask_to_bias(mask: Bool[Array, "*any"]) -> Float[Array, "*any"]:
  """What to add to attention logits: 0 where true, MASKED elsewhere."""
  return jnp.where(mask, 0.0, MASKED)


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
  query_positions: Int[Array, "b q"],
  key_positions: Int[Array, "b k"],
  *,
  bidirectional: bool,
) -> Float[Array, "b h q k"]:
  """The learned bias of a stack, shared by its layers.

  Args:
    params: with `rel_embedding`, [h, buckets].
    config: of the model.
    query_positions: of each row, or of one that stands for all.
    key_positions: the same.
    bidirectional: true in the encoder.

  Returns:
    float32, as many rows as the positions have.
  """
  buckets = relative_position_bucket(
    key_positions[:, None, :] - query_positions[:, :, None],
    bidirectional=bidirectional,
    num_buckets=config.relative_attention_num_buckets,
    max_distance=config.relative_attention_max_distance,
  )
  return params["rel_embedding"][:, buckets].swapaxes(0, 1)
