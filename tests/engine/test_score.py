"""Scores are t5x's, however pairs are grouped."""

import golden
import numpy as np
import pytest

from t5cr.engine import buckets, score


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
  real = score._score_pairs

  def spy(params, config, sources, source_of, targets):
    encoded_rows.append(int((sources != 0).any(axis=1).sum()))
    return real(params, config, sources, source_of, targets)

  monkeypatch.setattr(score, "_score_pairs", spy)
  inputs = [[5, 6, 7]] * 6 + [[8, 9]] * 6
  score.score_examples(
    tiny.params, tiny.config, inputs, [[3, 1]] * 12, batch_size=12
  )
  assert encoded_rows == [2]


@pytest.mark.parametrize(
  ("length", "bucket"), [(0, 16), (16, 16), (17, 32), (512, 512), (513, 1024)]
)
def test_bucket_length(length, bucket):
  assert buckets.bucket_length(length) == bucket


def test_buckets_hold_each_example_once():
  lengths = [(n, n % 40) for n in range(1, 100)]
  members = []
  for shape, batch in buckets.by_length(lengths, 8):
    assert len(batch) <= 8
    for i in batch:
      assert all(a <= b for a, b in zip(lengths[i], shape, strict=True))
    members.extend(batch)
  assert sorted(members) == list(range(99))
