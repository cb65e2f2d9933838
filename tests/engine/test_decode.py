"""Greedy decoding gives t5x's tokens; the cache changes nothing."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5cr.engine import decode, model


@pytest.fixture(params=["t5_1_0_tiny", "t5_1_1_tiny"])
def tiny(request):
  return golden.load(request.param)


def test_greedy(tiny):
  tokens = decode.greedy(
    tiny.params, tiny.config, tiny.group("batch")["encoder_input_tokens"], 12
  )
  np.testing.assert_array_equal(
    tokens, tiny.numbers["greedy/decodes"], err_msg=golden.CHANGED
  )


def test_cached_logits_equal_uncached(tiny):
  sources = jnp.asarray(tiny.group("batch")["encoder_input_tokens"])
  inputs = np.random.default_rng(0).integers(2, 128, (4, 9)).astype(np.int32)
  inputs[:, 0] = 0
  whole = model.apply(
    tiny.params,
    tiny.config,
    {
      "encoder_input_tokens": sources,
      "decoder_input_tokens": inputs,
      "decoder_target_tokens": np.ones_like(inputs),
    },
  )
  cache = decode.init_cache(tiny.params, tiny.config, sources, 9)
  for i in range(9):
    logits, cache = decode.decode_step(
      tiny.params, tiny.config, cache, inputs[:, i], jnp.int32(i)
    )
    np.testing.assert_allclose(logits, whole[:, i], atol=2e-5)


def test_rows_end_at_eos_and_padding_rows_at_once(tiny):
  # A token that the first row decodes early is taken for EOS.
  sources = np.array(tiny.group("batch")["encoder_input_tokens"])
  free = np.asarray(decode.greedy(tiny.params, tiny.config, sources, 8))
  eos = int(free[0, 2])
  tokens = np.asarray(
    decode.greedy(tiny.params, tiny.config, sources, 8, eos_id=eos)
  )
  end = int(np.flatnonzero(free[0] == eos)[0])
  np.testing.assert_array_equal(tokens[0, : end + 1], free[0, : end + 1])
  assert (tokens[0, end + 1 :] == 0).all()
  sources[1] = 0
  assert not np.asarray(decode.greedy(tiny.params, tiny.config, sources, 8))[
    1
  ].any()


def test_examples_of_many_lengths_keep_their_order(tiny):
  rng = np.random.default_rng(1)
  inputs = [rng.integers(2, 128, n).tolist() for n in (3, 40, 17, 5, 16, 33)]
  seen = []
  outputs = decode.decode_examples(
    tiny.params,
    tiny.config,
    inputs,
    10,
    batch_size=2,
    progress=lambda *call: seen.append(call),
  )
  for tokens, output in zip(inputs, outputs, strict=True):
    alone = np.asarray(
      decode.greedy(tiny.params, tiny.config, np.array([tokens]), 10)
    )[0]
    ends = np.flatnonzero((alone == 1) | (alone == 0))
    assert output == alone[: ends[0] if len(ends) else None].tolist()
  assert seen[-1] == ("decode", 6, 6, "examples")


def test_no_examples():
  tiny = golden.load("t5_1_0_tiny")
  assert decode.decode_examples(tiny.params, tiny.config, [], 4, 2) == []


def test_compiles_once_a_bucket(tiny):
  decode.greedy.clear_cache()
  inputs = [[5] * n for n in (1, 9, 16, 12, 17, 20)]
  decode.decode_examples(tiny.params, tiny.config, inputs, 4, batch_size=2)
  assert decode.greedy._cache_size() == 2
  jax.clear_caches()
