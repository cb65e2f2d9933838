"""Examples into rows of fixed length, a whole group at once.

seqio packs in a `tf.while_loop` that appends one example after the other; here
a group of examples is laid out by sums and one scatter. The rows are the same,
token by token.
"""

from collections.abc import Mapping

import tensorflow as tf

_INPUTS, _TARGETS = "inputs", "targets"
_POSITIONS, _SEGMENTS = "_positions", "_segment_ids"

Tensors = dict[str, tf.Tensor]


def model_batches(
  examples: tf.data.Dataset,
  lengths: Mapping[str, int],
  batch_size: int,
  *,
  pack: bool,
  threads: int,
) -> tf.data.Dataset:
  """Batches for an encoder and a decoder.

  Args:
    examples: dicts of `inputs` and `targets`, int32 [length], not longer than
      `lengths`.
    lengths: of the rows.
    batch_size: rows of a batch.
    pack: put as many examples into a row as fit.
    threads: groups of examples to pack at once.

  Returns:
    Dicts of int32 [batch_size, length] with the names of
    `seqio.EncDecFeatureConverter`.
  """
  if pack:
    # A group fills at least one row; seqio's groups are of this size.
    groups = examples.padded_batch(max(lengths.values()))
    rows = groups.map(
      lambda group: pack_group(group, lengths), num_parallel_calls=threads
    )
    batches = rows.rebatch(batch_size, drop_remainder=True)
  else:
    batches = examples.padded_batch(
      batch_size,
      padded_shapes={name: [length] for name, length in lengths.items()},
      drop_remainder=True,
    )
  return batches.map(lambda batch: model_features(batch, pack=pack))


def pack_group(group: Tensors, lengths: Mapping[str, int]) -> Tensors:
  """Lays examples out in rows: each goes into the last row or begins a new one.

  Before, with lengths {'inputs': 8, 'targets': 4}:
    {'inputs': [[5, 6, 1], [7, 8, 1], [9, 1, 0]],
     'targets': [[3, 1], [4, 1], [2, 1]]}
  After:
    {'inputs': [[5, 6, 1, 7, 8, 1, 0, 0], [9, 1, 0, 0, 0, 0, 0, 0]],
     'inputs_positions': [[0, 1, 2, 0, 1, 2, 0, 0], [0, 1, 0, …]],
     'targets': [[3, 1, 4, 1], [2, 1, 0, 0]],
     'targets_positions': [[0, 1, 0, 1], [0, 1, 0, 0]],
     'inputs_segment_ids': [[1, 1, 1, 2, 2, 2, 0, 0], [1, 1, 0, …]],
     'targets_segment_ids': [[1, 1, 2, 2], [1, 1, 0, 0]]}

  seqio counts the segments of each side by itself; here they are the examples
  of a row, so that one without inputs or without targets does not shift the
  others against each other.

  Args:
    group: feature -> int32 [examples, padded length], 0 is padding.
    lengths: feature -> length of a row; no example is longer.

  Returns:
    feature, feature_positions and feature_segment_ids -> int32 [rows, length].
  """
  sizes = {
    name: tf.math.count_nonzero(tokens, axis=1, dtype=tf.int32)
    for name, tokens in group.items()
  }
  ends = {name: tf.cumsum(size) for name, size in sizes.items()}
  starts = {name: ends[name] - sizes[name] for name in group}
  begins = _begins_row(starts, ends, lengths)
  # Of each example: its row, and the first example of that row.
  row = tf.cumsum(tf.cast(begins, tf.int32)) - 1
  first = tf.gather(tf.squeeze(tf.where(begins), 1), row)
  number = tf.range(tf.size(row)) - tf.cast(first, tf.int32) + 1
  count = row[-1] + 1
  packed: Tensors = {}
  for name, tokens in group.items():
    offset = starts[name] - tf.gather(starts[name], first)
    place = row * lengths[name] + offset
    position = tf.range(tf.shape(tokens)[1])
    real = position < sizes[name][:, None]
    indices = tf.boolean_mask(place[:, None] + position, real)[:, None]
    shape = [count * lengths[name]]
    for key, values in (
      (name, tokens),
      (name + _POSITIONS, tf.broadcast_to(position, tf.shape(tokens))),
      (name + _SEGMENTS, tf.broadcast_to(number[:, None], tf.shape(tokens))),
    ):
      flat = tf.scatter_nd(indices, tf.boolean_mask(values, real), shape)
      packed[key] = tf.reshape(flat, [count, lengths[name]])
  return packed


def _begins_row(
  starts: Tensors, ends: Tensors, lengths: Mapping[str, int]
) -> tf.Tensor:
  """Which examples begin a row: bool [examples]."""
  # Were a row to begin with example i, the next one would with after[i].
  after = tf.reduce_min(
    tf.stack(
      [
        tf.searchsorted(ends[name], starts[name] + lengths[name], side="right")
        for name in starts
      ]
    ),
    axis=0,
  )
  count = tf.size(after)
  # A place behind the last example, where the walk ends.
  after = tf.concat([after, [count]], axis=0)
  begins = tf.one_hot(0, count + 1, dtype=tf.int32)
  # The walk along `after` in strides of 1, 2, 4, … marks what it passes.
  for _ in range(max(lengths.values()).bit_length()):
    begins = tf.maximum(
      begins, tf.math.unsorted_segment_max(begins, after, count + 1)
    )
    after = tf.gather(after, after)
  return begins[:-1] > 0


def model_features(batch: Tensors, *, pack: bool) -> Tensors:
  """The features of `seqio.EncDecFeatureConverter`, of a whole batch.

  Args:
    batch: `inputs` and `targets`, int32 [batch, length], and their positions
      and segment ids if they are packed.
    pack: whether they are.

  Returns:
    int32 [batch, length] each: `encoder_input_tokens`, `decoder_target_tokens`,
    `decoder_input_tokens` (the targets, shifted), `decoder_loss_weights` (1 for
    a target) and, if packed, segment ids and positions of both sides.
  """
  targets = batch[_TARGETS]
  shifted = _shifted(targets)
  packed: Tensors = {}
  if pack:
    for side, name in (("encoder", _INPUTS), ("decoder", _TARGETS)):
      packed[side + _SEGMENTS] = batch[name + _SEGMENTS]
      packed[side + _POSITIONS] = batch[name + _POSITIONS]
    segments = packed["decoder" + _SEGMENTS]
    same = tf.cast(segments == _shifted(segments), tf.int32)
    shifted *= same
  return {
    "encoder_input_tokens": batch[_INPUTS],
    "decoder_target_tokens": targets,
    "decoder_input_tokens": shifted,
    "decoder_loss_weights": _real(targets),
    **packed,
  }


def _real(tokens: tf.Tensor) -> tf.Tensor:
  return tf.cast(tokens != 0, tf.int32)


def _shifted(rows: tf.Tensor) -> tf.Tensor:
  """Rows moved to the right by one, 0 coming in."""
  return tf.pad(rows[:, :-1], [[0, 0], [1, 0]])
