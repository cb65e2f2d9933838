"""Checkpoints, weights and vocabularies that were made to do harm."""

import json
import os
import pathlib
import pickle
import shutil
import struct
import sys

import jax
import msgpack
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny

import t5cr
from t5cr import errors
from t5cr.engine import convert, formats, huggingface, model

CONFIG = tiny.CONFIG


@pytest.fixture(scope="module")
def good(tmp_path_factory):
  """The same model in every format: name -> its folder."""
  place = tmp_path_factory.mktemp("good")
  shapes = model.param_shapes(CONFIG)
  random = np.random.default_rng(0)
  params = jax.tree.map(
    lambda shape: random.normal(size=shape).astype(np.float32),
    shapes,
    is_leaf=lambda leaf: isinstance(leaf, tuple),
  )
  huggingface.write(place / "hf", params, CONFIG)
  for to in (formats.Format.T5CR, formats.Format.T5X_LEGACY):
    convert.convert(place / "hf", place / to, to)
  # Orbax writes its arrays into a database unless it is told not to.
  handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False)
  with ocp.Checkpointer(ocp.CompositeCheckpointHandler(state=handler)) as saver:
    state = ocp.args.PyTreeSave({"target": params})
    saver.save(place / "t5x/checkpoint_0", ocp.args.Composite(state=state))
  return place


@pytest.fixture(autouse=True)
def vocabulary(character_vocabulary, monkeypatch):
  monkeypatch.setenv("T5CR_VOCABULARY", str(character_vocabulary))


class Touch:
  """A pickle that makes a file when it is read."""

  def __init__(self, path: pathlib.Path):
    self._path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self._path,)


def load(folder: pathlib.Path) -> None:
  """All that reading a model reads."""
  recommender = t5cr.load(folder)
  assert recommender.vocabulary


@pytest.mark.parametrize("kind", ["hf", "t5x", "t5x_legacy", "t5cr"])
def test_what_nobody_has_touched_is_read(good, kind):
  load(good / kind)


def evil(watched) -> bytes:
  payload = pickle.dumps(Touch(watched.sentinel))
  pickle.loads(payload)  # The attack would work.
  assert watched.sentinel.exists()
  watched.sentinel.unlink()
  return payload


@pytest.mark.parametrize(
  ("kind", "name"),
  [
    ("hf", "config.json"),
    ("hf", "model.safetensors"),
    ("hf", "spiece.model"),
    ("t5x_legacy", "checkpoint_0/checkpoint"),
    ("t5x_legacy", "checkpoint_0/target.token_embedder.embedding/.zarray"),
    ("t5x_legacy", "checkpoint_0/target.token_embedder.embedding/0.0"),
    ("t5x", "checkpoint_0/state/_METADATA"),
    ("t5x", "checkpoint_0/state/target.token_embedder.embedding/0.0"),
    ("t5cr", "checkpoint_0/config/metadata"),
    ("t5cr", "checkpoint_0/state/manifest.ocdbt"),
    ("t5cr", "checkpoint_0/sentencepiece.model"),
  ],
)
def test_a_pickle_in_place_of_any_file_is_data(watched, good, kind, name):
  payload = evil(watched)
  folder = watched.inside / "run"
  shutil.copytree(good / kind, folder)
  (folder / name).write_bytes(payload)
  with pytest.raises(errors.UsageError, match=str(folder)):
    load(folder)


def as_array(shape, dtype: str, content: bytes) -> msgpack.ExtType:
  return msgpack.ExtType(1, msgpack.packb((shape, dtype, content)) or b"")


def described(shape, dtype="float32", **more) -> dict:
  entry = {"kvstore": {"driver": "http", "path": "http://127.0.0.1:9/"}}
  return entry | {"metadata": {"shape": shape}, "dtype": dtype} | more


def deep(levels: int) -> dict:
  tree: dict = {}
  for _ in range(levels):
    tree = {"a": tree or 1}
  return tree


# What stands in the msgpack index of t5x's first format as the parameters.
INDICES = {
  "objects": {"x": as_array((2,), "object", bytes(16))},
  "a length that is not there": {"x": as_array((10**12,), "float32", b"1234")},
  "a shape of terabytes": {"x": described([2**50])},
  "a shape of text": {"x": described("ab")},
  "a dtype of objects": {"x": described([1], "object")},
  "no dtype": {"x": described([1], "no_such")},
  "no description": {"x": {"kvstore": 1}},
  "an unknown extension": {"x": msgpack.ExtType(77, b"xx")},
  "text": {"x": "abc"},
  "no tree": 3,
  "a name in another": {"a": 1.0, "a/b": 1.0},
  "a chunked array": {
    "x": {
      "__msgpack_chunked_array__": True,
      "shape": {"0": 10**12},
      "chunks": {"0": as_array((1,), "float32", b"1234")},
    }
  },
  "too deep": deep(300),
}


@pytest.mark.parametrize("attack", INDICES)
def test_a_hostile_index_is_told(watched, attack):
  folder = watched.inside / "checkpoint_1"
  folder.mkdir()
  content = msgpack.packb({"optimizer": {"target": INDICES[attack]}})
  (folder / "checkpoint").write_bytes(content or b"")
  with pytest.raises(errors.UsageError, match="checkpoint"):
    t5cr.load(folder)


def change(path: pathlib.Path, **values) -> None:
  path.write_text(json.dumps(json.loads(path.read_text()) | values))


EMBEDDING = "state/target.token_embedder.embedding/.zarray"


@pytest.mark.parametrize(
  "values",
  [
    {"dtype": "|O", "filters": [{"id": "pickle"}]},
    {"shape": [10**14, 16]},
    # TensorStore makes room for a chunk; where there is none the process ends.
    {"chunks": [10**6, 10**6]},
    {"shape": [384, 16], "zarr_format": 99},
  ],
)
@pytest.mark.parametrize("kind", ["t5x", "t5x_legacy"])
def test_a_hostile_array_is_told(watched, good, kind, values):
  folder = watched.inside / "run"
  shutil.copytree(good / kind, folder)
  name = EMBEDDING if kind == "t5x" else EMBEDDING.removeprefix("state/")
  change(folder / "checkpoint_0" / name, **values)
  with pytest.raises(errors.UsageError):
    t5cr.load(folder)


def climbing_names(folder: pathlib.Path) -> None:
  path = folder / "state/_METADATA"
  about = json.loads(path.read_text())
  about["tree_metadata"]["('..', 'x')"] = {
    "key_metadata": [{"key": "../../../secret", "key_type": 2}],
    "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
  }
  path.write_text(json.dumps(about))


def types_of_a_module(folder: pathlib.Path) -> None:
  path = folder / "state/_METADATA"
  path.write_text(path.read_text().replace("np.ndarray", "evil.Handler"))


def names_a_handler(folder: pathlib.Path) -> None:
  path = folder / "_CHECKPOINT_METADATA"
  change(path, item_handlers={"state": "evil.Handler"})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
  ("attack", "told"),
  [
    (climbing_names, True),
    (types_of_a_module, True),
    (names_a_handler, False),
  ],
)
def test_metadata_of_orbax_leads_nowhere(
  watched, good, attack, told, monkeypatch
):
  folder = watched.inside / "run"
  shutil.copytree(good / "t5x", folder)
  shutil.copytree(
    good / "t5x/checkpoint_0/state/target.token_embedder.embedding",
    watched.root / "secret",
  )
  watched.taken()
  (watched.inside / "evil.py").write_text(
    f"open({str(watched.sentinel)!r}, 'w')\n"
  )
  monkeypatch.syspath_prepend(str(watched.inside))
  attack(folder / "checkpoint_0")
  if told:
    with pytest.raises(errors.UsageError):
      t5cr.load(folder)
  else:
    t5cr.load(folder)
  assert "evil" not in sys.modules


SHAPES = {
  "no end of layers": {"num_layers": 10**9, "num_decoder_layers": 10**9},
  "more layers than tensors": {"num_layers": 9_999},
  "terabytes": {"vocab_size": 2**40, "d_model": 2**40},
  "negative": {"d_ff": -1},
  "text": {"num_heads": "__import__('os')"},
  "buckets": {"relative_attention_num_buckets": 10**18},
}


@pytest.mark.parametrize("attack", SHAPES)
def test_a_shape_without_end_is_told(watched, good, attack):
  folder = watched.inside / "hf"
  shutil.copytree(good / "hf", folder)
  change(folder / "config.json", **SHAPES[attack])
  with pytest.raises(errors.UsageError):
    t5cr.load(folder)


def test_a_shape_without_end_is_told_of_a_run_too(watched, good):
  folder = watched.inside / "run"
  shutil.copytree(good / "t5cr", folder)
  path = folder / "checkpoint_0/config/metadata"
  about = json.loads(path.read_text())
  about["model"]["num_encoder_layers"] = 10**9
  about.pop("sha256", None)
  path.write_text(json.dumps(about))
  with pytest.raises(errors.UsageError, match="num_encoder_layers"):
    t5cr.load(folder)


def test_code_beside_the_weights_is_not_imported(watched, good):
  folder = watched.inside / "hf"
  shutil.copytree(good / "hf", folder)
  change(
    folder / "config.json",
    auto_map={"AutoConfig": "evil_t5.Config", "AutoModel": "evil_t5.Model"},
    trust_remote_code=True,
  )
  (folder / "evil_t5.py").write_text(f"open({str(watched.sentinel)!r}, 'w')\n")
  t5cr.load(folder)
  assert "evil_t5" not in sys.modules
  convert.convert(folder, watched.inside / "out", formats.Format.T5CR)


def with_index(folder: pathlib.Path, name: object) -> None:
  (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
  index = {"weight_map": {"shared.weight": name}}
  path = folder / "model.safetensors.index.json"
  path.write_text(json.dumps(index))


@pytest.mark.parametrize(
  "name",
  ["../outside.safetensors", "/etc/passwd", "..", "", 7, None, "a\0b", ["x"]],
)
def test_an_index_names_no_files_elsewhere(watched, good, name):
  folder = watched.inside / "hf"
  shutil.copytree(good / "hf", folder)
  with_index(folder, name)
  with pytest.raises(errors.UsageError, match=r"index\.json"):
    t5cr.load(folder)


HEADER = {
  "shared.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
}


@pytest.mark.parametrize(
  "content",
  [
    struct.pack("<Q", 2**63) + b"{}",
    struct.pack("<Q", 2**40) + b"{}",
    struct.pack("<Q", 100_000) + b'{"a":' * 20_000,
    struct.pack("<Q", len(json.dumps(HEADER))) + json.dumps(HEADER).encode(),
    struct.pack("<Q", 89)
    + b'{"shared.weight":{"dtype":"F32","shape":[18446744073709551615,9],'
    + b'"data_offsets":[0,4]}}   ',
  ],
)
def test_a_hostile_header_of_safetensors_is_told(watched, good, content):
  folder = watched.inside / "hf"
  shutil.copytree(good / "hf", folder)
  (folder / "model.safetensors").write_bytes(content)
  with pytest.raises(errors.UsageError, match="model.safetensors"):
    t5cr.load(folder)


def of_torch(watched, path: pathlib.Path) -> list:
  """Files of PyTorch: with code, in both of its forms, and a bomb."""
  torch = pytest.importorskip("torch", reason="needs the extra hf")
  payload = Touch(watched.sentinel)
  small = torch.zeros(1)
  huge = small.expand(2**20, 2**20)  # One number, terabytes when written out.
  return [
    lambda: path.write_bytes(pickle.dumps({"shared.weight": payload})),
    lambda: torch.save({"shared.weight": small, "x": payload}, path),
    lambda: torch.save(
      {"x": payload}, path, _use_new_zipfile_serialization=False
    ),
    lambda: torch.save({"shared.weight": huge}, path),
    lambda: torch.save({"shared.weight": torch.eye(4).to_sparse()}, path),
  ]


def test_weights_of_pytorch_run_no_code(watched, good):
  folder = watched.inside / "hf"
  shutil.copytree(good / "hf", folder)
  (folder / "model.safetensors").unlink()
  path = folder / "pytorch_model.bin"
  for write in of_torch(watched, path):
    write()
    with pytest.raises(errors.UsageError, match="pytorch_model.bin"):
      t5cr.load(folder)


def test_without_a_safe_torch_no_pickle_is_read(watched, good, monkeypatch):
  """Whether torch is not there, or is of before `weights_only` was safe."""
  folder = watched.inside / "hf"
  shutil.copytree(good / "hf", folder)
  (folder / "model.safetensors").unlink()
  path = folder / "pytorch_model.bin"
  path.write_bytes(pickle.dumps({"shared.weight": Touch(watched.sentinel)}))

  class OldTorch:
    __version__ = "2.5.1"

    @staticmethod
    def load(file, **options):
      return pickle.loads(pathlib.Path(file).read_bytes())

  for there in (None, OldTorch):
    monkeypatch.setitem(sys.modules, "torch", there)
    with pytest.raises(errors.UsageError, match="safetensors"):
      t5cr.load(folder)


def test_lengths_that_a_run_claims_have_an_end(watched, good):
  folder = watched.inside / "run"
  shutil.copytree(good / "t5cr", folder)
  for lengths in ({"inputs": 10**15, "targets": 8}, {"inputs": -1}, [], "x"):
    settings = {"TrainData": {"task_feature_lengths": lengths}}
    (folder / "run.json").write_text(json.dumps({"settings": settings}))
    try:
      loaded = t5cr.load(folder)
    except errors.UsageError as error:
      assert "run.json" in str(error)
    else:
      assert loaded.feature_lengths == {"inputs": 512, "targets": 128}


def test_links_of_a_checkpoint_are_not_written_through(watched, good):
  link = watched.inside / "out"
  link.symlink_to(watched.root)
  before = sorted(os.listdir(watched.root))
  with pytest.raises(errors.UsageError, match="is there already|exists"):
    convert.convert(good / "hf", link, formats.Format.HF)
  assert sorted(os.listdir(watched.root)) == before
