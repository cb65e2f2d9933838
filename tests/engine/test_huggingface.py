"""Hugging Face folders hold the same model: names, shapes, values, logits."""

import dataclasses
import hashlib
import json
import pathlib
import pickle
import shutil
import sys

import golden
import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import spm_models
import tiny
from flax import traverse_util

from t5cr import errors
from t5cr.engine import huggingface, model
from t5cr.engine.config import T5Config

NAMES = ("t5_1_0_tiny", "t5_1_1_tiny")
HEAD, SHARED = "lm_head.weight", "shared.weight"


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  """An exported T5 1.1."""
  return exported("t5_1_1_tiny", tmp_path / "hf")


def exported(name: str, path: pathlib.Path, **options) -> pathlib.Path:
  known = golden.load(name)
  huggingface.write(path, known.params, known.config, **options)
  return path


def random_params(config: T5Config) -> dict:
  random = np.random.default_rng(0)
  return jax.tree.map(
    lambda shape: random.standard_normal(shape, np.float32),
    model.param_shapes(config),
    is_leaf=lambda leaf: isinstance(leaf, tuple),
  )


def tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  return dict(safetensors.numpy.load_file(path / "model.safetensors"))


def change(path: pathlib.Path, changed: dict, **settings) -> None:
  """Writes other tensors and settings (None: without) into a folder."""
  safetensors.numpy.save_file(
    changed, path / "model.safetensors", metadata={"format": "pt"}
  )
  known = json.loads((path / "config.json").read_text()) | settings
  known = {key: value for key, value in known.items() if value is not None}
  (path / "config.json").write_text(json.dumps(known))


def assert_same(left: dict, right: dict) -> None:
  left, right = map(traverse_util.flatten_dict, (left, right))
  assert left.keys() == right.keys()
  for name in left:
    assert left[name].dtype == right[name].dtype, name
    np.testing.assert_array_equal(left[name], right[name], str(name))


@pytest.mark.parametrize("name", NAMES)
def test_exported_tensors_are_those_of_transformers(name, tmp_path):
  written = tensors(exported(name, tmp_path / "hf"))
  listed = (golden.FOLDER / name / "hf" / "tensors.json").read_text()
  assert {
    key: {
      "shape": list(value.shape),
      "sha256": hashlib.sha256(value.tobytes()).hexdigest(),
    }
    for key, value in written.items()
  } == json.loads(listed)


@pytest.mark.parametrize("name", NAMES)
def test_the_config_says_what_transformers_says(name, tmp_path):
  path = exported(name, tmp_path / "hf") / "config.json"
  written = json.loads(path.read_text())
  theirs = json.loads((golden.FOLDER / name / "hf/config.json").read_text())
  assert written.pop("torch_dtype") == theirs.pop("dtype")
  assert written.items() <= theirs.items()


@pytest.mark.parametrize("name", NAMES)
def test_import_gives_the_engine_transformers_logits(name, tmp_path):
  known = golden.load(name)
  path = exported(name, tmp_path / "hf")
  # Their config.json beside our weights, which are the same bytes as theirs.
  theirs = golden.FOLDER / name / "hf"
  shutil.copy(theirs / "config.json", path)
  config, params = huggingface.read_config(path), huggingface.read_params(path)
  assert config == known.config
  assert_same(params, known.params)
  batch = known.group("batch")
  with jax.default_matmul_precision("highest"):
    logits = np.asarray(model.apply(params, config, batch))
  real = batch["decoder_target_tokens"] > 0
  np.testing.assert_allclose(
    logits[real], np.load(theirs / "logits.npy")[real], rtol=0, atol=1e-5
  )


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_that_transformers_wrote_is_read(name, shared_dir):
  known, path = golden.load(name), shared_dir / "golden" / name / "hf"
  assert huggingface.read_config(path) == known.config
  assert_same(huggingface.read_params(path), known.params)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_the_dtype_is_kept(dtype, tmp_path):
  known = golden.load("t5_1_1_tiny")
  params = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), known.params)
  huggingface.write(tmp_path / "hf", params, known.config)
  assert_same(huggingface.read_params(tmp_path / "hf"), params)
  settings = json.loads((tmp_path / "hf/config.json").read_text())
  assert settings["torch_dtype"] == np.dtype(dtype).name


@pytest.mark.parametrize(
  "activations",
  [
    ("relu",),
    ("gelu",),
    ("silu",),
    ("gelu", "linear"),
    ("relu", "linear"),
    ("silu", "linear"),
  ],
)
def test_every_shape_comes_back(activations, tmp_path):
  config = T5Config(
    vocab_size=32,
    emb_dim=12,
    num_heads=3,
    num_encoder_layers=1,
    num_decoder_layers=3,
    head_dim=5,
    mlp_dim=7,
    mlp_activations=activations,
    dropout_rate=0.25,
    logits_via_embedding=len(activations) == 1,
    relative_attention_num_buckets=6,
    relative_attention_max_distance=40,
  )
  params = random_params(config)
  huggingface.write(tmp_path / "hf", params, config)
  assert huggingface.read_config(tmp_path / "hf") == config
  assert_same(huggingface.read_params(tmp_path / "hf"), params)


def test_weights_are_cut_into_shards_with_an_index(tmp_path):
  path = exported("t5_1_1_tiny", tmp_path / "hf", shard_bytes=60_000)
  index = json.loads((path / "model.safetensors.index.json").read_text())
  shards = sorted(set(index["weight_map"].values()))
  assert len(shards) > 3
  assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
  assert shards == sorted(p.name for p in path.glob("*.safetensors"))
  held = [safetensors.numpy.load_file(path / name) for name in shards]
  sizes = [sum(value.nbytes for value in shard.values()) for shard in held]
  assert max(sizes) <= 60_000
  assert sum(sizes) == index["metadata"]["total_size"]
  assert_same(huggingface.read_params(path), golden.load("t5_1_1_tiny").params)


def test_progress_counts_every_tensor(tmp_path):
  calls = []
  path = exported(
    "t5_1_0_tiny", tmp_path / "hf", progress=lambda *call: calls.append(call)
  )
  assert calls[-1][1:] == (47, 47, "tensors")
  huggingface.read_params(path, lambda *call: calls.append(call))
  assert calls[-1][1:] == (47, 47, "tensors")
  assert len(calls) > 47


def test_a_folder_holds_vocabulary_and_card(tmp_path):
  content = spm_models.with_sentinels("bpe")
  config = dataclasses.replace(tiny.CONFIG, vocab_size=1024)
  huggingface.write(
    tmp_path / "hf",
    random_params(config),
    config,
    vocabulary=content,
    card="# Card\n",
  )
  assert {path.name for path in (tmp_path / "hf").iterdir()} == {
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
  }
  assert (tmp_path / "hf/spiece.model").read_bytes() == content
  assert len({path.stat().st_mode for path in (tmp_path / "hf").iterdir()}) == 1


# What folders in the wild look like.


def test_a_tied_folder_may_store_its_embedding_again(tmp_path):
  path = exported("t5_1_0_tiny", tmp_path / "hf")
  stored = tensors(path)
  copies = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", HEAD)
  unused = (
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
  )
  stored |= dict.fromkeys(copies, stored[SHARED])
  change(path, {**stored, unused: np.zeros((32, 4), np.float32)})
  known = golden.load("t5_1_0_tiny")
  assert huggingface.read_config(path) == known.config
  assert_same(huggingface.read_params(path), known.params)
  del stored[SHARED]
  change(path, stored)
  assert_same(huggingface.read_params(path), known.params)


def test_a_stack_with_an_embedding_of_its_own_is_refused(tmp_path):
  path = exported("t5_1_0_tiny", tmp_path / "hf")
  stored = tensors(path)
  stored["decoder.embed_tokens.weight"] = stored[SHARED] + 1
  change(path, stored)
  with pytest.raises(errors.UsageError, match=r"decoder\.embed_tokens"):
    huggingface.read_params(path)


def test_an_early_t5_1_1_does_not_say_that_it_is_not_tied(folder):
  change(
    folder,
    tensors(folder),
    tie_word_embeddings=None,
    scale_decoder_outputs=None,
  )
  known = golden.load("t5_1_1_tiny")
  assert huggingface.read_config(folder) == known.config
  assert_same(huggingface.read_params(folder), known.params)


def test_transformers_5_calls_every_t5_tied(folder):
  """It writes tie_word_embeddings true; the scale tells T5 1.1 from 1.0."""
  change(folder, tensors(folder), tie_word_embeddings=True)
  known = golden.load("t5_1_1_tiny")
  assert huggingface.read_config(folder) == known.config
  stored = tensors(folder)
  del stored[HEAD]
  change(folder, stored)
  assert huggingface.read_config(folder) == known.config
  read = huggingface.read_params(folder)
  np.testing.assert_array_equal(
    read["decoder"]["logits_dense"]["kernel"],
    read["token_embedder"]["embedding"].T,
  )


@pytest.mark.parametrize(
  ("settings", "words"),
  [
    (
      {"tie_word_embeddings": True, "scale_decoder_outputs": True},
      r"tie_word_embeddings is true, but .* lm_head\.weight that differs",
    ),
    (
      {"tie_word_embeddings": False, "scale_decoder_outputs": True},
      "versions of transformers read in different ways",
    ),
    ({"model_type": "umt5"}, "'umt5'; looked for 't5'"),
    ({"layer_norm_epsilon": 1e-5}, "layer_norm_epsilon is 1e-05"),
    ({"feed_forward_proj": "gated-tanh"}, "gated-tanh"),
    ({"dense_act_fn": "gelu"}, "dense_act_fn 'gelu'"),
    ({"d_kv": None}, "has no d_kv"),
    ({"d_ff": 65}, "tensors have another shape"),
    ({"num_layers": 3}, r"are missing: encoder\.block\.2\.layer\.0"),
    ({"num_layers": 1}, r"are unknown: encoder\.block\.1\.layer\.0"),
  ],
)
def test_what_is_not_such_a_t5_is_refused(settings, words, folder):
  change(folder, tensors(folder), **settings)
  with pytest.raises(errors.UsageError, match=words) as caught:
    huggingface.read_params(folder)
  assert str(folder) in str(caught.value)


def test_a_missing_output_layer_is_refused(folder):
  stored = tensors(folder)
  del stored[HEAD]
  change(folder, stored)
  with pytest.raises(errors.UsageError, match=r"has no lm_head\.weight"):
    huggingface.read_config(folder)


def test_quantized_weights_are_refused(folder):
  stored = tensors(folder)
  change(folder, {**stored, SHARED: stored[SHARED].astype(np.int8)})
  with pytest.raises(errors.UsageError, match="is of I8; only"):
    huggingface.read_params(folder)


def test_a_num_decoder_layers_of_null_is_that_of_the_encoder(folder):
  change(folder, tensors(folder), num_decoder_layers=None)
  assert huggingface.read_config(folder).num_decoder_layers == 2


# Damaged folders.


def test_a_wrong_path_says_what_was_looked_for(tmp_path):
  with pytest.raises(errors.UsageError, match=r"no folder.*config\.json"):
    huggingface.read_config(tmp_path / "none")
  with pytest.raises(errors.UsageError, match=r"config\.json is not in it"):
    huggingface.read_params(tmp_path)
  assert not huggingface.is_folder(tmp_path)


def test_a_folder_without_weights_says_what_was_looked_for(folder):
  assert huggingface.is_folder(folder)
  (folder / "model.safetensors").unlink()
  with pytest.raises(errors.UsageError, match=r"pytorch_model\.bin"):
    huggingface.read_params(folder)


@pytest.mark.parametrize("keep", [0, 5, 1000, -4])
def test_a_cut_file_is_named(keep, folder):
  file = folder / "model.safetensors"
  file.write_bytes(file.read_bytes()[:keep])
  with pytest.raises(errors.UsageError, match=r"model\.safetensors cannot be"):
    huggingface.read_params(folder)


def test_a_config_that_is_no_json_is_named(folder):
  (folder / "config.json").write_text("{")
  with pytest.raises(errors.UsageError, match=r"config\.json is no JSON"):
    huggingface.read_config(folder)


def test_missing_shards_are_named(tmp_path):
  path = exported("t5_1_1_tiny", tmp_path / "hf", shard_bytes=60_000)
  lost = next(path.glob("model-00002-*"))
  lost.unlink()
  with pytest.raises(errors.UsageError, match=lost.name):
    huggingface.read_params(path)


@pytest.mark.parametrize(
  "index",
  ["{}", "[]", "{", '{"weight_map": {"a": "../model.safetensors"}}'],
)
def test_a_damaged_index_is_named(index, tmp_path):
  path = exported("t5_1_1_tiny", tmp_path / "hf", shard_bytes=60_000)
  (path / "model.safetensors.index.json").write_text(index)
  with pytest.raises(errors.UsageError, match=r"index\.json cannot be read"):
    huggingface.read_params(path)


# Writing.


def test_nothing_is_written_over(folder):
  with pytest.raises(errors.UsageError, match="exists"):
    exported("t5_1_0_tiny", folder)
  assert huggingface.read_config(folder) == golden.load("t5_1_1_tiny").config


def test_a_failed_export_leaves_nothing(tmp_path):
  def stop(*_):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    exported("t5_1_1_tiny", tmp_path / "hf", progress=stop)
  assert not list(tmp_path.iterdir())


def test_parameters_of_another_model_are_refused(tmp_path):
  small, known = golden.load("t5_1_0_tiny"), golden.load("t5_1_1_tiny")
  with pytest.raises(errors.UsageError, match=r"mlp/wi_0.*missing"):
    huggingface.write(tmp_path / "hf", small.params, known.config)
  assert not list(tmp_path.iterdir())


def test_activations_that_config_json_cannot_say_are_refused(tmp_path):
  known = golden.load("t5_1_1_tiny")
  config = dataclasses.replace(known.config, mlp_activations=("gelu", "relu"))
  with pytest.raises(errors.UsageError, match="gelu.*relu"):
    huggingface.write(tmp_path / "hf", known.params, config)


# Pickles of PyTorch.


def _pickled(folder: pathlib.Path, torch) -> dict:
  """Turns a folder's weights into those of torch; returns its tensors."""
  file = folder / "model.safetensors"
  stored = {
    name: torch.from_numpy(value) for name, value in tensors(folder).items()
  }
  file.unlink()
  return stored


@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_model_bin_is_read(zipped, folder):
  torch = pytest.importorskip("torch")
  torch.save(
    _pickled(folder, torch),
    folder / "pytorch_model.bin",
    _use_new_zipfile_serialization=zipped,
  )
  assert_same(
    huggingface.read_params(folder), golden.load("t5_1_1_tiny").params
  )


def test_a_sharded_pytorch_model_bin_in_bfloat16_is_read(folder):
  torch = pytest.importorskip("torch")
  stored = {
    name: value.to(torch.bfloat16)
    for name, value in _pickled(folder, torch).items()
  }
  weight_map = {}
  for number, members in enumerate([list(stored)[::2], list(stored)[1::2]]):
    file = f"pytorch_model-0000{number + 1}-of-00002.bin"
    torch.save({name: stored[name] for name in members}, folder / file)
    weight_map |= dict.fromkeys(members, file)
  (folder / "pytorch_model.bin.index.json").write_text(
    json.dumps({"metadata": {}, "weight_map": weight_map})
  )
  known = golden.load("t5_1_1_tiny").params
  as_bfloat16 = jax.tree.map(
    lambda leaf: leaf.astype(ml_dtypes.bfloat16), known
  )
  assert_same(huggingface.read_params(folder), as_bfloat16)


class _Harm:
  """Unpickling it would make a file."""

  def __init__(self, path: pathlib.Path):
    self.path = path

  def __reduce__(self):
    return (pathlib.Path.touch, (self.path,))


@pytest.mark.parametrize("by_torch", [True, False])
def test_a_pickle_runs_no_code(by_torch, folder, tmp_path):
  torch = pytest.importorskip("torch")
  stored = {**_pickled(folder, torch), "harm": _Harm(tmp_path / "harm")}
  if by_torch:
    torch.save(stored, folder / "pytorch_model.bin")
  else:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(stored["harm"], 2))
  with pytest.raises(errors.UsageError, match="more than weights"):
    huggingface.read_params(folder)
  assert not (tmp_path / "harm").exists()


def test_a_pickle_of_something_else_is_refused(folder):
  torch = pytest.importorskip("torch")
  state = _pickled(folder, torch)
  torch.save({"model": state, "step": 1}, folder / "pytorch_model.bin")
  with pytest.raises(errors.UsageError, match="other than tensors by name"):
    huggingface.read_params(folder)


def test_a_damaged_pickle_is_named(folder):
  torch = pytest.importorskip("torch")
  _pickled(folder, torch)
  (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04 cut short")
  with pytest.raises(errors.UsageError, match=r"pytorch_model\.bin"):
    huggingface.read_params(folder)


def test_without_torch_a_pickle_says_what_to_install(folder, monkeypatch):
  (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
  monkeypatch.setitem(sys.modules, "torch", None)
  with pytest.raises(errors.UsageError, match=r"t5cr\[hf\]"):
    huggingface.read_params(folder)
