"""Contenders compute the same; so do independent sums, and each other."""

import dataclasses

import jax
import numpy as np
import pytest

from benchmarks import contenders, decoding, flops, mixture, probes
from benchmarks.contenders import engine, tokens
from benchmarks.side_by_side import Disagreement
from t5cr.engine import model

CONFIG = dataclasses.replace(contenders.TINY, vocab_size=256)


@pytest.fixture(scope="module")
def params():
  return engine.random_params(CONFIG)


@pytest.fixture(scope="module")
def ours(params):
  return engine.Engine(CONFIG, params)


def log_softmax(logits):
  logits = np.asarray(logits, np.float64)
  logits -= logits.max(-1, keepdims=True)
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.long
def test_gradient_is_that_of_the_summed_cross_entropy(params, ours):
  batch = tokens.random_batch(CONFIG, 2, 8, 6)
  log_probs = log_softmax(model.apply(params, CONFIG, batch))
  targets = batch["decoder_target_tokens"]
  loss = -np.take_along_axis(log_probs, targets[..., None], -1).sum()
  found = ours.gradient(batch)
  assert found[0] == pytest.approx(loss, rel=1e-5)
  # A step along the gradient of the embedding lowers the loss as its norm says.
  gradient = ours._gradient(params, batch)[1]
  step = jax.tree.map(np.zeros_like, params)
  part = np.asarray(gradient["token_embedder"]["embedding"])
  assert found[2] == pytest.approx(np.linalg.norm(part), rel=1e-5)
  step["token_embedder"]["embedding"] = part / found[2] * 2e-2
  moved = jax.tree.map(np.subtract, params, step)
  slope = (found[0] - ours._gradient(moved, batch)[0][0]) / 2e-2
  assert slope == pytest.approx(found[2], rel=0.05)


@pytest.mark.long
def test_training_steps_lower_the_loss_and_leave_the_weights(params, ours):
  batch = tokens.random_batch(CONFIG, 2, 8, 6)
  first = ours.gradient(batch)[0]
  losses = ours.trainer()(batch, 3)
  assert losses[0] == pytest.approx(first, rel=1e-5)
  assert losses[2] < losses[1] < losses[0]
  assert ours.gradient(batch)[0] == pytest.approx(first)


@pytest.mark.long
def test_packed_batches_and_their_examples_have_the_same_loss(ours):
  rng = np.random.default_rng(0)
  examples = list(
    zip(
      tokens.random_texts(rng, CONFIG, [3, 5, 4]),
      tokens.random_texts(rng, CONFIG, [4, 2, 3]),
      strict=True,
    )
  )
  packed = {
    name: np.zeros((2, length), np.int32)
    for name, length in {
      "encoder_input_tokens": 10,
      "encoder_segment_ids": 10,
      "decoder_target_tokens": 8,
      "decoder_input_tokens": 8,
      "decoder_segment_ids": 8,
    }.items()
  }
  for row, segment, (source, target), (at, to) in (
    (0, 1, examples[0], (0, 0)),
    (0, 2, examples[1], (3, 4)),
    (1, 1, examples[2], (0, 0)),
  ):
    packed["encoder_input_tokens"][row, at : at + len(source)] = source
    packed["encoder_segment_ids"][row, at : at + len(source)] = segment
    places = slice(to, to + len(target))
    packed["decoder_target_tokens"][row, places] = target
    packed["decoder_input_tokens"][row, places] = [0, *target[:-1]]
    packed["decoder_segment_ids"][row, places] = segment
  packed["decoder_loss_weights"] = np.float32(
    packed["decoder_target_tokens"] > 0
  )
  assert mixture.unpacked(packed) == examples
  (batch,) = mixture.in_batches(examples, 4, by_length=False)
  np.testing.assert_allclose(
    ours.gradient(packed), ours.gradient(batch), rtol=1e-4
  )
  by_length = mixture.in_batches(examples, 2, by_length=True)
  assert [len(part["encoder_input_tokens"]) for part in by_length] == [2, 1]
  assert by_length[0]["encoder_input_tokens"].shape == (2, 4)
  work = mixture.Work.of("three", [packed])
  assert work.target_tokens() == 9
  assert "3 examples, 9 target tokens" in work.describe()


def test_scores_are_those_of_the_judge(params, ours):
  pairs = probes.invented(CONFIG, 6, length=5)
  case = decoding.Case("pairs", pairs.inputs, 5, 3, 0.6)
  judge = decoding.Judge(CONFIG, params)
  texts = [target[:-1] for target in pairs.targets]
  np.testing.assert_allclose(
    ours.score(pairs.inputs, pairs.targets, 4),
    judge.token_scores(case, texts).sum(-1),
    rtol=1e-5,
  )


@pytest.fixture(scope="module")
def talker(params):
  """Weights whose texts vary, a case, and its greedy texts."""
  weights = decoding.talkative(params, end_scale=4.0)
  case = decoding.mixed(CONFIG, 8, inputs=8, length=8, batch_size=8)
  decoded = engine.Engine(CONFIG, weights).decode(case.inputs, 8, 8)
  return weights, case, decoded


def test_greedy_texts_vary_and_are_the_likeliest_token_each_time(talker):
  weights, case, texts = talker
  assert len({len(text) for text in texts}) > 1
  assert len({token for text in texts for token in text}) > 8
  # What was decoded, as decoder inputs: each next token has to be the argmax.
  ended = [[*text, tokens.EOS][: case.length] for text in texts]
  targets = tokens.padded(ended, case.length)
  batch = tokens.batch(tokens.padded(case.inputs), targets)
  best = np.asarray(model.apply(weights, CONFIG, batch)).argmax(-1)
  np.testing.assert_array_equal(np.where(targets > 0, best, 0), targets)


def test_other_texts_are_refused(talker):
  weights, case, texts = talker
  judge = decoding.Judge(CONFIG, weights)
  decoding.check_greedy(judge, case, texts, texts)
  row = max(range(len(texts)), key=lambda i: len(texts[i]))
  place = len(texts[row]) - 1
  other = [list(text) for text in texts]
  other[row][place] = (other[row][place] + 1) % 100 + 3
  message = f"another token {place} of text {row}"
  with pytest.raises(Disagreement, match=message):
    decoding.check_greedy(judge, case, other, texts)
  with pytest.raises(Disagreement, match="score of a best text"):
    decoding.check_beams(judge, case, other, texts, same_search=True)


def test_samples_take_neighbours_from_everywhere():
  sample = probes.spread(100, 24)
  assert len(sample) == 24
  assert sample[0] == 0
  assert sample[-1] == 99
  assert probes.spread(5, 24) == [0, 1, 2, 3, 4]


def test_flops_are_what_xla_counts(params):
  # XLA counts element-wise work too, which weighs more in a small model.
  config = dataclasses.replace(
    CONFIG, emb_dim=256, mlp_dim=1024, num_heads=4, vocab_size=4096
  )
  batch = tokens.random_batch(config, 2, 64, 32)
  lowered = jax.jit(lambda p, b: model.apply(p, config, b)).lower(
    jax.eval_shape(lambda: engine.random_params(config)), batch
  )
  counted = lowered.cost_analysis()["flops"]
  expected = 2 * flops.forward_flops(config, 64, 32)
  assert expected <= counted <= 1.1 * expected
  assert flops.step_flops(config, 2, 64, 32) == pytest.approx(3 * expected)


def test_peers_that_are_absent_say_how_to_get_them(monkeypatch):
  def missing(name):
    raise ImportError(f"No module named {name!r}")

  monkeypatch.setattr(contenders.importlib, "import_module", missing)
  found = contenders.absent()
  assert "github.com/google-research/t5x" in found["t5x"]
  assert "pip install '.[hf]'" in found["transformers"]
  assert contenders.absent(["t5x"])["transformers"] == "not asked for"


def test_transformers_computes_the_same(params, ours):
  pytest.importorskip("torch")
  pytest.importorskip("transformers")
  from benchmarks.contenders import hugging_face

  theirs = hugging_face.HuggingFace(CONFIG, params)
  batch = tokens.random_batch(CONFIG, 2, 8, 6)
  np.testing.assert_allclose(
    theirs.gradient(batch), ours.gradient(batch), rtol=2e-4
  )
  np.testing.assert_allclose(
    theirs.trainer()(batch, 2), ours.trainer()(batch, 2), rtol=2e-3
  )
  pairs = probes.invented(CONFIG, 4, length=5)
  np.testing.assert_allclose(
    theirs.score(pairs.inputs, pairs.targets, 3),
    ours.score(pairs.inputs, pairs.targets, 3),
    rtol=1e-4,
  )
