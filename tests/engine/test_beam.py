"""Beam search finds t5x's beams, and those of a search without a cache."""

import types

import golden
import jax
import numpy as np
import pytest
import uncached

from t5cr.engine import beam, model
from t5cr.engine.config import T5Config

LENGTH = 12

pytestmark = pytest.mark.usefixtures("quick_compiles")


@pytest.fixture(scope="module", params=["t5_1_0_tiny", "t5_1_1_tiny"])
def tiny(request):
  return golden.load(request.param)


def sources_of(tiny):
  return tiny.group("batch")["encoder_input_tokens"]


def search(tiny, sources, *args, **kwargs):
  decodes = beam.beam_search(
    tiny.params, tiny.config, sources, LENGTH, *args, **kwargs
  )
  return np.asarray(decodes.tokens), np.asarray(decodes.scores)


def expect_the_plain_search(tiny, sources, count, alpha, eos_id):
  """Compares with `uncached.beams`; returns the expected decodes."""
  tokens, scores = search(tiny, sources, count, alpha, eos_id=eos_id)
  everything = []
  for source, rows, values in zip(sources, tokens, scores, strict=True):
    log_probs = uncached.Uncached(tiny, source, LENGTH, count)
    expected = uncached.beams(log_probs, count, alpha, LENGTH, eos_id)
    everything.append(expected)
    lacking = count - len(expected)
    assert (values[:lacking] == beam.NEG_INF).all()
    assert not rows[:lacking].any()
    for (score, text), row, value in zip(
      expected[::-1], rows[lacking:], values[lacking:], strict=True
    ):
      assert row.tolist() == text + [0] * (LENGTH - len(text))
      assert value == pytest.approx(score, abs=1e-4)
  return everything


@pytest.mark.parametrize("count", [1, 4])
def test_beams_are_those_of_t5x(tiny, count):
  tokens, scores = search(tiny, sources_of(tiny), count, 0.6)
  expected = tiny.group(f"beam{count}")
  np.testing.assert_array_equal(
    tokens, expected["decodes"], err_msg=golden.CHANGED
  )
  np.testing.assert_allclose(
    scores, expected["scores"], rtol=0, atol=1e-4, err_msg=golden.CHANGED
  )


def test_beams_that_end_are_those_of_a_search_without_cache():
  # Common tokens play EOS, so that decodes end early, late and not at all.
  tiny = golden.shallow("t5_1_1_tiny")
  lengths = set()
  for alpha in (0.0, 0.6, 1.5):
    for eos_id in (9, 39):
      found = expect_the_plain_search(tiny, sources_of(tiny), 4, alpha, eos_id)
      lengths |= {len(text) for row in found for _, text in row}
  assert len(lengths) > 6 and max(lengths) == LENGTH


def test_more_beams_than_tokens():
  config = T5Config(6, 16, 2, 1, 1, 8, 16, dropout_rate=0.0)
  params = model.init(config, jax.random.key(3))
  few = types.SimpleNamespace(config=config, params=params)
  sources = np.array([[2, 3, 4, 5], [5, 5, 0, 0]], np.int32)
  found = expect_the_plain_search(few, sources, 8, 0.6, 1)
  assert all(len(row) == 8 for row in found)


def test_one_step_leaves_slots_empty():
  # After one token at most one beam has ended; the others have no decode.
  tiny = golden.shallow("t5_1_1_tiny")
  sources = sources_of(tiny)
  log_probs = uncached.Uncached(tiny, sources[2], LENGTH, 4)
  first = int(log_probs([[]])[0].argmax())
  decodes = beam.beam_search(
    tiny.params, tiny.config, sources, 1, 3, eos_id=first
  )
  assert decodes.tokens[2].tolist() == [[0], [0], [first]]
  assert decodes.scores[2, :2].tolist() == [beam.NEG_INF] * 2
  assert -20 < decodes.scores[2, 2] < 0


def test_a_padding_row_decodes_nothing_and_changes_nothing():
  tiny = golden.shallow("t5_1_1_tiny")
  sources = sources_of(tiny).copy()
  whole, whole_scores = search(tiny, sources, 4, 0.6, eos_id=39)
  sources[1] = 0
  tokens, scores = search(tiny, sources, 4, 0.6, eos_id=39)
  assert not tokens[1].any() and (scores[1] == beam.NEG_INF).all()
  kept = [0, 2, 3]
  np.testing.assert_array_equal(tokens[kept], whole[kept])
  np.testing.assert_allclose(scores[kept], whole_scores[kept], atol=1e-5)


def test_the_best_is_the_same_when_it_is_all_that_is_asked_for():
  tiny = golden.shallow("t5_1_1_tiny")
  for alpha in (0.0, 0.6):
    asked = (tiny, sources_of(tiny), 4, alpha)
    tokens, scores = search(*asked, eos_id=39)
    best, best_scores = search(*asked, eos_id=39, only_best=True)
    np.testing.assert_array_equal(best[:, -1], tokens[:, -1])
    np.testing.assert_allclose(best_scores[:, -1], scores[:, -1], atol=1e-5)
