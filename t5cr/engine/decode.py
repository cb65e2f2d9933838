"""Greedy decoding with cached keys and values."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from t5cr.engine import buckets, layers, model, partitioning
from t5cr.engine.config import T5Config
from t5cr.engine.layers import Dropout, Params
from t5cr.progress import Progress


class Cache(NamedTuple):
  """Keys and values of a decoder, one entry a layer.

  Attributes:
    self_kv: of the tokens so far, each [b, max_decode_length, h, d], filled in
      as decoding goes.
    cross_kv: of the encoder's output, each [b, s, h, d], computed once.
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
) -> Cache:
  """Runs the encoder and prepares an empty decoder cache."""
  encoded = model.encode(params, config, encoder_input_tokens)
  decoder = params["decoder"]
  shape = (
    encoded.shape[0],
    max_decode_length,
    config.num_heads,
    config.head_dim,
  )
  blank = jnp.zeros(shape, encoded.dtype)
  cross = tuple(
    layers.keys_and_values(
      decoder[f"layers_{i}"]["encoder_decoder_attention"], config, encoded
    )
    for i in range(config.num_decoder_layers)
  )
  return Cache(
    self_kv=((blank, blank),) * config.num_decoder_layers,
    cross_kv=cross,
    cross_bias=layers.mask_to_bias((encoder_input_tokens > 0)[:, None]),
  )


def decode_step(
  params: Params,
  config: T5Config,
  cache: Cache,
  tokens: Int[Array, " b"],
  index: Int[Array, ""],
) -> tuple[Float[Array, "b v"], Cache]:
  """Feeds one token a row.

  Args:
    params: the whole tree.
    config: of the model.
    cache: keys and values of positions before `index`.
    tokens: the tokens at `index`: those decoded last, 0 at first.
    index: position, from 0.

  Returns:
    (logits of the next tokens, the cache with position `index` filled in).
  """
  decoder = params["decoder"]
  positions = jnp.arange(cache.self_kv[0][0].shape[1])
  bias = layers.mask_to_bias((positions <= index)[None, None])
  bias += layers.relative_position_bias(
    decoder["relpos_bias"],
    config,
    index[None],
    positions,
    bidirectional=False,
  )
  x = model.embed(params, config, tokens[:, None])
  filled = []
  for i in range(config.num_decoder_layers):
    layer = decoder[f"layers_{i}"]

    def self_kv(y, layer=layer, i=i):
      new = layers.keys_and_values(layer["self_attention"], config, y)
      filled.append(
        tuple(
          lax.dynamic_update_slice_in_dim(old, part, index, axis=1)
          for old, part in zip(cache.self_kv[i], new, strict=True)
        )
      )
      return filled[-1]

    x = model.decoder_block(
      layer,
      config,
      x,
      self_kv,
      cache.cross_kv[i],
      bias,
      cache.cross_bias,
      Dropout(0.0),
    )
  logits = model.to_logits(params, config, x)[:, 0]
  return logits, cache._replace(self_kv=tuple(filled))


@functools.partial(
  jax.jit, static_argnames=("config", "max_decode_length", "eos_id")
)
def greedy(
  params: Params,
  config: T5Config,
  encoder_input_tokens: Int[Array, "b s"],
  max_decode_length: int,
  eos_id: int = 1,
) -> Int[Array, "b max_decode_length"]:
  """Takes the likeliest token each time; stops when every row has ended.

  Args:
    params: the whole tree.
    config: of the model.
    encoder_input_tokens: ids, 0 is padding; a row of padding ends at once.
    max_decode_length: tokens to decode at most, EOS included.
    eos_id: the token that ends a row.

  Returns:
    The decoded tokens, EOS included, 0 behind it.
  """
  sources = jnp.asarray(encoder_input_tokens)
  cache = init_cache(params, config, sources, max_decode_length)

  def goes_on(state) -> Bool[Array, ""]:
    index, _, ended, _, _ = state
    return (index < max_decode_length) & ~jnp.all(ended)

  def step(state):
    index, tokens, ended, decoded, cache = state
    logits, cache = decode_step(params, config, cache, tokens, index)
    tokens = jnp.where(ended, 0, jnp.argmax(logits, axis=-1))
    decoded = lax.dynamic_update_slice_in_dim(
      decoded, tokens[:, None], index, axis=1
    )
    return index + 1, tokens, ended | (tokens == eos_id), decoded, cache

  batch = sources.shape[0]
  start = (
    jnp.int32(0),
    jnp.zeros((batch,), jnp.int32),
    ~jnp.any(sources > 0, axis=1),
    jnp.zeros((batch, max_decode_length), jnp.int32),
    cache,
  )
  return lax.while_loop(goes_on, step, start)[3]


def decode_examples(
  params: Params,
  config: T5Config,
  inputs: Sequence[Sequence[int]],
  max_decode_length: int,
  batch_size: int,
  *,
  eos_id: int = 1,
  mesh: Mesh | None = None,
  progress: Progress | None = None,
) -> list[list[int]]:
  """Decodes examples of any lengths greedily, in few shapes.

  Args:
    params: the whole tree.
    config: of the model.
    inputs: token ids of each example, without padding.
    max_decode_length: tokens to decode at most.
    batch_size: rows at once; a multiple of the mesh's batch parts.
    eos_id: the token that ends a text.
    mesh: where the parameters lie; None for a single device.
    progress: called with (stage, done, total, unit).

  Returns:
    The tokens of each example, in the order given, up to and without EOS.
  """
  outputs: list[list[int]] = [[] for _ in inputs]
  done = 0
  groups = buckets.by_length([(len(tokens),) for tokens in inputs], batch_size)
  for (length,), members in groups:
    rows = buckets.pad([inputs[i] for i in members], batch_size, length)
    if mesh is not None:
      rows = jax.device_put(rows, partitioning.batch_sharding(mesh))
    decoded = partitioning.to_host(
      greedy(params, config, rows, max_decode_length, eos_id)
    )
    for i, row in zip(members, decoded, strict=False):
      stops = np.flatnonzero((row == eos_id) | (row == 0))
      outputs[i] = row[: stops[0] if len(stops) else None].tolist()
    done += len(members)
    if progress:
      progress("decode", done, len(inputs), "examples")
  return outputs
