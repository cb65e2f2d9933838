"""T5 folders of Hugging Face transformers, read and written.

A folder has the model's shape in `config.json`, its weights in safetensors
(or, when read, in a pickle of PyTorch), and the tokenizer. Their linear layers
are stored [out, in] and the relative position bias [buckets, heads]: both the
other way round than in t5x's tree. Everything else has only another name.
"""

import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np
from flax import traverse_util

from t5cr import errors
from t5cr.engine import (
  huggingface_config,
  huggingface_tokenizer,
  huggingface_weights,
  model,
)
from t5cr.engine.config import T5Config
from t5cr.engine.huggingface_config import CONFIG_FILE, HEAD, SHARED
from t5cr.engine.huggingface_weights import Weights
from t5cr.progress import Progress

# Other names under which folders hold the embedding once more.
_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# In T5's first folders; no version of transformers reads it.
_UNUSED = (
  "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
)
_ENCODER_LAYERS = {
  "pre_attention_layer_norm": "layer.0.layer_norm",
  "attention": "layer.0.SelfAttention",
  "pre_mlp_layer_norm": "layer.1.layer_norm",
  "mlp": "layer.1.DenseReluDense",
}
_DECODER_LAYERS = {
  "pre_self_attention_layer_norm": "layer.0.layer_norm",
  "self_attention": "layer.0.SelfAttention",
  "pre_cross_attention_layer_norm": "layer.1.layer_norm",
  "encoder_decoder_attention": "layer.1.EncDecAttention",
  "pre_mlp_layer_norm": "layer.2.layer_norm",
  "mlp": "layer.2.DenseReluDense",
}
_PROJECTIONS = {"query": "q", "key": "k", "value": "v", "out": "o"}

Path = tuple[str, ...]


def is_folder(path: str | os.PathLike[str]) -> bool:
  """Whether a path is a local folder with a `config.json`."""
  return (pathlib.Path(path) / CONFIG_FILE).is_file()


def read_config(path: str | os.PathLike[str]) -> T5Config:
  """The shape of the model in a folder.

  The weights are looked at where the configuration leaves open whether the
  output layer is the embedding.

  Raises:
    UsageError: it is no T5 that the engine can run.
  """
  folder = pathlib.Path(path)
  with huggingface_weights.open_folder(_checked(folder)) as weights:
    return huggingface_config.read(folder / CONFIG_FILE, weights)


def read_params(
  path: str | os.PathLike[str], progress: Progress | None = None
) -> dict[str, Any]:
  """The parameters in a folder, as t5x's tree.

  Args:
    path: the folder.
    progress: called with (stage, done, total, unit).

  Returns:
    Nested dicts of numpy arrays, in the dtype that they are stored in;
    bfloat16 as that of ml_dtypes.

  Raises:
    UsageError: tensors are missing, too many or of another shape than
      `config.json` says, or a file is damaged.
  """
  folder = pathlib.Path(path)
  with huggingface_weights.open_folder(_checked(folder)) as weights:
    config = huggingface_config.read(folder / CONFIG_FILE, weights)
    shapes = _shapes(config)
    sources = _sources(weights, config)
    params: dict[Path, np.ndarray] = {}
    wrong = []
    for done, (path_, name) in enumerate(sources.items(), start=1):
      value = weights.read(name)
      params[path_] = value.T if _is_transposed(path_) else value
      if params[path_].shape != shapes[path_]:
        wanted = shapes[path_]
        wanted = wanted[::-1] if _is_transposed(path_) else wanted
        wrong.append(f"{name} is {value.shape}, not {wanted}")
      if progress:
        progress("read Hugging Face weights", done, len(sources), "tensors")
    if wrong:
      raise errors.UsageError(
        f"{weights.source} does not fit {folder / CONFIG_FILE}: "
        f"{len(wrong)} tensors have another shape: {'; '.join(wrong[:3])}."
      )
    _check_copies(weights, params["token_embedder", "embedding"])
  return traverse_util.unflatten_dict(params)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Shapes and dtypes of a folder's parameters; arguments of `read_params`.

  Returns:
    t5x's tree of `jax.ShapeDtypeStruct`: the configuration's shapes, the
    dtypes of the tensors.
  """
  folder = pathlib.Path(path)
  with huggingface_weights.open_folder(_checked(folder)) as weights:
    config = huggingface_config.read(folder / CONFIG_FILE, weights)
    shapes = _shapes(config)
    return traverse_util.unflatten_dict(
      {
        path_: jax.ShapeDtypeStruct(shapes[path_], weights.dtype(name))
        for path_, name in _sources(weights, config).items()
      }
    )


def _sources(weights: Weights, config: T5Config) -> dict[Path, str]:
  """Which tensor each parameter is read from; checks that they are there."""
  sources = {path: _name(path) for path in _shapes(config)}
  if SHARED not in weights.names:
    copies = [name for name in _COPIES if name in weights.names]
    sources["token_embedder", "embedding"] = (copies or [SHARED])[0]
  # transformers 5 can tie the weights without T5 1.0's scale.
  if not config.logits_via_embedding and HEAD not in weights.names:
    sources["decoder", "logits_dense", "kernel"] = sources[
      "token_embedder", "embedding"
    ]
  _check_names(weights, set(sources.values()))
  return sources


def write(
  folder: str | os.PathLike[str],
  params: Mapping[str, Any],
  config: T5Config,
  *,
  vocabulary: str | os.PathLike[str] | bytes | None = None,
  card: str | None = None,
  shard_bytes: int = huggingface_weights.SHARD_BYTES,
  progress: Progress | None = None,
) -> None:
  """Writes a folder that transformers loads; it appears when it is whole.

  Args:
    folder: to be made; local.
    params: t5x's tree of numpy's or JAX's arrays; they keep their dtype.
    config: of the model.
    vocabulary: path or content of the SentencePiece model that the model was
      trained with; without it the folder has no tokenizer.
    card: the text of README.md.
    shard_bytes: the most bytes in a file of weights.
    progress: called with (stage, done, total, unit).

  Raises:
    UsageError: the folder exists, the parameters are not those of the
      configuration, or transformers cannot express the model.
  """
  target = pathlib.Path(folder)
  if "://" in str(folder):
    raise errors.UsageError(
      f"A Hugging Face folder is written to a local disk, not to {folder}. "
      "Write it there and copy it."
    )
  if target.exists():
    raise errors.UsageError(
      f"{target} exists. Choose a new folder, or move that one away."
    )
  flat = _checked_params(params, config)
  content: dict[str, Any] = {
    CONFIG_FILE: huggingface_config.to_json(
      config, flat["token_embedder", "embedding"].dtype
    ),
    "generation_config.json": {
      "decoder_start_token_id": 0,
      "eos_token_id": 1,
      "pad_token_id": 0,
    },
  }
  if vocabulary is not None:
    content |= huggingface_tokenizer.files(
      huggingface_tokenizer.read(vocabulary), config.vocab_size
    )
  if card is not None:
    content["README.md"] = card.encode()
  scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
  shutil.rmtree(scratch, ignore_errors=True)
  scratch.mkdir(parents=True)
  try:
    for name, value in content.items():
      if not isinstance(value, bytes):
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        value = text.encode()
      (scratch / name).write_bytes(value)
    _write_weights(scratch, flat, shard_bytes, progress)
    for file in scratch.glob("*.safetensors"):
      # safetensors lets nobody but the owner read them.
      shutil.copymode(scratch / CONFIG_FILE, file)
    scratch.rename(target)
  finally:
    shutil.rmtree(scratch, ignore_errors=True)


def _checked(folder: pathlib.Path) -> pathlib.Path:
  """Raises UsageError unless there is a Hugging Face folder."""
  if not is_folder(folder):
    reason = f"{CONFIG_FILE} is not in it" if folder.is_dir() else "no folder"
    raise errors.UsageError(
      f"No Hugging Face model at {folder}: {reason}. Give a local folder with "
      f"{CONFIG_FILE} and the weights; download one from the Hub first."
    )
  return folder


def _shapes(config: T5Config) -> dict[Path, tuple[int, ...]]:
  """The shape of each parameter, by its path in t5x's tree."""
  flat = traverse_util.flatten_dict(model.param_shapes(config))
  return cast(dict[Path, tuple[int, ...]], flat)


def _name(path: Path) -> str:
  """The name there of a parameter of t5x's tree."""
  if path[0] == "token_embedder":
    return SHARED
  stack, part, *rest = path
  if part == "logits_dense":
    return HEAD
  if part == "relpos_bias":
    return (
      f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    )
  if part in ("encoder_norm", "decoder_norm"):
    return f"{stack}.final_layer_norm.weight"
  layers = _ENCODER_LAYERS if stack == "encoder" else _DECODER_LAYERS
  names = [stack, "block", part.removeprefix("layers_"), layers[rest[0]]]
  if len(rest) == 3:
    names.append(_PROJECTIONS.get(rest[1], rest[1]))
  return ".".join([*names, "weight"])


def _is_transposed(path: Path) -> bool:
  return path[-1] in ("kernel", "rel_embedding")


def _check_names(weights: Weights, expected: set[str]) -> None:
  """Raises UsageError for missing tensors, and for those of no use."""
  ignored = {SHARED, HEAD, _UNUSED, *_COPIES}
  missing = sorted(expected - weights.names)
  extra = sorted(weights.names - expected - ignored)
  if missing or extra:
    parts = [
      f"{len(names)} are {what}: {', '.join(names[:5])}"
      for what, names in (("missing", missing), ("unknown", extra))
      if names
    ]
    raise errors.UsageError(
      f"{weights.source} does not hold the tensors of a T5 with the shape in "
      f"{CONFIG_FILE}: looked for {len(expected)}; {'; '.join(parts)}."
    )


def _check_copies(weights: Weights, embedding: np.ndarray) -> None:
  """Raises UsageError if a stack has an embedding of its own."""
  for name in _COPIES:
    if name in weights.names and not np.array_equal(
      weights.read(name), embedding
    ):
      raise errors.UsageError(
        f"{weights.source}: {name} differs from {SHARED}; the encoder and "
        "the decoder of a T5 share one embedding."
      )


def _checked_params(
  params: Mapping[str, Any], config: T5Config
) -> dict[Path, Any]:
  """The parameters by path; raises UsageError unless they fit the config."""
  flat = traverse_util.flatten_dict(dict(params))
  shapes = _shapes(config)
  wrong = [
    f"{'/'.join(path)} is {getattr(flat.get(path), 'shape', 'missing')}, "
    f"not {shapes.get(path, 'there')}"
    for path in sorted(shapes.keys() | flat.keys())
    if getattr(flat.get(path), "shape", None) != shapes.get(path)
  ]
  if wrong:
    raise errors.UsageError(
      f"The parameters do not fit the model: {len(wrong)} differ: "
      f"{'; '.join(wrong[:3])}."
    )
  return flat


def _write_weights(
  folder: pathlib.Path,
  flat: Mapping[Path, Any],
  shard_bytes: int,
  progress: Progress | None,
) -> None:
  """Writes the parameters under their names there."""
  paths = {_name(path): path for path in flat}

  def read(name: str) -> np.ndarray:
    value = np.asarray(flat[paths[name]])
    return value.T if _is_transposed(paths[name]) else value

  sizes = {
    name: int(np.prod(flat[path].shape)) * np.dtype(flat[path].dtype).itemsize
    for name, path in paths.items()
  }
  huggingface_weights.write(
    folder,
    sorted(paths),
    read,
    sizes,
    shard_bytes=shard_bytes,
    progress=progress,
  )
