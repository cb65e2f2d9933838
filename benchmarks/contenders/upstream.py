"""Upstream t5x as a contender: https://github.com/google-research/t5x."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import seqio
from t5x import adafactor, decoding, models, train_state, trainer
from t5x.examples.t5 import network

from benchmarks.contenders import tokens
from benchmarks.contenders.engine import LEARNING_RATE, Batch, with_norms
from t5cr.engine.config import T5Config

_FEATURES = ("encoder_input", "decoder_input", "decoder_target")


def parts(config: T5Config) -> tuple[Any, seqio.Vocabulary, seqio.Vocabulary]:
  """t5x's network of a shape, and vocabularies of inputs and targets."""
  known = {field.name for field in dataclasses.fields(network.T5Config)}
  values = dataclasses.asdict(config) | {"dtype": jnp.dtype(config.dtype)}
  module = network.Transformer(
    network.T5Config(**{k: v for k, v in values.items() if k in known})
  )
  vocabulary = seqio.PassThroughVocabulary(config.vocab_size, eos_id=tokens.EOS)
  return module, vocabulary, vocabulary


class Upstream:
  """Upstream t5x, its jitted functions without a partitioner."""

  name = "t5x"

  def __init__(self, config: T5Config, params: Any):
    """Takes the weights."""

    def made(decode_fn):
      return models.EncoderDecoderModel(
        *parts(config), None, decode_fn=decode_fn
      )

    self.params = params
    self._greedy = made(decoding.temperature_sample)
    self._beam = made(decoding.beam_search)

    def loss(params, batch):
      return self._greedy.loss_fn(params, batch, None)[0]

    self._gradient = jax.jit(
      lambda *given: with_norms(*jax.value_and_grad(loss)(*given))
    )
    self._score = jax.jit(self._greedy.score_batch)
    self._decoders: dict[tuple[int, float], Callable] = {}

  def gradient(self, batch: Batch) -> np.ndarray:
    """[loss summed over tokens, norms of gradient and of the embedding's]."""
    return np.asarray(self._gradient(self.params, dict(batch))[0])

  def trainer(self) -> Callable[..., np.ndarray]:
    """Training with Adafactor from the weights on, see `Engine.trainer`."""
    definition = adafactor.Adafactor(decay_rate=0.8, step_offset=0)
    shapes = {f"{side}_tokens": (1, 1) for side in _FEATURES}
    variables = jax.eval_shape(
      lambda: self._greedy.get_initial_variables(jax.random.key(0), shapes)
    )
    params = jax.tree.map(jnp.copy, self.params)
    state = [
      train_state.FlaxOptimTrainState.create(
        definition, {"params": params, "params_axes": variables["params_axes"]}
      )
    ]

    def step(state, batch):
      state, metrics = trainer.train_with_lr(
        state, batch, LEARNING_RATE, jax.random.key(0), self._greedy, None
      )
      return state, metrics["loss"].compute()

    jitted = jax.jit(step, donate_argnums=0)

    def take(batch: Batch, number: int = 1) -> np.ndarray:
      found = []
      for _ in range(number):
        state[0], loss = jitted(state[0], dict(batch))
        found.append(loss)
      jax.block_until_ready(state[0])
      return np.array([float(loss) for loss in found])

    return take

  def score(
    self,
    inputs: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    batch_size: int,
    lengths: tuple[int, int],
  ) -> np.ndarray:
    """L(target | input) of pairs, all padded to the same lengths."""
    scores = []
    for start in range(0, len(inputs), batch_size):
      rows = slice(start, start + batch_size)
      # The last batch is filled up, as t5x does: another shape would compile.
      missing = [[]] * (batch_size - len(inputs[rows]))
      batch = tokens.batch(
        tokens.padded([*inputs[rows], *missing], lengths[0]),
        tokens.padded([*targets[rows], *missing], lengths[1]),
      )
      scores.append(np.asarray(self._score(self.params, batch)))
    return np.concatenate(scores)[: len(inputs)]

  def decode(
    self,
    inputs: Sequence[Sequence[int]],
    length: int,
    batch_size: int,
    beams: int = 1,
    alpha: float = 0.6,
  ) -> list[list[int]]:
    """The best decode of each input, see `Engine.decode`.

    All inputs are padded to the longest, as seqio does.
    """
    widest = max(map(len, inputs))
    texts: list[list[int]] = []
    for start in range(0, len(inputs), batch_size):
      rows = inputs[start : start + batch_size]
      filled = [*rows, *[[]] * (batch_size - len(rows))]
      batch = {
        "encoder_input_tokens": tokens.padded(filled, widest),
        "decoder_input_tokens": np.zeros((batch_size, length), np.int32),
      }
      out = np.asarray(self._decoder(beams, alpha)(self.params, batch))
      texts += [tokens.text(row) for row in out[: len(rows)]]
    return texts

  def _decoder(self, beams: int, alpha: float) -> Callable:
    if (beams, alpha) not in self._decoders:
      model = self._greedy if beams == 1 else self._beam
      options = {"temperature": 0.0} if beams == 1 else {"alpha": alpha}

      def predict(params, batch):
        return model.predict_batch_with_aux(
          params, batch, decoder_params=options, num_decodes=beams
        )[0]

      self._decoders[beams, alpha] = jax.jit(predict)
    return self._decoders[beams, alpha]
