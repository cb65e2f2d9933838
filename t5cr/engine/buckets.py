"""Batches of few shapes from examples of many lengths.

Each shape is one compilation, so lengths are rounded up; and examples of
similar length share a batch, so little of it is padding.
"""

from collections.abc import Iterator, Sequence

import numpy as np

SMALLEST = 8


def bucket_length(length: int) -> int:
  """The next length of 8, 16, 24, 32, then four to an octave: 40, 48, 56, 64,
  80, …, so that at most a fifth of what is over 32 is padding."""
  octave = 1 << max(length - 1, 1).bit_length()
  step = max(SMALLEST, octave // 8)
  return max(-(-length // step) * step, step)


def rows_of_batch(examples: int, most: int, multiple: int = 1) -> int:
  """Rows of each batch where batches are to be of one size and full.

  Args:
    examples: in all.
    most: examples of a batch; a multiple of `multiple`.
    multiple: what the rows have to be a multiple of.

  Returns:
    At most `most`, at least `multiple`.
  """
  batches = max(-(-examples // most), 1)
  even = max(-(-examples // batches), 1)
  # Eights are few, so other sets of examples find the same shape.
  step = multiple * -(-SMALLEST // multiple)
  return min(-(-even // step) * step, most)


def by_length(
  lengths: Sequence[tuple[int, ...]], batch_size: int
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
  """Groups examples of similar lengths into batches.

  Args:
    lengths: of each example, one number a feature, the costliest first.
    batch_size: examples a batch; the last one may be smaller.

  Yields:
    (bucket length of each feature, indices of the batch's examples), the
    longest first, so that running out of memory shows at once.
  """
  known = [tuple(map(bucket_length, features)) for features in lengths]
  order = sorted(range(len(known)), key=lambda i: known[i], reverse=True)
  for start in range(0, len(order), batch_size):
    members = order[start : start + batch_size]
    longest = tuple(map(max, zip(*(known[i] for i in members), strict=True)))
    yield longest, np.array(members)


def pad(
  examples: Sequence[Sequence[int]], rows: int, length: int, value: int = 0
) -> np.ndarray:
  """Right-pads lists of numbers to int32 `[rows, length]`."""
  out = np.full((rows, length), value, np.int32)
  for row, tokens in zip(out, examples, strict=False):
    row[: len(tokens)] = tokens
  return out
