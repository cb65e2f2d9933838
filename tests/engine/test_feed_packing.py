"""Packing a group at once gives the rows that seqio packs one by one."""

import numpy as np
import pytest
import seqio
import tensorflow as tf

from t5cr.engine.feed import packing


def examples(seed: int, lengths: dict[str, int], count: int) -> list[dict]:
  """Tokens of any length up to the longest; some fill a row by themselves."""
  rng = np.random.default_rng(seed)
  return [
    {
      name: rng.integers(1, 50, rng.integers(1, length + 1), np.int32)
      for name, length in lengths.items()
    }
    for _ in range(count)
  ]


def dataset(made: list[dict]) -> tf.data.Dataset:
  spec = tf.TensorSpec([None], tf.int32)
  return tf.data.Dataset.from_generator(
    lambda: iter(made), output_signature=dict.fromkeys(made[0], spec)
  )


def batches(
  made: list[dict], lengths: dict[str, int], size: int, pack: bool
) -> tuple[list[dict], list[dict]]:
  """Ours and seqio's."""
  ours = packing.model_batches(
    dataset(made), lengths, size, pack=pack, threads=2
  )
  theirs = seqio.EncDecFeatureConverter(pack=pack)(dataset(made), lengths)
  theirs = theirs.batch(size, drop_remainder=True)
  return list(ours.as_numpy_iterator()), list(theirs.as_numpy_iterator())


def assert_same(ours: list[dict], theirs: list[dict]) -> None:
  assert len(ours) == len(theirs) > 0
  for left, right in zip(ours, theirs, strict=True):
    assert left.keys() == right.keys()
    for name in left:
      assert left[name].dtype == right[name].dtype == np.int32
      np.testing.assert_array_equal(left[name], right[name], name)


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize(
  "lengths",
  [
    {"inputs": 24, "targets": 9},
    {"targets": 16, "inputs": 1},
  ],
)
def test_rows_are_those_of_seqio(lengths, pack):
  assert_same(*batches(examples(0, lengths, 130), lengths, 3, pack))


def test_short_examples_fill_rows():
  lengths = {"inputs": 12, "targets": 12}
  made = examples(1, {"inputs": 2, "targets": 3}, 200)
  ours, theirs = batches(made, lengths, 2, True)
  assert_same(ours, theirs)
  assert max(batch["decoder_segment_ids"].max() for batch in ours) >= 4


def test_zeros_behind_an_example_change_nothing():
  lengths = {"inputs": 9, "targets": 9}
  rng = np.random.default_rng(2)
  sizes = rng.integers(1, 6, 30)
  group = {
    name: tf.constant(np.arange(1, 6) * (np.arange(5) < sizes[:, None]))
    for name in lengths
  }
  longer = {
    name: tf.pad(rows, [[0, 0], [0, 3]]) for name, rows in group.items()
  }
  packed, same = (packing.pack_group(g, lengths) for g in (group, longer))
  for name in packed:
    np.testing.assert_array_equal(packed[name], same[name])


def test_a_group_may_be_a_single_example():
  lengths = {"inputs": 6, "targets": 4}
  ours, theirs = batches(examples(3, lengths, 1), lengths, 1, True)
  assert_same(ours, theirs)
