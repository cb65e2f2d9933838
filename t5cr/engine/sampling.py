"""Greedy decoding and sampling: one token after another for each decode."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from t5cr.engine.beam import Decodes
from t5cr.engine.cache import decode_step, init_cache
from t5cr.engine.config import T5Config
from t5cr.engine.layers import Params

# (logits [b, n, v], position) -> tokens [b, n].
Choose = Callable[[jax.Array, jax.Array], jax.Array]


@functools.partial(
  jax.jit, static_argnames=("config", "max_decode_length", "eos_id")
)
def greedy(
  params: Params,
  config: T5Config,
  encoder_input_tokens: Int[Array, "b s"],
  max_decode_length: int,
  *,
  eos_id: int = 1,
) -> Decodes:
  """Takes the likeliest token each time; stops when every row has ended.

  Args:
    params: the whole tree.
    config: of the model.
    encoder_input_tokens: ids, 0 is padding; a row of padding ends at once.
    max_decode_length: tokens to decode at most, EOS included.
    eos_id: the token that ends a row.

  Returns:
    One decode of each row; its score is its log-probability in nats.
  """
  return _decode(
    params,
    config,
    encoder_input_tokens,
    max_decode_length,
    1,
    lambda logits, index: jnp.argmax(logits, axis=-1),
    eos_id,
  )


@functools.partial(
  jax.jit,
  static_argnames=(
    "config",
    "max_decode_length",
    "num_decodes",
    "top_k",
    "eos_id",
  ),
)
def sample(
  params: Params,
  config: T5Config,
  encoder_input_tokens: Int[Array, "b s"],
  max_decode_length: int,
  keys: Array,
  num_decodes: int = 1,
  *,
  temperature: float | None = 1.0,
  top_k: int = 0,
  top_p: float | None = None,
  eos_id: int = 1,
) -> Decodes:
  """Draws tokens from the model's distribution.

  Args:
    params: the whole tree.
    config: of the model.
    encoder_input_tokens: ids, 0 is padding; a row of padding ends at once.
    max_decode_length: tokens to decode at most, EOS included.
    keys: [b] random keys (`example_keys`).
    num_decodes: samples of each input.
    temperature: above 0; divides the logits. None takes the likeliest token.
    top_k: draw from so many of the likeliest tokens, and those as likely as
      the last of them; 0 for all.
    top_p: draw from the fewest likeliest tokens whose probability is together
      at least this, and those as likely as the last of them; None for all.
    eos_id: the token that ends a decode.

  Returns:
    The samples of each input; their score is their log-probability under the
    model, in nats, whatever they were drawn from.
  """
  fold_in = jax.vmap(jax.random.fold_in, (None, 0))
  keys = jax.vmap(fold_in, (0, None))(keys, jnp.arange(num_decodes))

  def choose(logits: jax.Array, index: jax.Array) -> jax.Array:
    if temperature is None:
      return jnp.argmax(logits, axis=-1)
    logits = logits / temperature
    if top_k:
      logits = keep_top_k(logits, top_k)
    if top_p is not None:
      logits = keep_top_p(logits, top_p)
    draw = jax.vmap(jax.vmap(_draw, (0, 0, None)), (0, 0, None))
    return draw(keys, logits, index)

  return _decode(
    params,
    config,
    encoder_input_tokens,
    max_decode_length,
    num_decodes,
    choose,
    eos_id,
  )


def _draw(key: Array, logits: jax.Array, index: jax.Array) -> jax.Array:
  return jax.random.categorical(jax.random.fold_in(key, index), logits)


@jax.jit
def example_keys(seed: np.uint32, indices: Int[Array, " b"]) -> Array:
  """A key for each example, whatever batch it is in."""
  return jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(
    indices
  )


def keep_top_k(logits: Float[Array, "*b v"], k: int) -> Float[Array, "*b v"]:
  """Leaves the k largest logits, and those equal to the last of them."""
  largest, _ = lax.top_k(logits, min(k, logits.shape[-1]))
  return jnp.where(logits >= largest[..., -1:], logits, -jnp.inf)


def keep_top_p(
  logits: Float[Array, "*b v"], p: float | jax.Array
) -> Float[Array, "*b v"]:
  """Leaves the nucleus (https://arxiv.org/abs/1904.09751).

  That is the smallest set of likeliest tokens whose probability is at least p,
  and those as likely as the last of them.
  """
  probs = jax.nn.softmax(logits, axis=-1)

  def halve(_, bounds):
    low, high = bounds
    middle = low + (high - low) // 2
    mass = jnp.where(probs >= _as_float(middle), probs, 0.0)
    enough = jnp.sum(mass, axis=-1, keepdims=True) >= p
    return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

  # Floats from 0 up are in the order of their bits, so 31 halvings find the
  # exact threshold; sorting the vocabulary takes longer.
  highest = jnp.max(probs, axis=-1, keepdims=True)
  above = lax.bitcast_convert_type(highest, jnp.int32) + 1
  low, _ = lax.fori_loop(0, 31, halve, (jnp.zeros_like(above), above))
  return jnp.where(probs >= _as_float(low), logits, -jnp.inf)


def _as_float(bits: jax.Array) -> jax.Array:
  return lax.bitcast_convert_type(bits, jnp.float32)


def _decode(
  params: Params,
  config: T5Config,
  encoder_input_tokens: Int[Array, "b s"],
  max_decode_length: int,
  num_decodes: int,
  choose: Choose,
  eos_id: int,
) -> Decodes:
  """Decodes by choosing one token at a time; sorts by log-probability."""
  sources = jnp.asarray(encoder_input_tokens)
  shape = (sources.shape[0], num_decodes)

  def goes_on(state) -> Bool[Array, ""]:
    index, _, ended, _, _, _ = state
    return (index < max_decode_length) & ~jnp.all(ended)

  def step(state):
    index, last, ended, decoded, scores, cache = state
    logits, cache = decode_step(params, config, cache, last, index)
    tokens = choose(logits, index).astype(jnp.int32)
    chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    log_probs = chosen - jax.nn.logsumexp(logits, axis=-1)
    scores += jnp.where(ended, 0.0, log_probs)
    tokens = jnp.where(ended, 0, tokens)
    decoded = lax.dynamic_update_slice_in_dim(
      decoded, tokens[..., None], index, axis=2
    )
    return index + 1, tokens, ended | (tokens == eos_id), decoded, scores, cache

  padding = ~jnp.any(sources > 0, axis=1, keepdims=True)
  start = (
    jnp.int32(0),
    jnp.zeros(shape, jnp.int32),
    jnp.broadcast_to(padding, shape),
    jnp.zeros((*shape, max_decode_length), jnp.int32),
    jnp.zeros(shape, jnp.float32),
    init_cache(params, config, sources, max_decode_length, num_decodes),
  )
  _, _, _, decoded, scores, _ = lax.while_loop(goes_on, step, start)
  order = jnp.argsort(scores, axis=-1)
  return Decodes(
    jnp.take_along_axis(decoded, order[..., None], axis=1),
    jnp.take_along_axis(scores, order, axis=1),
  )
