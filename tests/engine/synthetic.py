"""A training of a few steps on batches that need no data set."""

import jax
import numpy as np
import tiny

from t5cr.engine import train

CONFIG = train.TrainConfig(
  train_steps=6, learning_rate=0.01, seed=2, checkpoint_period=2, log_period=2
)


class Synthetic:
  """Endless batches that are a function of their number."""

  def __init__(self):
    self.position = 0

  def __next__(self):
    generator = np.random.default_rng(self.position)
    self.position += 1
    targets = generator.integers(2, 300, (4, 6), dtype=np.int32)
    return {
      "encoder_input_tokens": generator.integers(2, 300, (4, 8), np.int32),
      "decoder_target_tokens": targets,
      "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
      "decoder_loss_weights": (generator.random((4, 6)) < 0.8).astype(np.int32),
    }

  def save(self, filename):
    filename.write_text(str(self.position))

  def restore(self, filename):
    self.position = int(filename.read_text())


def run(folder, mesh, config=CONFIG, make_batches=Synthetic, **kwargs):
  return train.train(
    config, tiny.CONFIG, make_batches, model_dir=folder, mesh=mesh, **kwargs
  )


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)
