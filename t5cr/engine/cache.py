"""One decoder step over cached keys and values.

Each input may have several decodes, beams or samples. Shapes: b inputs, n
decodes of each, l decoded length, s input length, h heads, d head width, v
vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from t5cr.engine import layers, model
from t5cr.engine.config import T5Config
from t5cr.engine.layers import Params


class Cache(NamedTuple):
  """Keys and values of a decoder, one pair a layer.

  What an input's decodes share is held once: they are rows of one attention
  over the encoder's output, and beams look at each other's past rather than
  copy it.

  Attributes:
    self_kv: of the tokens so far, each [b, h, n, l, d], filled in as decoding
      goes: a slot for each decode and position.
    cross_kv: of the encoder's output, each [b, h, s, d], computed once.
    cross_bias: [b, 1, 1, s], mask of the encoder's padding.
  """

  self_kv: tuple[tuple[jax.Array, jax.Array], ...]
  cross_kv: tuple[tuple[jax.Array, jax.Array], ...]
  cross_bias: jax.Array


def init_cache(
  params: Params,
  config: T5Config,
  encoder_input_tokens: Int[Array, "b s"],
  max_decode_length: int,
  num_decodes: int = 1,
) -> Cache:
  """Runs the encoder and prepares an empty decoder cache."""
  encoded = model.encode(params, config, encoder_input_tokens)
  shape = (
    encoded.shape[0],
    config.num_heads,
    num_decodes,
    max_decode_length,
    config.head_dim,
  )
  blank = jnp.zeros(shape, encoded.dtype)

  def cross(i: int) -> tuple[jax.Array, jax.Array]:
    layer = params["decoder"][f"layers_{i}"]["encoder_decoder_attention"]
    return layers.keys_and_values(layer, config, encoded)

  return Cache(
    self_kv=((blank, blank),) * config.num_decoder_layers,
    cross_kv=tuple(cross(i) for i in range(config.num_decoder_layers)),
    cross_bias=layers.mask_to_bias(encoder_input_tokens > 0)[:, None, None],
  )


def decode_step(
  params: Params,
  config: T5Config,
  cache: Cache,
  tokens: Int[Array, "b n"],
  index: Int[Array, ""],
  ancestors: Int[Array, "b n l"] | None = None,
) -> tuple[Float[Array, "b n v"], Cache]:
  """Feeds one token to each decode.

  Args:
    params: the whole tree.
    config: of the model.
    cache: keys and values of positions before `index`.
    tokens: the tokens at `index`: those decoded last, 0 at first.
    index: position, from 0.
    ancestors: for decodes that branch, the decode whose slot holds their past:
      `ancestors[b, i, t] = j` where the token that i has at position t was fed
      as j's; i itself at `index`, any other number than 0..n-1 behind it. None
      where each decode has only its own past.

  Returns:
    (logits of the next tokens, the cache with position `index` filled in).
  """
  positions = jnp.arange(cache.self_kv[0][0].shape[3])
  bias = layers.relative_position_bias(
    params["decoder"]["relpos_bias"],
    config,
    index[None, None],
    positions[None],
    bidirectional=False,
  )
  if ancestors is None:
    bias += layers.mask_to_bias(positions <= index)
  else:
    slots = jnp.arange(tokens.shape[1])
    # [b, 1, n, slots, l]
    seen = (ancestors[:, :, None] == slots[:, None])[:, None]
    bias = bias[:, :, None] + layers.mask_to_bias(seen)
  x = model.embed(params, config, tokens)
  filled = []
  for i in range(config.num_decoder_layers):

    def self_attention(attention, y, i=i):
      new = layers.keys_and_values(attention, config, y)
      filled.append(
        tuple(
          lax.dynamic_update_slice_in_dim(
            old, part[:, :, :, None], index, axis=3
          )
          for old, part in zip(cache.self_kv[i], new, strict=True)
        )
      )
      attend = _attend_own if ancestors is None else _attend_slots
      return _project(attention, config, y, attend, filled[-1], bias)

    def cross_attention(attention, y, i=i):
      kv, bias = cache.cross_kv[i], cache.cross_bias
      return _project(attention, config, y, _attend_shared, kv, bias)

    x = model.decoder_block(
      params["decoder"][f"layers_{i}"],
      config,
      x,
      self_attention,
      cross_attention,
      layers.Dropout(0.0),
    )
  logits = model.to_logits(params, config, x)
  return logits, cache._replace(self_kv=tuple(filled))


def _project(attention, config, y, attend, kv, bias) -> Float[Array, "b n e"]:
  """Projects the stream to queries, attends, and projects back."""
  query = layers.split_heads(layers.dense(attention["query"], y), config)
  out = layers.join_heads(attend(query, *kv, bias))
  return layers.dense(attention["out"], out)


def _softmax(logits: jax.Array, bias: jax.Array) -> jax.Array:
  """Attention weights over the last axis; computed in float32."""
  weights = jax.nn.softmax(logits.astype(jnp.float32) + bias, axis=-1)
  return weights.astype(logits.dtype)


def _attend_shared(query, key, value, bias) -> Float[Array, "b h n d"]:
  """All decodes of an input attend to the same keys, [b, h, k, d]."""
  weights = _softmax(jnp.einsum("bhnd,bhkd->bhnk", query, key), bias)
  return jnp.einsum("bhnk,bhkd->bhnd", weights, value)


def _attend_own(query, key, value, bias) -> Float[Array, "b h n d"]:
  """Each decode attends to its own keys, of [b, h, n, l, d]."""
  weights = _softmax(jnp.einsum("bhnd,bhnld->bhnl", query, key), bias)
  return jnp.einsum("bhnl,bhnld->bhnd", weights, value)


def _attend_slots(query, key, value, bias) -> Float[Array, "b h n d"]:
  """Each decode attends to whatever slots are its past, of [b, h, n, l, d]."""

  def flat(x):
    return x.reshape(*x.shape[:-3], -1, x.shape[-1])

  bias = bias.reshape(*bias.shape[:-2], -1)
  return _attend_shared(query, flat(key), flat(value), bias)
