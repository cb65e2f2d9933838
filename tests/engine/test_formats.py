"""Checkpoints of t5x, and conversion between all formats."""

import dataclasses
import pathlib
import shutil

import golden
import jax
import numpy as np
import optax
import pytest
from etils import epath
from flax import serialization

from t5cr import errors
from t5cr.engine import (
  checkpoints,
  convert,
  formats,
  huggingface,
  legacy,
  partitioning,
  saving,
  train,
  train_state,
)
from t5cr.engine.formats import Format

CONFIG = train.TrainConfig(train_steps=9)


@pytest.fixture(scope="module")
def tiny():
  return golden.load("t5_1_1_tiny")


@pytest.fixture(scope="module")
def factored():
  """Its second moments are factored."""
  return golden.load("t5_1_1_factored")


@pytest.fixture(scope="module")
def trained(factored, mesh):
  """A state after two steps, and a function that takes the next."""
  step = train.make_train_step(CONFIG, factored.config, mesh)
  batch = factored.group("batch")
  state = train.initial_state(CONFIG, factored.config, mesh)
  for _ in range(2):
    state, _ = step(state, batch)

  def next_params(state):
    return step(state, batch)[0].params

  return state, next_params


@pytest.fixture(scope="module")
def run(trained, factored, tmp_path_factory):
  folder = tmp_path_factory.mktemp("run")
  with saving.Writer(folder) as writer:
    writer.save(2, trained[0], factored.config, None)
  return folder


def assert_same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("kind", ["legacy", "orbax"])
def test_t5xs_own_checkpoints_are_read(shared_dir, tiny, mesh, kind):
  folder = shared_dir / "golden" / "t5x_checkpoints" / kind
  params, config, step = checkpoints.restore_params(folder, mesh)
  assert_same(params, jax.tree.map(np.asarray, tiny.params))
  assert step == 1_000_000
  assert train_state.flat(params).keys() == train_state.flat(tiny.params).keys()
  shapes = jax.eval_shape(train._state_maker(CONFIG, config))
  state = checkpoints.restore_state(folder, shapes, config, mesh)
  assert int(state.step) == 1_000_000
  assert int(state.opt_state[0].count) == 1_000_000


def test_the_shape_of_a_model_is_read_off_its_parameters(tiny, factored):
  for one in (tiny, factored, golden.load("t5_1_0_tiny")):
    read = train_state.config_of(one.params)
    assert checkpoints.differing_fields(read, one.config) == []


@pytest.mark.parametrize("to", [Format.T5CR, Format.T5X, Format.T5X_LEGACY])
def test_a_run_goes_on_from_any_format_as_from_its_own(
  run, trained, factored, mesh, tmp_path, to
):
  state, next_params = trained
  place = convert.convert(run, tmp_path, to)
  assert place == epath.Path(tmp_path) / "checkpoint_2"
  assert formats.find(tmp_path).format == to
  restored = checkpoints.restore_state(tmp_path, state, factored.config, mesh)
  assert_same(restored, state)
  # A step reuses its argument's buffers.
  copied = jax.tree.map(lambda leaf: leaf.copy(), state)
  assert_same(next_params(restored), next_params(copied))


def test_moments_lie_where_t5x_has_them(run, trained):
  (moments,) = [
    part
    for part in trained[0].opt_state
    if isinstance(part, optax.FactoredState)
  ]
  stored = formats.find(run).metadata["state"]
  assert stored["step"].shape == ()
  kernel = stored["param_states"]["encoder"]["layers_0"]["mlp"]["wo"]["kernel"]
  assert {name: leaf.shape for name, leaf in kernel.items()} == {
    "m": (1,),
    "v": (1,),
    "v_row": (128,),
    "v_col": (128,),
  }
  assert moments.v_row["encoder"]["layers_0"]["mlp"]["wo"]["kernel"].any()


def test_a_cast_is_as_asked_and_leaves_the_optimizer(run, tmp_path):
  convert.convert(
    run, tmp_path, Format.T5X_LEGACY, convert.Options(dtype="bfloat16", step=7)
  )
  stored = formats.find(tmp_path).metadata
  kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(stored["target"])}
  assert kinds == {"bfloat16"}
  moments = jax.tree.leaves(stored["state"]["param_states"])
  assert {str(leaf.dtype) for leaf in moments} == {"float32"}
  assert formats.find(tmp_path).step == 7


def test_parameters_alone_start_a_fresh_optimizer(
  run, trained, factored, mesh, tmp_path, caplog
):
  options = convert.Options(params_only=True)
  convert.convert(run, tmp_path, Format.T5X, options)
  state = trained[0]
  restored = checkpoints.restore_state(tmp_path, state, factored.config, mesh)
  assert "holds no optimizer state" in caplog.text
  assert_same(restored.params, state.params)
  assert int(restored.step) == 2
  assert not any(
    leaf.any() for leaf in jax.tree.leaves(restored.opt_state[0].v_row)
  )


def test_a_destination_that_is_there_is_left_alone(run, tmp_path):
  (tmp_path / "checkpoint_2").mkdir()
  with pytest.raises(errors.UsageError, match="is there already"):
    convert.convert(run, tmp_path, Format.T5X)
  with pytest.raises(errors.UsageError, match="another step"):
    convert.convert(run, tmp_path / "checkpoint_3", Format.T5X)
  assert not list((tmp_path / "checkpoint_2").iterdir())


def test_a_conversion_cut_short_leaves_no_checkpoint(
  run, tmp_path, monkeypatch
):
  def fail(*_, **__):
    raise OSError("the disk is full")

  monkeypatch.setattr(serialization, "msgpack_serialize", fail)
  with pytest.raises(OSError, match="disk is full"):
    convert.convert(run, tmp_path, Format.T5X_LEGACY)
  assert formats.steps(tmp_path) == []
  monkeypatch.undo()
  convert.convert(run, tmp_path, Format.T5X_LEGACY)
  assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_2"]


def test_progress_is_told(run, tmp_path):
  told = []
  convert.convert(
    run, tmp_path, Format.T5X_LEGACY, progress=lambda *args: told.append(args)
  )
  assert {stage for stage, *_ in told} == {"read", "write"}
  stage, done, total, unit = told[-1]
  assert (stage, unit) == ("write", "arrays") and done == total > 10


def test_another_model_is_refused_by_its_first_parameters(
  tiny, run, mesh, tmp_path
):
  convert.convert(run, tmp_path, Format.T5X_LEGACY)
  with pytest.raises(errors.UsageError) as caught:
    checkpoints.check_model(tmp_path, tiny.config)
  message = str(caught.value)
  assert "decoder/decoder_norm/scale is (128,) there and (32,) here" in message
  assert " more. Use the recipe" in message
  with pytest.raises(errors.UsageError, match="emb_dim is 128 there and 32"):
    checkpoints.check_model(run, tiny.config)


@pytest.fixture
def damaged(run, tmp_path):
  """A legacy checkpoint to break."""
  return pathlib.Path(convert.convert(run, tmp_path, Format.T5X_LEGACY))


def break_chunk(folder):
  (folder / "target.encoder.encoder_norm.scale" / "0").unlink()


def truncate_chunk(folder):
  chunk = folder / "target.encoder.encoder_norm.scale" / "0"
  chunk.write_bytes(chunk.read_bytes()[:10])


def drop_array(folder):
  shutil.rmtree(folder / "target.encoder.encoder_norm.scale")


def truncate_index(folder):
  index = folder / legacy.INDEX
  index.write_bytes(index.read_bytes()[:200])


def tensorflow_index(folder):
  (folder / legacy.INDEX).write_text('model_checkpoint_path: "model.ckpt-5"')


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (break_chunk, r"damaged.*target\.encoder\.encoder_norm\.scale"),
    (truncate_chunk, r"damaged.*target\.encoder\.encoder_norm\.scale"),
    (drop_array, r"damaged.*target\.encoder\.encoder_norm\.scale"),
    (truncate_index, "no index of a t5x checkpoint"),
    (tensorflow_index, "is a TensorFlow checkpoint"),
  ],
)
def test_a_damaged_checkpoint_says_what_is_wrong(
  damaged, mesh, damage, message
):
  damage(damaged)
  with pytest.raises(errors.UsageError, match=message) as caught:
    checkpoints.restore_params(damaged, mesh)
  assert str(damaged) in str(caught.value)


def test_a_damaged_orbax_checkpoint_says_what_is_wrong(run, mesh, tmp_path):
  broken = tmp_path / "checkpoint_2"
  shutil.copytree(run / "checkpoint_2", broken)
  files = [f for f in (broken / "state").rglob("*") if f.parent.name == "d"]
  # The largest holds arrays; without any, not even their names are known.
  largest = max(files, key=lambda file: file.stat().st_size)
  for some in ([largest], files):
    for file in some:
      file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(errors.UsageError, match="If it is damaged") as caught:
      checkpoints.restore_params(broken, mesh)
    assert str(broken) in str(caught.value)


@pytest.mark.parametrize("content", [None, "{", "{}", '{"model": {"x": 1}}'])
def test_a_damaged_shape_says_what_is_wrong(run, mesh, tmp_path, content):
  broken = tmp_path / "checkpoint_2"
  shutil.copytree(run / "checkpoint_2", broken)
  path = broken / "config" / "metadata"
  path.unlink()
  if content is not None:
    path.write_text(content)
  with pytest.raises(errors.UsageError, match="the shape of the model") as told:
    checkpoints.restore_params(broken, mesh)
  assert str(path) in str(told.value)


@pytest.mark.parametrize("to", [Format.T5CR, Format.T5X_LEGACY])
def test_a_folder_of_another_name_knows_its_step(
  run, trained, factored, mesh, tmp_path, to
):
  place = convert.convert(run, tmp_path, to)
  renamed = tmp_path / "my model"
  place.rename(renamed)
  assert formats.find(renamed).step == 2
  again = convert.convert(renamed, tmp_path / "again", Format.T5X)
  assert again.name == "checkpoint_2"
  restored = checkpoints.restore_state(again, trained[0], factored.config, mesh)
  assert int(restored.step) == 2


def test_what_a_format_cannot_record_is_refused(run, factored, tmp_path):
  config = dataclasses.replace(
    factored.config,
    mlp_activations=("silu", "linear"),
    relative_attention_max_distance=64,
  )
  params = checkpoints.restore_params(
    run, partitioning.make_mesh(devices=jax.devices()[:1])
  )[0]
  huggingface.write(tmp_path / "hf", params, config)
  with pytest.raises(errors.UsageError, match="cannot be read off") as caught:
    convert.convert(tmp_path / "hf", tmp_path / "x", Format.T5X)
  assert "silu" in str(caught.value) and "64" in str(caught.value)
  assert not (tmp_path / "x").exists()
  convert.convert(tmp_path / "hf", tmp_path / "x", Format.T5CR)
  found = formats.find(tmp_path / "x")
  assert checkpoints.differing_fields(found.config, config) == []


def test_hugging_faces_dtypes_are_kept_unless_asked(run, tmp_path):
  half = convert.Options(dtype="bfloat16")
  convert.convert(run, tmp_path / "hf", Format.HF, half)
  convert.convert(tmp_path / "hf", tmp_path / "back", Format.T5X)
  stored = formats.find(tmp_path / "back").metadata
  kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(stored["target"])}
  assert kinds == {"bfloat16"}


def test_arrays_on_other_places_are_opened_where_they_lie():
  remote = legacy._spec(epath.Path("gs://bucket/t5/checkpoint_5"), "target/a/b")
  assert remote["kvstore"] == "gs://bucket/t5/checkpoint_5/target.a.b/"
  local = legacy._spec(epath.Path("/a folder/checkpoint_5"), "target/a/b")
  assert local["kvstore"]["path"] == "/a folder/checkpoint_5/target.a.b/"


def test_names_with_spaces_and_other_letters(run, mesh, tmp_path):
  place = tmp_path / "ein Ordner – ü"
  convert.convert(run, place, Format.T5X_LEGACY)
  assert checkpoints.restore_params(place, mesh)[2] == 2
