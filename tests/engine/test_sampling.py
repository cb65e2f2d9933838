"""Greedy decoding and sampling: t5x's tokens, and the right frequencies."""

import golden
import jax
import numpy as np
import pytest
import scipy.stats
import uncached

from t5cr.engine import decode, sampling
from t5cr.engine.decode import Decoding

LENGTH = 12

pytestmark = pytest.mark.usefixtures("quick_compiles")


@pytest.fixture(scope="module", params=["t5_1_0_tiny", "t5_1_1_tiny"])
def tiny(request):
  return golden.load(request.param)


@pytest.fixture(scope="module")
def newer():
  return golden.shallow("t5_1_1_tiny")


def sources_of(tiny):
  return np.array(tiny.group("batch")["encoder_input_tokens"])


def test_greedy_tokens_are_those_of_t5x(tiny):
  decodes = sampling.greedy(tiny.params, tiny.config, sources_of(tiny), LENGTH)
  np.testing.assert_array_equal(
    decodes.tokens[:, 0],
    tiny.numbers["greedy/decodes"],
    err_msg=golden.CHANGED,
  )


@pytest.mark.parametrize("eos_id", [1, 9])
def test_greedy_is_that_of_a_search_without_cache(newer, eos_id):
  sources = sources_of(newer)
  tokens, scores = sampling.greedy(
    newer.params, newer.config, sources, LENGTH, eos_id=eos_id
  )
  lengths = set()
  for source, row, score in zip(sources, tokens, scores, strict=True):
    log_probs = uncached.Uncached(newer, source, LENGTH, 1)
    expected, text = uncached.greedy(log_probs, LENGTH, eos_id)
    assert row[0].tolist() == text + [0] * (LENGTH - len(text))
    assert float(score[0]) == pytest.approx(expected, abs=1e-4)
    lengths.add(len(text))
  assert (len(lengths) > 1) == (eos_id == 9)


def test_a_padding_row_ends_at_once(newer):
  sources = sources_of(newer)
  sources[1] = 0
  tokens, scores = sampling.greedy(newer.params, newer.config, sources, LENGTH)
  assert not tokens[1].any() and scores[1].tolist() == [0.0]
  assert tokens[0].all()


@pytest.mark.parametrize(
  "decoding",
  [
    Decoding("sample", 2, temperature=0.0),
    Decoding("sample", 2, temperature=0.0, top_p=0.5),
    Decoding("sample", 2, top_k=1),
    Decoding("sample", 2, temperature=2e-4),
  ],
)
def test_sampling_that_leaves_no_choice_is_greedy(newer, decoding):
  args = (newer.params, newer.config, sources_of(newer), LENGTH)
  tokens, scores = decode.decode_batch(*args, decoding)
  greedy = sampling.greedy(*args)
  for i in range(2):
    np.testing.assert_array_equal(tokens[:, i], greedy.tokens[:, 0])
    np.testing.assert_allclose(scores[:, i], greedy.scores[:, 0], atol=1e-4)


def first_tokens(tiny, decoding):
  """First tokens of 1024 samples of one input; their log-probabilities."""
  source = sources_of(tiny)[:1]
  log_probs = uncached.Uncached(tiny, source[0], 1, 1)([[]])[0]
  tokens, _ = decode.decode_batch(
    tiny.params, tiny.config, np.repeat(source, 16, axis=0), 1, decoding
  )
  return np.asarray(tokens).ravel(), log_probs.astype(np.float64)


def softmax(logits):
  weights = np.exp(logits - logits.max())
  return weights / weights.sum()


@pytest.mark.parametrize(
  "decoding",
  [
    Decoding("sample", 64, seed=5),
    Decoding("sample", 64, temperature=0.6, seed=6),
    Decoding("sample", 64, top_k=7, seed=7),
    Decoding("sample", 64, top_p=0.5, seed=8),
  ],
  ids=["all", "temperature", "top_k", "top_p"],
)
def test_first_tokens_have_the_models_frequencies(newer, decoding):
  drawn, log_probs = first_tokens(newer, decoding)
  probs = softmax(log_probs / decoding.temperature)
  order = np.argsort(-probs)
  kept = len(probs)
  if decoding.top_k:
    kept = decoding.top_k
  if decoding.top_p:
    kept = int(np.searchsorted(probs[order].cumsum(), decoding.top_p)) + 1
    assert 2 < kept < len(probs) / 2
  assert set(drawn) <= set(order[:kept])
  expected = probs[order[:kept]] / probs[order[:kept]].sum() * len(drawn)
  seen = np.bincount(drawn, minlength=len(probs))[order[:kept]]
  # Rare tokens count together.
  often = expected >= 10
  if not often.all():
    expected = np.append(expected[often], expected[~often].sum())
    seen = np.append(seen[often], seen[~often].sum())
  assert scipy.stats.chisquare(seen, expected).pvalue > 0.01


def test_masks_leave_the_likeliest_and_their_equals():
  logits = np.log([0.1, 0.4, 0.1, 0.3, 0.1]).astype(np.float32)
  kept = {
    k: np.isfinite(sampling.keep_top_k(logits, k)).tolist() for k in (1, 2, 9)
  }
  assert kept[1] == [False, True, False, False, False]
  assert kept[2] == [False, True, False, True, False]
  assert kept[9] == [True] * 5
  assert np.isfinite(sampling.keep_top_k(logits, 3)).all()
  for p, count in ((0.0, 1), (0.39, 1), (0.41, 2), (0.69, 2), (0.75, 5)):
    assert np.isfinite(sampling.keep_top_p(logits, p)).sum() == count, p


@pytest.mark.parametrize("p", [0.01, 0.3, 0.9, 0.999, 1.0])
def test_nucleus_is_that_of_a_sorted_vocabulary(p):
  logits = np.random.default_rng(0).normal(0, 3, (6, 500)).astype(np.float32)
  kept = np.isfinite(np.asarray(jax.jit(sampling.keep_top_p)(logits, p)))
  for row, mask in zip(logits, kept, strict=True):
    order = np.argsort(-row)
    mass = softmax(row.astype(np.float64))[order].cumsum()
    # Sums of float32 may put the border a hair aside.
    least = int(np.searchsorted(mass, p - 1e-6)) + 1
    most = int(np.searchsorted(mass, p + 1e-6)) + 1
    assert least <= mask.sum() <= most
    assert mask[order[: mask.sum()]].all()


def test_samples_depend_on_seed_and_example_not_on_the_batch(newer):
  rng = np.random.default_rng(1)
  inputs = [rng.integers(2, 128, n).tolist() for n in (3, 16, 7, 11, 5, 9)]

  def decoded(batch_size, num_decodes, seed):
    return decode.decode_all(
      newer.params,
      newer.config,
      inputs,
      LENGTH,
      batch_size,
      decoding=Decoding("sample", num_decodes, seed=seed),
    )

  first, again = decoded(4, 3, 11), decoded(6, 3, 11)
  for one, other in zip(first, again, strict=True):
    assert [text for text, _ in one] == [text for text, _ in other]
    scores = [score for _, score in one]
    assert scores == sorted(scores, reverse=True)
    assert len({tuple(text) for text, _ in one}) == 3
  # One more sample leaves the others as they are.
  more = decoded(6, 4, 11)
  for one, other in zip(first, more, strict=True):
    assert all(text in [t for t, _ in other] for text, _ in one)
  other_seed = decoded(6, 3, 12)
  assert all(
    one[0].tokens != other[0].tokens
    for one, other in zip(first, other_seed, strict=True)
  )
  # The same input twice has different samples.
  inputs = [inputs[0]] * 2
  one, other = decoded(6, 3, 11)
  assert one[0].tokens != other[0].tokens
