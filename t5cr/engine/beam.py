"""Beam search as t5x does it.

The same candidates, brevity penalty and order as `t5x.decoding.beam_search`;
done differently where the result is the same: beams do not copy their keys and
values but remember whose they are, each row stops on its own, and only the
candidates that can win are compared.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from t5cr.engine.cache import Cache, decode_step, init_cache
from t5cr.engine.config import T5Config
from t5cr.engine.layers import Params

# The score of a slot without a decode; t5x's. Half of it tells them apart.
NEG_INF = -1e7


class Decodes(NamedTuple):
  """Decodes of a batch.

  Attributes:
    tokens: int32 [b, n, l], EOS included, 0 behind it.
    scores: float32 [b, n], in increasing order, so the best decode is the last;
      `NEG_INF` where there are fewer decodes than were asked for, whose tokens
      are 0.
  """

  tokens: jax.Array
  scores: jax.Array


class _State(NamedTuple):
  """Of the search: n live beams and up to n finished ones of each input.

  Attributes:
    index: position that is decoded next.
    last: [b, n] token that each live beam decoded last.
    live: tokens, and log-probabilities in increasing order.
    finished: tokens, and scores in increasing order.
    ancestors: [b, n, l], see `decode_step`.
    cache: keys and values.
  """

  index: jax.Array
  last: jax.Array
  live: Decodes
  finished: Decodes
  ancestors: jax.Array
  cache: Cache


def brevity_penalty(alpha: float, length: int | jax.Array) -> Float[Array, ""]:
  """What divides a log-probability (https://arxiv.org/abs/1609.08144, 7)."""
  return jnp.power((5.0 + jnp.float32(length)) / 6.0, alpha)


@functools.partial(
  jax.jit,
  static_argnames=(
    "config",
    "max_decode_length",
    "num_decodes",
    "eos_id",
    "only_best",
  ),
)
def beam_search(
  params: Params,
  config: T5Config,
  encoder_input_tokens: Int[Array, "b s"],
  max_decode_length: int,
  num_decodes: int = 4,
  alpha: float = 0.6,
  *,
  eos_id: int = 1,
  only_best: bool = False,
) -> Decodes:
  """Searches for the likeliest decodes.

  Args:
    params: the whole tree.
    config: of the model.
    encoder_input_tokens: ids, 0 is padding; a row of padding has no decodes.
    max_decode_length: tokens to decode at most, EOS included.
    num_decodes: beams.
    alpha: of the brevity penalty, ((5 + length) / 6)^alpha; at least 0.
    eos_id: the token that ends a decode.
    only_best: stop as soon as the last decode of each row is certain; the
      others are then what has been found so far.

  Returns:
    The decodes that ended. Their score is their log-probability divided by the
    brevity penalty. Where none of an input did, its live beams, scored by
    their plain log-probability.
  """
  sources = jnp.asarray(encoder_input_tokens)
  longest = brevity_penalty(alpha, max_decode_length)

  def goes_on(state: _State) -> Bool[Array, ""]:
    best_live = jnp.max(state.live.scores, axis=1)
    scores = state.finished.scores
    # A beam's log-probability only falls, so this is all that it can reach.
    decided = scores[:, -1 if only_best else 0] > best_live / longest
    decided |= best_live < NEG_INF / 2
    return (state.index < max_decode_length) & ~jnp.all(decided)

  def step(state: _State) -> _State:
    slots = jnp.broadcast_to(jnp.arange(num_decodes), state.last.shape)
    ancestors = _put(state.ancestors, slots, state.index)
    logits, cache = decode_step(
      params, config, state.cache, state.last, state.index, ancestors
    )
    beams, tokens, log_probs = _candidates(logits, state.live.scores)
    ends = (tokens == eos_id) & (log_probs > NEG_INF / 2)
    texts = _put(_take(state.live.tokens, beams), tokens, state.index)
    scores = log_probs / brevity_penalty(alpha, state.index + 1)
    finished = _best(
      jnp.concatenate(
        [state.finished.scores, jnp.where(ends, scores, NEG_INF)], axis=1
      ),
      num_decodes,
    )
    live = _best(log_probs + jnp.where(ends, NEG_INF, 0.0), num_decodes)
    both = jnp.concatenate([state.finished.tokens, texts], axis=1)
    return _State(
      index=state.index + 1,
      last=_take(tokens, live.order),
      live=Decodes(_take(texts, live.order), live.scores),
      finished=Decodes(_take(both, finished.order), finished.scores),
      ancestors=_take(ancestors, _take(beams, live.order)),
      cache=cache,
    )

  cache = init_cache(params, config, sources, max_decode_length, num_decodes)
  start = _start(sources, max_decode_length, num_decodes, cache)
  return _result(lax.while_loop(goes_on, step, start))


class _Order(NamedTuple):
  """The best of some scores, increasing, and where they stood."""

  scores: jax.Array
  order: jax.Array


def _best(scores: Float[Array, "b k"], count: int) -> _Order:
  best, order = lax.top_k(scores, count)
  return _Order(jnp.flip(best, axis=1), jnp.flip(order, axis=1))


def _take(x: jax.Array, which: Int[Array, "b k"]) -> jax.Array:
  """Takes `which` along axis 1 of [b, n] or [b, n, l]."""
  which = which[..., None] if x.ndim == 3 else which
  return jnp.take_along_axis(x, which, axis=1)


def _put(
  x: Int[Array, "b k l"], values: Int[Array, "b k"], index: jax.Array
) -> Int[Array, "b k l"]:
  """Writes one position."""
  return lax.dynamic_update_slice_in_dim(x, values[..., None], index, axis=2)


def _start(
  sources: Int[Array, "b s"], length: int, num_decodes: int, cache: Cache
) -> _State:
  """One live beam of probability one for each input that is not padding."""
  batch = sources.shape[0]
  nothing = jnp.full((batch, num_decodes), NEG_INF, jnp.float32)
  blank = jnp.zeros((batch, num_decodes, length), jnp.int32)
  real = jnp.any(sources > 0, axis=1)
  return _State(
    index=jnp.int32(0),
    last=jnp.zeros((batch, num_decodes), jnp.int32),
    live=Decodes(blank, nothing.at[:, 0].set(jnp.where(real, 0.0, NEG_INF))),
    finished=Decodes(blank, nothing),
    ancestors=blank - 1,
    cache=cache,
  )


def _candidates(
  logits: Float[Array, "b n v"], live_log_probs: Float[Array, "b n"]
) -> tuple[Int[Array, "b k"], Int[Array, "b k"], Float[Array, "b k"]]:
  """The 2n likeliest continuations, so that n are left if n of them end.

  Returns:
    (which beam they continue, their last token, their log-probability), the
    likeliest first.
  """
  batch, num_decodes, vocab_size = logits.shape
  count = 2 * num_decodes
  # No beam has more than `count` of them; the vocabulary is read once.
  of_beam = min(count, vocab_size)
  top, tokens = lax.top_k(logits, of_beam)
  top -= jax.nn.logsumexp(logits, axis=-1, keepdims=True)
  top += live_log_probs[..., None]
  log_probs, which = lax.top_k(top.reshape(batch, -1), count)
  return which // of_beam, _take(tokens.reshape(batch, -1), which), log_probs


def _result(state: _State) -> Decodes:
  """Finished decodes; the live ones of inputs that have none."""
  live, finished = state.live, state.finished
  some = finished.scores[:, -1:] > NEG_INF
  scores = jnp.where(some, finished.scores, live.scores)
  tokens = jnp.where(some[..., None], finished.tokens, live.tokens)
  real = scores > NEG_INF / 2
  return Decodes(
    jnp.where(real[..., None], tokens, 0), jnp.where(real, scores, NEG_INF)
  )
