"""Decoding of examples: any lengths, any method, on one device or several."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_partitioning import run_on_four

from t5cr import errors
from t5cr.engine import beam, cache, decode, model, sampling, score
from t5cr.engine.decode import Decoding

pytestmark = pytest.mark.usefixtures("quick_compiles")


@pytest.fixture(scope="module")
def tiny():
  return golden.shallow("t5_1_1_tiny")


def some_inputs(lengths=(3, 24, 17, 5, 16, 9)):
  rng = np.random.default_rng(1)
  return [rng.integers(2, 128, n).tolist() for n in lengths]


def test_cached_logits_equal_uncached():
  tiny = golden.load("t5_1_1_tiny")
  sources = jnp.asarray(tiny.group("batch")["encoder_input_tokens"])
  inputs = np.random.default_rng(0).integers(2, 128, (4, 2, 9))
  inputs = inputs.astype(np.int32)
  inputs[:, :, 0] = 0
  apply = jax.jit(model.apply, static_argnums=1)
  whole = [
    apply(
      tiny.params,
      tiny.config,
      {
        "encoder_input_tokens": sources,
        "decoder_input_tokens": inputs[:, i],
        "decoder_target_tokens": np.ones_like(inputs[:, i]),
      },
    )
    for i in range(2)
  ]
  # Fed to changing slots, as beams are, or each to its own.
  slots = np.random.default_rng(0).permuted(np.tile([0, 1], (4, 9, 1)), axis=-1)
  slots = slots.swapaxes(1, 2).astype(np.int32)
  own = moved = cache.init_cache(tiny.params, tiny.config, sources, 9, 2)
  step = jax.jit(cache.decode_step, static_argnums=1)
  for t in range(9):
    fed = inputs[:, :, t]
    logits, own = step(tiny.params, tiny.config, own, fed, jnp.int32(t))
    for i in range(2):
      np.testing.assert_allclose(logits[:, i], whole[i][:, t], atol=2e-5)
    # Slot j is fed the text that has it; its ancestors are that text's.
    text_of = np.argsort(slots[:, :, t], axis=1)
    ancestors = np.where(np.arange(9) <= t, slots, -1)
    logits, moved = step(
      tiny.params,
      tiny.config,
      moved,
      np.take_along_axis(fed, text_of, 1),
      jnp.int32(t),
      np.take_along_axis(ancestors, text_of[..., None], 1),
    )
    logits = np.take_along_axis(
      np.asarray(logits), slots[:, :, t][..., None], 1
    )
    for i in range(2):
      np.testing.assert_allclose(logits[:, i], whole[i][:, t], atol=2e-5)


def test_examples_of_many_lengths_keep_their_order(tiny):
  inputs = some_inputs()
  sampling.greedy.clear_cache()
  seen = []
  outputs = decode.decode_examples(
    tiny.params,
    tiny.config,
    inputs,
    10,
    batch_size=2,
    progress=lambda *call: seen.append(call),
  )
  # Batches of 24, 16 and 8 tokens.
  assert sampling.greedy._cache_size() == 3
  for tokens, output in zip(inputs, outputs, strict=True):
    rows = np.array([tokens + [0] * (24 - len(tokens))], np.int32)
    alone = sampling.greedy(tiny.params, tiny.config, rows, 10)
    alone = np.asarray(alone.tokens)[0, 0]
    ends = np.flatnonzero(alone == 1)
    assert output == alone[: ends[0] if len(ends) else None].tolist()
  assert seen[-1] == ("decode", 6, 6, "examples")


def test_an_end_is_eos_and_not_a_token_of_padding():
  row = np.array([5, 0, 7, 1, 0, 0], np.int32)
  assert decode._text(row, 1) == [5, 0, 7]
  assert decode._text(row[:3], 1) == [5, 0, 7]
  assert decode._text(np.zeros(3, np.int32), 1) == []


def test_no_examples(tiny):
  assert decode.decode_examples(tiny.params, tiny.config, [], 4, 2) == []
  assert decode.decode_all(tiny.params, tiny.config, [], 4, 2) == []


def test_all_beams_best_first_without_empty_slots():
  tiny = golden.load("t5_1_1_tiny")
  sources = tiny.group("batch")["encoder_input_tokens"]
  # Two rows of one bucket; the second ends with fewer decodes than beams.
  inputs = [row[row > 0].tolist() for row in sources[1:3]]
  args = (tiny.params, tiny.config, inputs, 12, 4)
  decoding = Decoding("beam", 4)
  found = decode.decode_all(*args, decoding=decoding)
  expected = tiny.group("beam4")
  for decodes, rows, scores in zip(
    found, expected["decodes"][1:3], expected["scores"][1:3], strict=True
  ):
    real = scores > beam.NEG_INF
    assert len(decodes) == real.sum()
    for (tokens, value), row, number in zip(
      decodes, rows[real][::-1], scores[real][::-1], strict=True
    ):
      assert tokens == decode._text(row, 1)
      assert value == pytest.approx(number, abs=1e-4)
  assert [len(decodes) for decodes in found] == [4, 3]
  best = decode.decode_examples(*args, decoding=decoding)
  assert best == [decodes[0].tokens for decodes in found]


def test_scores_are_those_of_scoring_the_text(tiny):
  inputs = some_inputs((16, 9, 12))
  decoding = Decoding("sample", 2, temperature=0.7, seed=22)
  found = decode.decode_all(
    tiny.params, tiny.config, inputs, 10, 3, decoding=decoding
  )
  for i in range(decoding.num_decodes):
    texts = [decodes[i].tokens for decodes in found]
    assert all(0 not in text for text in texts), "not scored: choose a seed"
    texts = [text if len(text) == 10 else [*text, 1] for text in texts]
    expected = score.score_examples(tiny.params, tiny.config, inputs, texts, 3)
    np.testing.assert_allclose(
      [decodes[i].score for decodes in found], expected, atol=1e-4
    )


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"method": "best"}, "DECODER is 'best'; known are greedy, beam, sample"),
    ({"num_decodes": 0, "method": "beam"}, "NUM_DECODES is 0"),
    ({"num_decodes": 2.0, "method": "beam"}, "NUM_DECODES is 2.0"),
    ({"num_decodes": True, "method": "beam"}, "NUM_DECODES is True"),
    ({"num_decodes": 4}, "NUM_DECODES is 4, but DECODER = 'greedy'"),
    ({"alpha": -0.1}, "BEAM_ALPHA is -0.1"),
    ({"alpha": float("nan")}, "BEAM_ALPHA is nan"),
    ({"alpha": float("inf")}, "BEAM_ALPHA is inf"),
    ({"temperature": -1}, "TEMPERATURE is -1"),
    ({"temperature": "hot"}, "TEMPERATURE is 'hot'"),
    ({"top_k": -1}, "TOP_K is -1"),
    ({"top_k": 0.5}, "TOP_K is 0.5"),
    ({"top_p": 1.5}, "TOP_P is 1.5; it has to be a number from 0 to 1"),
    ({"top_p": None}, "TOP_P is None"),
    ({"top_k": 5, "top_p": 0.5}, "TOP_K is 5 and TOP_P is 0.5"),
    ({"seed": -1}, "DECODE_SEED is -1"),
    ({"seed": 2**32}, "DECODE_SEED is 4294967296"),
  ],
)
def test_a_value_out_of_range_is_refused_by_its_macro(values, message):
  with pytest.raises(errors.UsageError, match=message):
    Decoding(**values)


# Runs on four devices: prints what each way of decoding gives on each mesh.
_ON_FOUR = """
import json, sys
sys.path.insert(0, sys.argv[1])
import jax, numpy as np
import golden
from t5cr.engine import decode, partitioning

tiny = golden.load("t5_1_1_tiny")
generator = np.random.default_rng(0)
inputs = [generator.integers(2, 128, n).tolist() for n in (3, 9, 16, 5, 7, 14)]
result = {}
for sizes in ((1, 1, 1), (2, 1, 2)):
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(*sizes), jax.devices()[:int(np.prod(sizes))])
  params = jax.device_put(
    tiny.params, partitioning.state_shardings(tiny.params, mesh))
  for decoding in (
    decode.Decoding("beam", 3), decode.Decoding("sample", 3, top_p=0.9)):
    result[f"{decoding.method} {sizes}"] = decode.decode_all(
      params, tiny.config, inputs, 8, 4, decoding=decoding, mesh=mesh)
print(json.dumps(result))
"""


@pytest.mark.slow
def test_four_devices_decode_as_one_does():
  result = run_on_four(_ON_FOUR)
  for method in ("beam", "sample"):
    one, four = result[f"{method} (1, 1, 1)"], result[f"{method} (2, 1, 2)"]
    assert [len(decodes) for decodes in one] == [3] * 6
    for some, other in zip(one, four, strict=True):
      assert [text for text, _ in some] == [text for text, _ in other]
      np.testing.assert_allclose(
        [value for _, value in some], [value for _, value in other], atol=1e-4
      )
