"""Log-likelihoods of targets, each distinct input encoded once."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from t5cr.engine import buckets, losses, model, partitioning
from t5cr.engine.config import T5Config
from t5cr.engine.layers import Params
from t5cr.engine.model import Batch
from t5cr.progress import Progress


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


@functools.partial(jax.jit, static_argnames=("config",))
def _score_pairs(
  params: Params,
  config: T5Config,
  sources: Int[Array, "u s"],
  source_of: Int[Array, " b"],
  targets: Int[Array, "b t"],
) -> Float[Array, " b"]:
  """Scores targets against encoded sources; row i has source `source_of[i]`."""
  encoded = model.encode(params, config, sources)[source_of]
  batch = {
    "encoder_input_tokens": sources[source_of],
    "decoder_input_tokens": jnp.pad(targets[:, :-1], ((0, 0), (1, 0))),
    "decoder_target_tokens": targets,
  }
  logits = model.decode(params, config, encoded, batch)
  scores = losses.log_likelihood(logits, targets, targets > 0)
  return jnp.sum(scores, axis=-1)


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

  Pairs that share an input (a probe's two candidates, say) share its encoding
  when they meet in a batch; pairs are ordered so that they do.

  Args:
    params: the whole tree.
    config: of the model.
    inputs: token ids of each pair's input, without padding.
    targets: token ids of each pair's target, EOS included, without padding.
    batch_size: pairs at once; a multiple of the mesh's batch parts.
    mesh: where the parameters lie; None for a single device.
    progress: called with (stage, done, total, unit).

  Returns:
    [number of pairs] float32, L(target | input) in nats, in the order given.
  """
  scores = np.zeros(len(inputs), np.float32)
  keys = [tuple(int(token) for token in tokens) for tokens in inputs]
  # Sorting brings equal inputs together; groups keep this order.
  order = sorted(range(len(keys)), key=lambda i: keys[i])
  lengths = [(len(keys[i]), len(targets[i])) for i in order]
  done = 0
  for (source_length, target_length), members in buckets.by_length(
    lengths, batch_size
  ):
    pairs = [order[member] for member in members]
    row_of: dict[tuple[int, ...], int] = {}
    source_of = np.zeros(batch_size, np.int32)
    for row, pair in enumerate(pairs):
      source_of[row] = row_of.setdefault(keys[pair], len(row_of))
    rows = batch_size
    while rows % 2 == 0 and rows // 2 >= max(len(row_of), 8):
      rows //= 2
    sources = buckets.pad(list(row_of), rows, source_length)
    target_rows = buckets.pad(
      [targets[pair] for pair in pairs], batch_size, target_length
    )
    if mesh is not None:
      parts = partitioning.batch_sharding(mesh)
      even = rows % partitioning.batch_parts(mesh) == 0
      sources = jax.device_put(
        sources, parts if even else partitioning.replicated(mesh)
      )
      source_of, target_rows = jax.device_put((source_of, target_rows), parts)
    batch_scores = _score_pairs(params, config, sources, source_of, target_rows)
    scores[pairs] = partitioning.to_host(batch_scores)[: len(pairs)]
    done += len(pairs)
    if progress:
      progress("score", done, len(inputs), "pairs")
  return scores
