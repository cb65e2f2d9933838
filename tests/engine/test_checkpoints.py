"""Checkpoints: what is written, what is kept, what is refused."""

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest
import tiny

from t5cr import errors
from t5cr.engine import (
  checkpoints,
  formats,
  positions,
  saving,
  train,
)

CONFIG = train.TrainConfig(train_steps=1, seed=5)


class Counter:
  """An iterator whose position is a number."""

  def __init__(self, position=0):
    self.position = position

  def save(self, filename):
    filename.write_text(str(self.position))

  def restore(self, filename):
    self.position = int(filename.read_text())


@pytest.fixture(scope="module")
def state(mesh):
  return train.initial_state(CONFIG, tiny.CONFIG, mesh)


def write(folder, state, steps, keep=None, position=None):
  with saving.Writer(folder, keep=keep) as writer:
    for step in steps:
      iterator = None if position is None else Counter(position + step)
      writer.save(step, state, tiny.CONFIG, iterator)


def assert_same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_restores_state_and_position(tmp_path, mesh, state):
  write(tmp_path, state, [3, 7], position=100)
  restored = checkpoints.restore_state(tmp_path, state, tiny.CONFIG, mesh)
  assert_same(restored, state)
  iterator = Counter()
  positions.restore(formats.find(tmp_path), iterator)
  assert iterator.position == 107
  positions.restore(formats.find(tmp_path / "checkpoint_3"), iterator)
  assert iterator.position == 103


def test_values_are_copied_before_buffers_are_reused(tmp_path, mesh):
  state = train.initial_state(CONFIG, tiny.CONFIG, mesh)
  before = jax.tree.map(lambda x: np.array(x, copy=True), state)
  change = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
  with saving.Writer(tmp_path) as writer:
    writer.save(1, state, tiny.CONFIG, None)
    for _ in range(20):
      state = change(state)
    jax.block_until_ready(state)
  assert_same(
    checkpoints.restore_state(tmp_path, state, tiny.CONFIG, mesh), before
  )


def test_keeps_the_last_and_leaves_no_temporary_folders(tmp_path, state):
  write(tmp_path, state, [1, 2, 3], keep=2)
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == ["checkpoint_2", "checkpoint_3"]
  assert formats.steps(tmp_path) == [2, 3]


def test_a_step_that_is_there_is_left_as_it_is(tmp_path, state):
  write(tmp_path, state, [1], position=0)
  stamp = (tmp_path / "checkpoint_1").stat().st_mtime_ns
  write(tmp_path, state, [1], position=50)
  assert (tmp_path / "checkpoint_1").stat().st_mtime_ns == stamp


def test_unfinished_folders_do_not_count(tmp_path, mesh, state):
  write(tmp_path, state, [1])
  (tmp_path / "checkpoint_2.orbax-checkpoint-tmp-0" / "params").mkdir(
    parents=True
  )
  assert formats.find(tmp_path).step == 1
  write(tmp_path, state, [2])
  assert formats.steps(tmp_path) == [1, 2]
  assert not list(tmp_path.glob("*tmp*"))


def test_parameters_alone_with_the_shape_of_their_model(tmp_path, mesh, state):
  write(tmp_path, state, [4])
  params, config, step = checkpoints.restore_params(tmp_path, mesh)
  assert (config, step) == (tiny.CONFIG, 4)
  assert_same(params, state.params)


def test_a_relative_path_is_understood(tmp_path, state, monkeypatch):
  monkeypatch.chdir(tmp_path)
  write("run", state, [4])
  found = formats.find("run")
  assert (str(found.run), found.step) == (str(tmp_path / "run"), 4)


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("nowhere", "does not exist"),
    ("empty", "no finished checkpoint_"),
    ("run/checkpoint_9", r"does not exist.*Checkpoints in .*\[1\]"),
    ("other/checkpoint_5", "not finished, or of no format"),
  ],
)
def test_says_what_was_looked_for(tmp_path, state, path, message):
  write(tmp_path / "run", state, [1])
  (tmp_path / "empty").mkdir()
  (tmp_path / "other" / "checkpoint_5" / "params").mkdir(parents=True)
  with pytest.raises(errors.UsageError, match=message) as caught:
    formats.find(tmp_path / path)
  assert str(tmp_path / path) in str(caught.value)


def test_refuses_another_model(tmp_path, mesh, state):
  write(tmp_path, state, [1])
  other = dataclasses.replace(tiny.CONFIG, emb_dim=32, num_heads=4)
  with pytest.raises(errors.UsageError, match="emb_dim is 16 there and 32"):
    checkpoints.restore_state(tmp_path, state, other, mesh)


def test_dropout_and_precision_may_differ(tmp_path, mesh, state):
  write(tmp_path, state, [1])
  other = dataclasses.replace(tiny.CONFIG, dropout_rate=0.3, dtype="bfloat16")
  assert_same(checkpoints.restore_state(tmp_path, state, other, mesh), state)


def test_another_schedule_counts_from_the_step(tmp_path, mesh, state):
  at_nine = dataclasses.replace(state, step=np.int32(9))
  write(tmp_path, at_nine, [9])
  config = dataclasses.replace(CONFIG, warmup_steps=10)
  other = train.initial_state(config, tiny.CONFIG, mesh)
  restored = checkpoints.restore_state(tmp_path, other, tiny.CONFIG, mesh)
  counts = optax.tree_utils.tree_get_all_with_path(restored.opt_state, "count")
  assert [int(count) for _, count in counts] == [9, 9]


def test_the_config_item_is_plain_json(tmp_path, state):
  write(tmp_path, state, [1])
  text = (tmp_path / "checkpoint_1" / "config" / "metadata").read_text()
  assert json.loads(text)["model"]["emb_dim"] == 16
