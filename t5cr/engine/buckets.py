"""Batches of few shapes from examples of many lengths.

Each shape is one compilation, so lengths are rounded up to a power of two; and
examples of similar length share a batch, so little of it is padding.
"""

from collections.abc import Iterator, Sequence

import numpy as np

SMALLEST = 16


def bucket_length(length: int) -> int:
  """The smallest power of two, at least 16, that holds `length` tokens."""
  return max(SMALLEST, 1 << (max(length, 1) - 1).bit_length())


def by_length(
  lengths: Sequence[tuple[int, ...]], batch_size: int
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
  """Groups examples into batches of one bucket.

  Args:
    lengths: of each example, one number a feature.
    batch_size: examples a batch, the last one of a bucket may be smaller.

  Yields:
    (bucket length of each feature, indices of the batch's examples), the
    longest first, so that running out of memory shows at once.
  """
  groups: dict[tuple[int, ...], list[int]] = {}
  for i, features in enumerate(lengths):
    key = tuple(bucket_length(length) for length in features)
    groups.setdefault(key, []).append(i)
  for key in sorted(groups, reverse=True):
    members = np.array(groups[key])
    for start in range(0, len(members), batch_size):
      yield key, members[start : start + batch_size]


def pad(
  examples: Sequence[Sequence[int]], rows: int, length: int
) -> np.ndarray:
  """Right-pads token lists with 0 to int32 `[rows, length]`."""
  out = np.zeros((rows, length), np.int32)
  for row, tokens in zip(out, examples, strict=False):
    row[: len(tokens)] = tokens
  return out
