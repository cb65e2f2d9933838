"""Decoding: greedy, beam search or sampling, for examples of any lengths."""

import dataclasses
import math
import numbers
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from t5cr import errors
from t5cr.engine import beam, buckets, partitioning, sampling
from t5cr.engine.beam import Decodes
from t5cr.engine.config import T5Config
from t5cr.engine.layers import Params
from t5cr.progress import Progress

METHODS = ("greedy", "beam", "sample")
# Temperatures up to this are greedy, as in t5x.
_LOWEST_TEMPERATURE = 1e-4


@dataclasses.dataclass(frozen=True)
class Decoding:
  """How texts are decoded; the values mean what they mean in t5x.

  Attributes:
    method: 'greedy', 'beam' or 'sample'.
    num_decodes: beams, or samples of each input; 1 for 'greedy'.
    alpha: brevity penalty of 'beam': log-probabilities are divided by
      ((5 + length) / 6)^alpha.
    temperature: of 'sample': divides the logits; 0 takes the likeliest token.
    top_k: of 'sample': draw from so many of the likeliest tokens; 0 for all.
    top_p: of 'sample': draw from the likeliest tokens that together have this
      probability; 0 for all. Not together with `top_k`.
    seed: of 'sample'; the same seed draws the same texts.
  """

  method: str = "greedy"
  num_decodes: int = 1
  alpha: float = 0.6
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 0.0
  seed: int = 0

  def __post_init__(self):
    """Raises UsageError for a value out of range; it names the gin macro."""
    if self.method not in METHODS:
      raise errors.UsageError(
        f"DECODER is {self.method!r}; known are {', '.join(METHODS)}."
      )
    _check_whole("NUM_DECODES", self.num_decodes, 1)
    _check_whole("TOP_K", self.top_k, 0)
    _check_whole("DECODE_SEED", self.seed, 0, 2**32 - 1)
    _check_number("BEAM_ALPHA", self.alpha)
    _check_number("TEMPERATURE", self.temperature)
    _check_number("TOP_P", self.top_p, 1)
    if self.method == "greedy" and self.num_decodes > 1:
      raise errors.UsageError(
        f"NUM_DECODES is {self.num_decodes}, but DECODER = 'greedy' has one "
        "decode of each input. Set DECODER to 'beam' or 'sample'."
      )
    if self.top_k and self.top_p:
      raise errors.UsageError(
        f"TOP_K is {self.top_k} and TOP_P is {self.top_p}; at most one of them "
        "can limit what is drawn. Set the other to 0."
      )


def _check_whole(
  macro: str, value: Any, least: int, most: float = math.inf
) -> None:
  whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
  if not whole or not least <= int(value) <= most:
    limit = f" to {most}" if most < math.inf else " up"
    raise errors.UsageError(
      f"{macro} is {value!r}; it has to be a whole number from {least}{limit}."
    )


def _check_number(macro: str, value: Any, most: float = math.inf) -> None:
  number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if not number or not 0 <= float(value) <= most or math.isinf(value):
    limit = f" to {most}" if most < math.inf else " up"
    raise errors.UsageError(
      f"{macro} is {value!r}; it has to be a number from 0{limit}."
    )


class Decoded(NamedTuple):
  """One decode.

  Attributes:
    tokens: ids up to and without EOS.
    score: log-probability in nats; for beams that ended, divided by the brevity
      penalty.
  """

  tokens: list[int]
  score: float


GREEDY = Decoding()


def decode_batch(
  params: Params,
  config: T5Config,
  encoder_input_tokens: jax.Array | np.ndarray,
  max_decode_length: int,
  decoding: Decoding = GREEDY,
  *,
  indices: jax.Array | np.ndarray | None = None,
  eos_id: int = 1,
  only_best: bool = False,
) -> Decodes:
  """Decodes one batch.

  Args:
    params: the whole tree.
    config: of the model.
    encoder_input_tokens: [b, s] ids, 0 is padding; a row of padding decodes
      nothing.
    max_decode_length: tokens to decode at most, EOS included.
    decoding: the method.
    indices: int [b], of the examples: samples depend on them and on the seed,
      not on the batch; None numbers the rows.
    eos_id: the token that ends a text.
    only_best: the caller reads the last decode of each row only, which a beam
      search can know before it knows the others.

  Returns:
    Tokens [b, num_decodes, max_decode_length] and scores [b, num_decodes], in
    increasing order of score, as t5x has them.
  """
  encoder_input_tokens = jnp.asarray(encoder_input_tokens)
  if decoding.method == "beam":
    return beam.beam_search(
      params,
      config,
      encoder_input_tokens,
      max_decode_length,
      decoding.num_decodes,
      decoding.alpha,
      eos_id=eos_id,
      only_best=only_best,
    )
  if decoding.method == "greedy":
    return sampling.greedy(
      params, config, encoder_input_tokens, max_decode_length, eos_id=eos_id
    )
  if indices is None:
    indices = np.arange(encoder_input_tokens.shape[0], dtype=np.int32)
  # Sampling at temperature 0 gives `num_decodes` copies of the greedy decode.
  cold = decoding.temperature <= _LOWEST_TEMPERATURE
  keys = sampling.example_keys(np.uint32(decoding.seed), jnp.asarray(indices))
  return sampling.sample(
    params,
    config,
    encoder_input_tokens,
    max_decode_length,
    keys,
    decoding.num_decodes,
    temperature=None if cold else decoding.temperature,
    top_k=0 if cold else decoding.top_k,
    top_p=None if cold else decoding.top_p or None,
    eos_id=eos_id,
  )


def decode_examples(
  params: Params,
  config: T5Config,
  inputs: Sequence[Sequence[int]],
  max_decode_length: int,
  batch_size: int,
  *,
  decoding: Decoding = GREEDY,
  eos_id: int = 1,
  mesh: Mesh | None = None,
  progress: Progress | None = None,
) -> list[list[int]]:
  """Decodes examples of any lengths, in few shapes; the best of each.

  Args:
    params: the whole tree.
    config: of the model.
    inputs: token ids of each example, without padding.
    max_decode_length: tokens to decode at most.
    batch_size: rows at once; a multiple of the mesh's batch parts.
    decoding: the method.
    eos_id: the token that ends a text.
    mesh: where the parameters lie; None for a single device.
    progress: called with (stage, done, total, unit).

  Returns:
    The tokens of each example, in the order given, up to and without EOS.
  """
  outputs: list[list[int]] = [[] for _ in inputs]
  for i, tokens, _ in _decoded_rows(
    params,
    config,
    inputs,
    max_decode_length,
    batch_size,
    decoding,
    eos_id,
    mesh,
    progress,
    only_best=True,
  ):
    outputs[i] = _text(tokens[-1], eos_id)
  return outputs


def decode_all(
  params: Params,
  config: T5Config,
  inputs: Sequence[Sequence[int]],
  max_decode_length: int,
  batch_size: int,
  *,
  decoding: Decoding = GREEDY,
  eos_id: int = 1,
  mesh: Mesh | None = None,
  progress: Progress | None = None,
) -> list[list[Decoded]]:
  """All decodes of examples, with scores; arguments as of `decode_examples`.

  Returns:
    The decodes of each example, in the order given, the best first. There are
    `decoding.num_decodes` of each, or fewer where a beam search ended with
    fewer.
  """
  outputs: list[list[Decoded]] = [[] for _ in inputs]
  for i, tokens, scores in _decoded_rows(
    params,
    config,
    inputs,
    max_decode_length,
    batch_size,
    decoding,
    eos_id,
    mesh,
    progress,
    only_best=False,
  ):
    outputs[i] = [
      Decoded(_text(row, eos_id), float(score))
      for row, score in zip(tokens[::-1], scores[::-1], strict=True)
      if score > beam.NEG_INF / 2
    ]
  return outputs


def _decoded_rows(
  params: Params,
  config: T5Config,
  inputs: Sequence[Sequence[int]],
  max_decode_length: int,
  batch_size: int,
  decoding: Decoding,
  eos_id: int,
  mesh: Mesh | None,
  progress: Progress | None,
  *,
  only_best: bool,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
  """Yields (index of an example, its tokens [n, l], its scores [n])."""
  done = 0
  parts = partitioning.batch_parts(mesh)
  size = buckets.rows_of_batch(len(inputs), batch_size, parts)
  groups = buckets.by_length([(len(tokens),) for tokens in inputs], size)
  for (length,), members in groups:
    rows = buckets.pad([inputs[i] for i in members], size, length)
    indices = np.zeros(size, np.int32)
    indices[: len(members)] = members
    if mesh is not None:
      sharding = partitioning.batch_sharding(mesh)
      rows = partitioning.place(rows, sharding)
      indices = partitioning.place(indices, sharding)
    decodes = decode_batch(
      params,
      config,
      rows,
      max_decode_length,
      decoding,
      indices=indices,
      eos_id=eos_id,
      only_best=only_best,
    )
    tokens, scores = map(partitioning.to_host, decodes)
    yield from zip(members.tolist(), tokens, scores, strict=False)
    done += len(members)
    if progress:
      progress("decode", done, len(inputs), "examples")


def _text(row: np.ndarray, eos_id: int) -> list[int]:
  """A row's tokens up to and without EOS, or all of them."""
  stops = np.flatnonzero(row == eos_id)
  return np.trim_zeros(row[: stops[0] if len(stops) else None], "b").tolist()
