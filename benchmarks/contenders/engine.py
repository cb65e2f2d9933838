"""This engine as a contender."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5cr.engine import decode, losses, model, partitioning, score, train
from t5cr.engine.config import T5Config
from t5cr.engine.train_state import TrainState

Batch = Mapping[str, np.ndarray]
LEARNING_RATE = 1e-3


def random_params(config: T5Config, seed: int = 0) -> Any:
  """Parameters at T5's initial scale."""
  return model.init(config, jax.random.key(seed))


def with_norms(loss: jax.Array, gradient: Any) -> tuple[jax.Array, Any]:
  """What contenders show of a gradient, inside a jitted function.

  Args:
    loss: scalar.
    gradient: t5x's tree.

  Returns:
    ([loss, norm of the gradient, norm of the embedding's part], gradient); the
    gradient is handed on so that it has to be computed.
  """
  squares = sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(gradient))
  embedding = gradient["token_embedder"]["embedding"]
  norms = jnp.sqrt(jnp.stack([squares, jnp.vdot(embedding, embedding)]))
  return jnp.concatenate([loss[None], norms]), gradient


class Engine:
  """This engine."""

  name = "t5cr"

  def __init__(self, config: T5Config, params: Any):
    """Takes the weights."""
    self.config, self.params = config, params

    def loss(params, batch):
      logits = model.apply(params, config, batch)
      return losses.cross_entropy(
        logits, batch["decoder_target_tokens"], batch["decoder_loss_weights"]
      )[0]

    self._gradient = jax.jit(
      lambda *given: with_norms(*jax.value_and_grad(loss)(*given))
    )

  def gradient(self, batch: Batch) -> np.ndarray:
    """[loss summed over tokens, norms of gradient and of the embedding's]."""
    return np.asarray(self._gradient(self.params, dict(batch))[0])

  def trainer(self) -> Callable[..., np.ndarray]:
    """Training with Adafactor from the weights on.

    Returns:
      A function from (batch, number=1) that takes that many steps, waits until
      they are done, and returns the loss before each, summed over tokens.
    """
    config = train.TrainConfig(
      train_steps=1000,
      learning_rate=LEARNING_RATE,
      loss_normalizing_factor=None,
      z_loss=0.0,
    )
    mesh = partitioning.make_mesh(devices=jax.devices()[:1])
    step = train.make_train_step(config, self.config, mesh)
    # The step takes its argument's buffers, and others need the weights.
    params = jax.tree.map(jnp.copy, self.params)
    optimizer = train.make_optimizer(config)
    state = [TrainState(jnp.int32(0), params, optimizer.init(params))]

    def take(batch: Batch, number: int = 1) -> np.ndarray:
      found = []
      for _ in range(number):
        state[0], sums = step(state[0], dict(batch))
        found.append(sums["loss"])
      jax.block_until_ready(state[0])
      return np.array([float(loss) for loss in found])

    return take

  def score(
    self,
    inputs: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    batch_size: int,
  ) -> np.ndarray:
    """L(target | input) of pairs of token lists, in nats."""
    return score.score_examples(
      self.params, self.config, inputs, targets, batch_size
    )

  def decode(
    self,
    inputs: Sequence[Sequence[int]],
    length: int,
    batch_size: int,
    beams: int = 1,
    alpha: float = 0.6,
  ) -> list[list[int]]:
    """The best decode of each input, up to and without EOS.

    Args:
      inputs: token ids.
      length: most tokens, EOS included.
      batch_size: inputs at once.
      beams: 1 is greedy.
      alpha: brevity penalty of beams.
    """
    method = decode.GREEDY
    if beams > 1:
      method = decode.Decoding("beam", beams, alpha)
    return decode.decode_examples(
      self.params, self.config, inputs, length, batch_size, decoding=method
    )
