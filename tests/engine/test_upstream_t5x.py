"""t5x itself, where it is installed, restores what this engine writes.

It is not among the project's requirements (docs/t5x.md says how to install it).
"""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import core

from t5cr.engine import (
  checkpoints,
  convert,
  formats,
  partitioning,
  saving,
  train,
  train_state,
)
from t5cr.engine.formats import Format

pytest.importorskip("t5x", reason="needs t5x (docs/t5x.md)")

CONFIG = train.TrainConfig(train_steps=9, learning_rate=0.003)


class Upstream:
  """t5x's model, partitioner and restoring, for a golden model."""

  def __init__(self, tiny):
    import seqio
    from t5x import adafactor, models, utils
    from t5x import partitioning as t5x_partitioning
    from t5x.examples.t5 import network

    config = tiny.config
    vocabulary = seqio.PassThroughVocabulary(config.vocab_size)
    optimizer = adafactor.Adafactor(
      logical_factor_rules=adafactor.standard_logical_factor_rules()
    )
    self.batch = tiny.group("batch")
    self.model = models.EncoderDecoderModel(
      module=network.Transformer(
        network.T5Config(
          vocab_size=config.vocab_size,
          dtype=jnp.float32,
          emb_dim=config.emb_dim,
          num_heads=config.num_heads,
          num_encoder_layers=config.num_encoder_layers,
          num_decoder_layers=config.num_decoder_layers,
          head_dim=config.head_dim,
          mlp_dim=config.mlp_dim,
          mlp_activations=config.mlp_activations,
          dropout_rate=0.0,
          logits_via_embedding=config.logits_via_embedding,
        )
      ),
      input_vocabulary=vocabulary,
      output_vocabulary=vocabulary,
      optimizer_def=optimizer,
      z_loss=CONFIG.z_loss,
      loss_normalizing_factor="NUM_REAL_TARGET_TOKENS",
    )
    self.partitioner = t5x_partitioning.PjitPartitioner(
      num_partitions=1,
      logical_axis_rules=t5x_partitioning.standard_logical_axis_rules(),
    )
    self.initializer = utils.TrainStateInitializer(
      optimizer_def=optimizer,
      init_fn=self.model.get_initial_variables,
      input_shapes={name: x.shape for name, x in self.batch.items()},
      partitioner=self.partitioner,
    )

  def restore(self, path):
    from t5x import utils

    config = utils.RestoreCheckpointConfig(path=str(path), mode="specific")
    return utils.create_checkpoint_manager_and_restore(
      self.initializer,
      self.partitioner,
      config,
      str(path),
      None,
      use_orbax=True,
    )[0]

  def train(self, state, steps):
    from t5x import trainer

    training = trainer.Trainer(
      model=self.model,
      train_state=state,
      partitioner=self.partitioner,
      eval_names=[],
      summary_dir=None,
      train_state_axes=self.initializer.train_state_axes,
      rng=jax.random.PRNGKey(0),
      learning_rate_fn=lambda step: CONFIG.learning_rate,
      num_microbatches=None,
    )
    with training:
      training.train(iter([dict(self.batch)] * steps), steps)
    return training.train_state

  def save(self, state, folder):
    from t5x import checkpoints as t5x_checkpoints

    folder.mkdir()
    manager = t5x_checkpoints.OrbaxCheckpointManagerInterface(
      str(folder), state, self.partitioner, save_dtype=np.float32
    )
    manager.save(state)
    manager.wait_until_finished()


def assert_close(theirs, ours):
  theirs, ours = train_state.flat(core.unfreeze(theirs)), train_state.flat(ours)
  assert theirs.keys() == ours.keys()
  for name, value in ours.items():
    np.testing.assert_allclose(theirs[name], value, atol=5e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t5_1_1_factored", "t5_1_0_tiny"])
def test_training_goes_on_across_engines(name, tmp_path):
  tiny = golden.load(name)
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  step = train.make_train_step(CONFIG, tiny.config, mesh)
  batch = tiny.group("batch")
  state = train.initial_state(CONFIG, tiny.config, mesh)
  for _ in range(2):
    state, _ = step(state, batch)
  with saving.Writer(tmp_path / "run") as writer:
    writer.save(2, state, tiny.config, None)
  convert.convert(tmp_path / "run", tmp_path / "legacy", Format.T5X_LEGACY)
  for _ in range(2):
    state, _ = step(state, batch)

  upstream = Upstream(tiny)
  for folder in ("run", "legacy"):
    theirs = upstream.restore(tmp_path / folder / "checkpoint_2")
    theirs = upstream.train(theirs, 2)
    assert int(theirs.step) == 4
    assert_close(theirs.params, state.params)

  # And back: what t5x writes, this engine goes on from.
  upstream.save(theirs, tmp_path / "t5x")
  assert formats.find(tmp_path / "t5x").format == Format.T5X
  shapes = jax.eval_shape(train._state_maker(CONFIG, tiny.config))
  back = checkpoints.restore_state(tmp_path / "t5x", shapes, tiny.config, mesh)
  back, _ = step(back, batch)
  state, _ = step(state, batch)
  assert int(back.step) == 5
  assert_close(back.params, state.params)
