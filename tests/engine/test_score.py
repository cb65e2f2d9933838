"""Scores are t5x's, however pairs are grouped."""

import golden
import numpy as np
import pytest

from t5cr.engine import buckets, score

pytestmark = pytest.mark.usefixtures("quick_compiles")


@pytest.fixture(params=["t5_1_0_tiny", "t5_1_1_tiny"])
def tiny(request):
  return golden.load(request.param)


def test_score_batch(tiny):
  scores = score.score_batch(tiny.params, tiny.config, tiny.group("batch"))
  np.testing.assert_allclose(
    scores,
    tiny.numbers["score_per_example"],
    rtol=1e-5,
    atol=1e-4,
    err_msg=golden.CHANGED,
  )


def unpadded(tokens):
  return [row[row > 0].tolist() for row in tokens]


def test_score_examples(tiny):
  batch = tiny.group("batch")
  scores = score.score_examples(
    tiny.params,
    tiny.config,
    unpadded(batch["encoder_input_tokens"]),
    unpadded(batch["decoder_target_tokens"]),
    batch_size=3,
  )
  np.testing.assert_allclose(
    scores, tiny.numbers["score_per_example"], rtol=1e-5, atol=1e-4
  )


def test_shared_inputs_score_as_if_alone(tiny):
  rng = np.random.default_rng(2)
  pool = [rng.integers(2, 128, n).tolist() for n in (4, 30, 18)]
  inputs = [pool[i] for i in rng.integers(0, 3, 40)]
  targets = [rng.integers(2, 128, n).tolist() for n in rng.integers(1, 25, 40)]
  seen = []
  together = score.score_examples(
    tiny.params,
    tiny.config,
    inputs,
    targets,
    batch_size=16,
    progress=lambda *call: seen.append(call),
  )
  alone = [
    score.score_examples(tiny.params, tiny.config, [i], [t], 1)[0]
    for i, t in zip(inputs, targets, strict=True)
  ]
  np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-4)
  assert seen[-1] == ("score", 40, 40, "pairs")


def test_each_distinct_input_is_encoded_once(tiny, monkeypatch):
  encoded_rows = []
  real = score._score_rows

  def spy(params, config, sources, rows):
    encoded_rows.append(int((sources != 0).any(axis=1).sum()))
    return real(params, config, sources, rows)

  monkeypatch.setattr(score, "_score_rows", spy)
  inputs = [[5, 6, 7]] * 6 + [[8, 9]] * 6
  # Some targets share a beginning, others would not fit one row.
  targets = [[3, 1], [3, 4, 1], *([7] * n + [1] for n in (30, 31, 60, 90))] * 2
  scores = score.score_examples(tiny.params, tiny.config, inputs, targets, 12)
  assert encoded_rows == [2]
  alone = [
    score.score_examples(tiny.params, tiny.config, [i], [t], 1)[0]
    for i, t in zip(inputs, targets, strict=True)
  ]
  np.testing.assert_allclose(scores, alone, rtol=1e-5, atol=1e-4)


def test_many_targets_of_one_input_take_several_rows(tiny, monkeypatch):
  monkeypatch.setattr(score, "_MOST_NODES", 16)
  shapes = []
  real = score._score_rows

  def spy(params, config, sources, rows):
    shapes.append(((sources != 0).any(axis=1).sum(), rows.tokens.shape))
    return real(params, config, sources, rows)

  monkeypatch.setattr(score, "_score_rows", spy)
  rng = np.random.default_rng(0)
  targets = [rng.integers(2, 128, n).tolist() for n in rng.integers(1, 9, 30)]
  targets += [rng.integers(2, 128, 20).tolist(), []]
  inputs = [[9, 8, 7]] * len(targets)
  scores = score.score_examples(tiny.params, tiny.config, inputs, targets, 64)
  assert [encoded for encoded, _ in shapes] == [1]
  alone = [
    score.score_examples(tiny.params, tiny.config, [i], [t], 1)[0]
    for i, t in zip(inputs, targets, strict=True)
  ]
  np.testing.assert_allclose(scores, alone, rtol=1e-5, atol=1e-4)
  assert scores[-1] == 0.0


def test_nothing_to_score(tiny):
  assert score.score_examples(tiny.params, tiny.config, [], [], 4).shape == (0,)


@pytest.mark.parametrize(
  ("length", "bucket"),
  [(0, 8), (16, 16), (17, 24), (33, 40), (65, 80), (512, 512), (513, 640)],
)
def test_bucket_length(length, bucket):
  assert buckets.bucket_length(length) == bucket


@pytest.mark.parametrize(
  ("examples", "most", "multiple", "rows"),
  [(0, 64, 1, 8), (10, 64, 1, 16), (70, 64, 1, 40), (70, 64, 12, 36)]
  + [(2, 3, 1, 3), (1000, 64, 1, 64), (5, 64, 4, 8)],
)
def test_batches_are_of_one_size(examples, most, multiple, rows):
  assert buckets.rows_of_batch(examples, most, multiple) == rows


def test_buckets_hold_each_example_once():
  lengths = [(n, n % 40) for n in range(1, 100)]
  members = []
  for shape, batch in buckets.by_length(lengths, 8):
    assert len(batch) <= 8
    for i in batch:
      assert all(a <= b for a, b in zip(lengths[i], shape, strict=True))
    members.extend(batch)
  assert sorted(members) == list(range(99))
