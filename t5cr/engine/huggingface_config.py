"""The shape of a T5, as Hugging Face's `config.json` says it."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from t5cr import errors, nested
from t5cr.engine.config import T5Config
from t5cr.engine.huggingface_weights import Weights

CONFIG_FILE = "config.json"
SHARED, HEAD = "shared.weight", "lm_head.weight"

# `feed_forward_proj` there; "gelu" alone would be the exact one, not T5's.
_FEED_FORWARD = {
  ("relu",): ("relu", "relu"),
  ("gelu",): ("gelu_new", "gelu_new"),
  ("silu",): ("silu", "silu"),
  ("gelu", "linear"): ("gated-gelu", "gelu_new"),
  ("relu", "linear"): ("gated-relu", "relu"),
  ("silu", "linear"): ("gated-silu", "silu"),
}
_EPSILON = 1e-6  # of the engine's layer norm


def read(path: pathlib.Path, weights: Weights) -> T5Config:
  """Derives a model's shape.

  Args:
    path: of the `config.json`.
    weights: of the same folder. They are looked at where the file leaves open
      whether the output layer is the embedding.

  Raises:
    UsageError: it is no T5 that the engine can run.
  """
  try:
    known = nested.load_object(path.read_text("utf-8"))
    kind = known.get("model_type")
  except ValueError as error:
    raise errors.UsageError(
      f"{path} is no JSON object ({error}). Copy or download it again."
    ) from error
  if kind != "t5":
    raise errors.UsageError(
      f"{path} is of a model of type {kind!r}; looked for 't5', which T5 1.0, "
      "T5 1.1 and Flan-T5 are."
    )
  epsilon = known.get("layer_norm_epsilon", _EPSILON)
  if epsilon != _EPSILON:
    raise errors.UsageError(
      f"{path}: layer_norm_epsilon is {epsilon}; the engine computes T5's "
      f"{_EPSILON} only."
    )
  _check_counts(path, known)
  try:
    config = T5Config(
      vocab_size=known["vocab_size"],
      emb_dim=known["d_model"],
      num_heads=known["num_heads"],
      num_encoder_layers=known["num_layers"],
      # transformers writes null where it has not been set.
      num_decoder_layers=known.get("num_decoder_layers") or known["num_layers"],
      head_dim=known["d_kv"],
      mlp_dim=known["d_ff"],
      mlp_activations=_activations(path, known),
      dropout_rate=known.get("dropout_rate", 0.1),
      logits_via_embedding=_is_tied(path, known, weights),
      relative_attention_num_buckets=known.get(
        "relative_attention_num_buckets", 32
      ),
      relative_attention_max_distance=known.get(
        "relative_attention_max_distance", 128
      ),
    )
  except KeyError as error:
    raise errors.UsageError(
      f"{path} has no {error.args[0]}, which says the model's shape."
    ) from error
  except ValueError as error:
    if isinstance(error, errors.UsageError):
      raise
    raise errors.UsageError(
      f"{path}: {error} Copy or download it again."
    ) from error
  # Before the shapes of so many layers are written down.
  layers = config.num_encoder_layers + config.num_decoder_layers
  if layers > len(weights.names):
    raise errors.UsageError(
      f"{path} says that there are {layers:,} layers, but {weights.source} "
      f"holds {len(weights.names):,} tensors. Copy or download it again."
    )
  return config


def _check_counts(path: pathlib.Path, known: Mapping[str, Any]) -> None:
  """Raises UsageError for a size that is no whole number above 0."""
  for name in (
    "vocab_size",
    "d_model",
    "num_heads",
    "num_layers",
    "d_kv",
    "d_ff",
  ):
    errors.check_count(f"{path}: {name}", known.get(name, 1))


def _activations(
  path: pathlib.Path, known: Mapping[str, Any]
) -> tuple[str, ...]:
  """The engine's names of the MLP's activations."""
  layer = known.get("feed_forward_proj", "relu")
  function = known.get("dense_act_fn")
  for activations, (name, act) in _FEED_FORWARD.items():
    if layer == name and function in (None, act):
      return activations
  names = [name for name, _ in _FEED_FORWARD.values()]
  raise errors.UsageError(
    f"{path}: feed_forward_proj {layer!r} with dense_act_fn {function!r} is "
    f"not known; the engine computes {', '.join(names)}."
  )


def _is_tied(
  path: pathlib.Path, known: Mapping[str, Any], weights: Weights
) -> bool:
  """Whether the output layer is the embedding, scaled by 1/sqrt(d_model).

  T5 1.0 has it so, T5 1.1 and Flan-T5 an output layer of their own without the
  scale. transformers 4 has one setting for both, `tie_word_embeddings`;
  transformers 5 writes that as true even of a T5 1.1, and the scale as
  `scale_decoder_outputs`.
  """
  tied = known.get("tie_word_embeddings")
  scaled = known.get("scale_decoder_outputs")
  if tied is False and scaled is True:
    raise errors.UsageError(
      f"{path}: tie_word_embeddings is false and scale_decoder_outputs true, "
      "which versions of transformers read in different ways. T5 1.0 has both "
      "true, T5 1.1 and Flan-T5 both false."
    )
  if tied is False and HEAD not in weights.names:
    raise errors.UsageError(
      f"{path}: tie_word_embeddings is false, but {weights.source} has no "
      f"{HEAD}. Copy or download the folder again."
    )
  if tied is False or scaled is False:
    return False
  if HEAD not in weights.names or SHARED not in weights.names:
    return True
  if np.array_equal(weights.read(HEAD), weights.read(SHARED)):
    return True
  if tied is None and scaled is None:
    return False  # An early T5 1.1: its own output layer tells.
  raise errors.UsageError(
    f"{path}: tie_word_embeddings is true, but {weights.source} holds a "
    f"{HEAD} that differs from {SHARED}. Set tie_word_embeddings and "
    "scale_decoder_outputs to false if the model is a T5 1.1 or Flan-T5, or "
    f"leave {HEAD} out if it is a T5 1.0."
  )


def to_json(config: T5Config, dtype: np.dtype) -> dict[str, Any]:
  """The content of `config.json`.

  Args:
    config: the model's shape.
    dtype: of its stored parameters.

  Raises:
    UsageError: transformers cannot express the model.
  """
  if config.mlp_activations not in _FEED_FORWARD:
    raise errors.UsageError(
      f"mlp_activations {config.mlp_activations} cannot be said in a "
      f"config.json of T5; those that can: {list(_FEED_FORWARD)}."
    )
  layer, function = _FEED_FORWARD[config.mlp_activations]
  return {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "is_encoder_decoder": True,
    "vocab_size": config.vocab_size,
    "d_model": config.emb_dim,
    "d_kv": config.head_dim,
    "d_ff": config.mlp_dim,
    "num_heads": config.num_heads,
    "num_layers": config.num_encoder_layers,
    "num_decoder_layers": config.num_decoder_layers,
    "relative_attention_num_buckets": config.relative_attention_num_buckets,
    "relative_attention_max_distance": config.relative_attention_max_distance,
    "feed_forward_proj": layer,
    "dense_act_fn": function,
    "is_gated_act": len(config.mlp_activations) > 1,
    "dropout_rate": config.dropout_rate,
    "layer_norm_epsilon": _EPSILON,
    "initializer_factor": 1.0,
    # The first for transformers 4, the second for 5.
    "tie_word_embeddings": config.logits_via_embedding,
    "scale_decoder_outputs": config.logits_via_embedding,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
    "use_cache": True,
    "torch_dtype": np.dtype(dtype).name,
  }
