"""Log-likelihoods of targets, each distinct input encoded once."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from t5cr.engine import (
  buckets,
  layers,
  losses,
  model,
  partitioning,
  tries,
)
from t5cr.engine.config import T5Config
from t5cr.engine.layers import Params
from t5cr.engine.model import Batch
from t5cr.progress import Progress

# Nodes of a decoder row. Each looks at all others, so many small rows beat a
# large one; T5-CR's targets have 128 tokens at most.
_MOST_NODES = 128


@functools.partial(jax.jit, static_argnames=("config",))
def score_batch(
  params: Params, config: T5Config, batch: Batch
) -> Float[Array, " b"]:
  """Sum of the target tokens' log-probabilities, in nats.

  Args:
    params: the whole tree.
    config: of the model.
    batch: an unpacked batch with seqio's feature names; decoder_loss_weights
      says which target tokens count.

  Returns:
    L(target | input) of each row, not normalised by length (t5x's
    `score_batch` returns the same).
  """
  logits = model.apply(params, config, batch)
  token_scores = losses.log_likelihood(
    logits, batch["decoder_target_tokens"], batch["decoder_loss_weights"]
  )
  return jnp.sum(token_scores, axis=-1)


class _Rows(NamedTuple):
  """Decoder rows: tries of r rows, n nodes and e tokens to score.

  Attributes:
    source_of: int [r], row of the sources that each decodes.
    tokens: int [r, n], see `tries.Trie`.
    depths: int [r, n].
    last: int [r, n], -1 behind the end.
    parents: int [r, e].
    wanted: int [r, e].
  """

  source_of: Any
  tokens: Any
  depths: Any
  last: Any
  parents: Any
  wanted: Any


@functools.partial(jax.jit, static_argnames=("config",))
def _score_rows(
  params: Params, config: T5Config, sources: Int[Array, "u s"], rows: _Rows
) -> Float[Array, "r e"]:
  """Log-probabilities of each row's wanted tokens, in nats."""
  encoded = model.encode(params, config, sources)[rows.source_of]
  position = layers.relative_position_bias(
    params["decoder"]["relpos_bias"],
    config,
    rows.depths,
    rows.depths,
    bidirectional=False,
  )
  seen = (sources > 0)[rows.source_of][:, None]
  x = model.run_decoder(
    params,
    config,
    model.embed(params, config, rows.tokens),
    layers.Bias(tries.ancestors(rows.last), position),
    encoded,
    layers.Bias(seen),
    layers.Dropout(0.0),
  )
  logits = model.to_logits(params, config, x)
  log_z = jax.nn.logsumexp(logits, axis=-1)

  def of_row(logits, log_z, parents, wanted):
    return logits[parents, wanted] - log_z[parents]

  return jax.vmap(of_row)(logits, log_z, rows.parents, rows.wanted)


def score_examples(
  params: Params,
  config: T5Config,
  inputs: Sequence[Sequence[int]],
  targets: Sequence[Sequence[int]],
  batch_size: int,
  *,
  mesh: Mesh | None = None,
  progress: Progress | None = None,
) -> np.ndarray:
  """Scores pairs of any lengths, in few shapes.

  All targets of an input (a probe's two candidates, say) are one row of the
  decoder, in which a beginning that they share stands once (`tries`). An input
  whose targets need several rows is encoded once where these meet in a batch;
  rows are ordered so that they do.

  Args:
    params: the whole tree.
    config: of the model.
    inputs: token ids of each pair's input, without padding.
    targets: token ids of each pair's target, EOS included, without padding.
    batch_size: pairs at once, about; a multiple of the mesh's batch parts.
    mesh: where the parameters lie; None for a single device.
    progress: called with (stage, done, total, unit).

  Returns:
    [number of pairs] float32, L(target | input) in nats, in the order given.
  """
  scores = np.zeros(len(inputs), np.float32)
  sources, rows = _rows(inputs, targets)
  if not rows:
    return scores
  parts = partitioning.batch_parts(mesh)
  most = max(batch_size * len(rows) // len(inputs) // parts, 1) * parts
  size = buckets.rows_of_batch(len(rows), most, parts)
  lengths = [(len(trie.tokens), len(sources[i])) for i, trie in rows]
  wanted_length = buckets.bucket_length(max(len(t.wanted) for _, t in rows))
  done = 0
  for shape, members in buckets.by_length(lengths, size):
    batch = [rows[member] for member in members]
    log_probs = partitioning.to_host(
      _score_rows(
        params,
        config,
        *_placed(*_arrays(batch, sources, size, shape, wanted_length), mesh),
      )
    )
    for (_, trie), row in zip(batch, log_probs, strict=False):
      scores[trie.targets] = np.bincount(
        trie.owners, row[: len(trie.owners)], minlength=len(trie.targets)
      )
      done += len(trie.targets)
    if progress:
      progress("score", done, len(inputs), "pairs")
  return scores


def _rows(
  inputs: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> tuple[list[tries.Tokens], list[tuple[int, tries.Trie]]]:
  """Distinct inputs, and what is decoded from each: (number of it, trie)."""
  of_input: dict[tries.Tokens, list[tuple[int, tries.Tokens]]] = {}
  for number, pair in enumerate(zip(inputs, targets, strict=True)):
    source, target = (tuple(map(int, tokens)) for tokens in pair)
    of_input.setdefault(source, []).append((number, target))
  rows = [
    (i, trie)
    for i, numbered in enumerate(of_input.values())
    for trie in tries.build(numbered, _MOST_NODES)
  ]
  return list(of_input), rows


def _arrays(
  batch: Sequence[tuple[int, tries.Trie]],
  sources: Sequence[tries.Tokens],
  size: int,
  shape: tuple[int, ...],
  wanted_length: int,
) -> tuple[np.ndarray, _Rows]:
  """(Sources, rows) of a batch, padded; as few sources as halving allows."""
  place: dict[int, int] = {}
  source_of = np.zeros(size, np.int32)
  for row, (source, _) in enumerate(batch):
    source_of[row] = place.setdefault(source, len(place))
  encoded = size
  while encoded % 2 == 0 and encoded // 2 >= max(len(place), 8):
    encoded //= 2
  nodes, source_length = shape
  kept = [trie for _, trie in batch]
  return (
    buckets.pad([sources[i] for i in place], encoded, source_length),
    _Rows(
      source_of,
      buckets.pad([trie.tokens for trie in kept], size, nodes),
      buckets.pad([trie.depths for trie in kept], size, nodes),
      buckets.pad([trie.last for trie in kept], size, nodes, -1),
      buckets.pad([trie.parents for trie in kept], size, wanted_length),
      buckets.pad([trie.wanted for trie in kept], size, wanted_length),
    ),
  )


def _placed(
  sources: np.ndarray, rows: _Rows, mesh: Mesh | None
) -> tuple[Any, _Rows]:
  """The arrays where the mesh wants them."""
  if mesh is None:
    return sources, rows
  parts = partitioning.batch_sharding(mesh)
  even = len(sources) % partitioning.batch_parts(mesh) == 0
  where = parts if even else partitioning.replicated(mesh)
  return (
    partitioning.place(sources, where),
    _Rows(*(partitioning.place(each, parts) for each in rows)),
  )
