"""Batches larger than the data, examples without tokens or with too many."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5cr.engine import evaluate, feed, score, train
from t5cr.engine.train_config import TrainData

LENGTHS = {"inputs": 24, "targets": 12}
FEW = [("one", "first"), ("two two", "second"), ("three", "x")]
EOS = 1


def tokens(text: str, length: int) -> tuple[int, ...]:
  """seqio's bytes and EOS, as `append_eos_after_trim` cuts them."""
  return (*(byte + 3 for byte in text.encode()[: length - 1]), EOS)


def batches(name, size, pack, count=3, lengths=LENGTHS):
  data = TrainData(
    mixture_or_task_name=name,
    task_feature_lengths=lengths,
    batch_size=size,
    pack=pack,
    shuffle=False,
  )
  iterator = feed.train_batches(data)
  return [next(iterator) for _ in range(count)]


def examples_in(batch):
  """(inputs, targets) of every example of a batch, packed or not."""
  sources, targets = (
    np.asarray(batch[name])
    for name in ("encoder_input_tokens", "decoder_target_tokens")
  )
  own = [(sources > 0).astype(int), (targets > 0).astype(int)]
  left, right = (
    np.asarray(batch.get(f"{side}_segment_ids", alone))
    for side, alone in zip(("encoder", "decoder"), own, strict=True)
  )
  return [
    (tuple(sources[row][left[row] == n]), tuple(targets[row][right[row] == n]))
    for row in range(len(sources))
    for n in range(1, max(left[row].max(), right[row].max()) + 1)
  ]


@pytest.mark.parametrize("pack", [False, True])
def test_a_batch_larger_than_the_data_repeats_them(task, pack):
  found = batches(task(FEW), 32, pack)
  wanted = [(tokens(i, 24), tokens(t, 12)) for i, t in FEW]
  counts = collections.Counter()
  for batch in found:
    assert {len(value) for value in batch.values()} == {32}
    assert set(examples_in(batch)) <= set(wanted)
    counts.update(examples_in(batch))
  # Over and over, so that none comes much more often than another.
  assert set(counts) == set(wanted)
  assert max(counts.values()) - min(counts.values()) <= 3 * 32 * pack + 1


def loss_and_gradients(config, untrained, batch):
  from t5cr.engine import losses, model

  def loss_fn(params):
    logits = model.apply(params, config, batch, None)
    loss, weight = losses.cross_entropy(
      logits, batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    )
    return loss / jnp.maximum(weight, 1.0)

  return jax.jit(jax.value_and_grad(loss_fn))(untrained.params)


def test_repeated_examples_have_the_loss_of_the_examples(
  task, config, untrained
):
  name = task(FEW)
  (once,) = batches(name, 3, False, 1)
  (often,) = batches(name, 30, False, 1)
  one, two = (
    loss_and_gradients(config, untrained, batch) for batch in (once, often)
  )
  np.testing.assert_allclose(one[0], two[0], rtol=1e-5)
  for left, right in zip(
    jax.tree.leaves(one[1]), jax.tree.leaves(two[1]), strict=True
  ):
    np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("probe", [False, True])
def test_evaluating_few_examples_in_a_large_batch(task, untrained, probe):
  name = task(FEW, probe=probe)
  results = [
    evaluate.evaluate(
      untrained,
      [name],
      evaluate.EvalConfig(LENGTHS, batch_size=size, max_decode_length=4),
      step=0,
      output_dir=None,
    )[name]
    for size in (1, 256)
  ]
  if not probe:
    assert results[0] == results[1]
  else:
    assert results[0]["count"] == results[1]["count"] == 3
    assert results[0]["mean"] == pytest.approx(results[1]["mean"], rel=1e-5)


EMPTY = [("a", "b"), ("c", ""), ("", "d"), ("", ""), ("e f", "g h")]


def plain(text):
  return tuple(byte + 3 for byte in text.encode())


@pytest.mark.parametrize("pack", [False, True])
def test_examples_without_tokens_are_trained_on(task, config, untrained, pack):
  """They add nothing to the loss, and the others keep their own inputs."""
  name = task(EMPTY, add_eos=False)
  (batch,) = batches(name, 5, pack, 1)
  wanted = {(plain(i), plain(t)) for i, t in EMPTY}
  found = examples_in(batch)
  assert {pair for pair in found if all(pair)} == {
    pair for pair in wanted if all(pair)
  }
  assert set(found) <= wanted
  loss, gradients = loss_and_gradients(config, untrained, batch)
  assert np.isfinite(loss) and loss > 0
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_a_batch_without_any_target_changes_no_parameter(
  task, config, train_config, mesh
):
  name = task([("a", ""), ("b", "")], add_eos=False)
  (batch,) = batches(name, 2, False, 1)
  step = train.make_train_step(train_config, config, mesh)
  state = train.initial_state(train_config, config, mesh)
  before = jax.device_get(state.params)
  state, sums = step(state, batch)
  assert float(sums["loss"]) == 0 == float(sums["target_tokens"])
  assert bool(sums["finite"])
  jax.tree.map(np.testing.assert_array_equal, before, state.params)


def test_the_score_of_no_target_is_that_of_no_event(untrained, config):
  """The sum over no token: log 1."""
  inputs = [[5, 6], [5, 6], [], [7]]
  targets = [[], [8, 9], [8, 9], [10]]
  scores = score.score_examples(
    untrained.params, config, inputs, targets, batch_size=4
  )
  assert scores[0] == 0 and (scores[1:] < 0).all()
  alone = [
    score.score_examples(untrained.params, config, [i], [t], batch_size=4)[0]
    for i, t in zip(inputs, targets, strict=True)
  ]
  np.testing.assert_allclose(scores, alone, rtol=1e-4, atol=1e-5)
  only = score.score_examples(untrained.params, config, [[5]], [[]], 4)
  assert only.tolist() == [0.0]


@pytest.mark.parametrize("probe", [False, True])
def test_examples_without_tokens_are_evaluated(task, untrained, probe):
  name = task(EMPTY, add_eos=False, probe=probe)
  settings = evaluate.EvalConfig(LENGTHS, batch_size=8, max_decode_length=3)
  results = evaluate.evaluate(
    untrained, [name], settings, step=0, output_dir=None
  )[name]
  if probe:
    assert np.isfinite(results["mean"]) and results["count"] == len(EMPTY)
  else:
    assert len(results["said"].textdata.split("\n")) == len(EMPTY)


LONG = [(f"{number} " * 300, f"{number}" * 300) for number in range(4)]


@pytest.mark.parametrize("pack", [False, True])
def test_examples_longer_than_the_limit_are_cut_and_end_in_eos(task, pack):
  found = batches(task(LONG), 8, pack)
  wanted = [(tokens(i, 24), tokens(t, 12)) for i, t in LONG]
  for batch in found:
    assert examples_in(batch) == wanted * 2
    assert np.asarray(batch["decoder_loss_weights"]).all()
    assert batch["encoder_input_tokens"].shape == (8, 24)


def test_examples_longer_than_the_limit_are_evaluated_as_cut(task, untrained):
  cut = [(i[:23], t[:11]) for i, t in LONG]
  settings = evaluate.EvalConfig(LENGTHS, batch_size=4, max_decode_length=3)
  for probe in (False, True):
    names = [task(pairs, probe=probe) for pairs in (LONG, cut)]
    one, two = evaluate.evaluate(
      untrained, names, settings, step=0, output_dir=None
    ).values()
    assert one == two
