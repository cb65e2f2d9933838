"""T5 1.0 and 1.1 as pure functions over t5x's parameter tree."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from t5cr.engine import layers
from t5cr.engine.config import T5Config
from t5cr.engine.layers import Dropout, Params

Batch = Mapping[str, Any]  # of arrays, numpy's or jax's
Branch = Callable[[Params, jax.Array], jax.Array]  # (parameters, stream)


def param_shapes(config: T5Config) -> dict[str, Any]:
  """The parameter tree as nested dicts of shapes."""
  joined = config.num_heads * config.head_dim
  norm = {"scale": (config.emb_dim,)}
  attention = {
    **{k: {"kernel": (config.emb_dim, joined)} for k in ("query", "key")},
    "value": {"kernel": (config.emb_dim, joined)},
    "out": {"kernel": (joined, config.emb_dim)},
  }
  gated = len(config.mlp_activations) > 1
  mlp = {
    (f"wi_{i}" if gated else "wi"): {"kernel": (config.emb_dim, config.mlp_dim)}
    for i in range(len(config.mlp_activations))
  }
  mlp["wo"] = {"kernel": (config.mlp_dim, config.emb_dim)}
  bias = {
    "rel_embedding": (config.num_heads, config.relative_attention_num_buckets)
  }
  encoder = {"encoder_norm": norm, "relpos_bias": bias}
  for i in range(config.num_encoder_layers):
    encoder[f"layers_{i}"] = {
      "pre_attention_layer_norm": norm,
      "attention": attention,
      "pre_mlp_layer_norm": norm,
      "mlp": mlp,
    }
  decoder = {"decoder_norm": norm, "relpos_bias": bias}
  for i in range(config.num_decoder_layers):
    decoder[f"layers_{i}"] = {
      "pre_self_attention_layer_norm": norm,
      "self_attention": attention,
      "pre_cross_attention_layer_norm": norm,
      "encoder_decoder_attention": attention,
      "pre_mlp_layer_norm": norm,
      "mlp": mlp,
    }
  if not config.logits_via_embedding:
    decoder["logits_dense"] = {"kernel": (config.emb_dim, config.vocab_size)}
  embedding = {"embedding": (config.vocab_size, config.emb_dim)}
  return {"token_embedder": embedding, "encoder": encoder, "decoder": decoder}


def _standard_deviation(path: tuple[str, ...], config: T5Config) -> float:
  """T5's initial scale: fan-in, with 1/sqrt(d) folded into the query."""
  if path[-1] == "embedding":
    return 1.0
  if path[-1] == "rel_embedding":
    return config.emb_dim**-0.5
  fan_in = {
    "query": config.emb_dim * config.head_dim,
    "out": config.num_heads * config.head_dim,
    "wo": config.mlp_dim,
  }.get(path[-2], config.emb_dim)
  return fan_in**-0.5


def init(config: T5Config, rng: jax.Array) -> dict[str, Any]:
  """Fresh float32 parameters: scales one, the rest normal at T5's scale."""
  shapes, tree = jax.tree_util.tree_flatten_with_path(
    param_shapes(config), is_leaf=lambda x: isinstance(x, tuple)
  )
  values = []
  for i, (path, shape) in enumerate(shapes):
    names = tuple(key.key for key in path)
    if names[-1] == "scale":
      values.append(jnp.ones(shape, jnp.float32))
    else:
      noise = jax.random.normal(jax.random.fold_in(rng, i), shape, jnp.float32)
      values.append(noise * _standard_deviation(names, config))
  return jax.tree_util.tree_unflatten(tree, values)


def embed(
  params: Params, config: T5Config, tokens: Int[Array, "b l"]
) -> Float[Array, "b l e"]:
  """Looks embeddings up; a gather, not a product with a one-hot matrix."""
  table = params["token_embedder"]["embedding"]
  return table[tokens].astype(config.dtype)


def encode(
  params: Params,
  config: T5Config,
  encoder_input_tokens: Int[Array, "b s"],
  encoder_segment_ids: Int[Array, "b s"] | None = None,
  dropout: Dropout | None = None,
) -> Float[Array, "b s e"]:
  """Runs the encoder.

  Args:
    params: the whole tree.
    config: of the model.
    encoder_input_tokens: ids, 0 is padding.
    encoder_segment_ids: of packed examples, or None.
    dropout: None to run without.

  Returns:
    The encoder's output, normalised, in `config.dtype`.
  """
  dropout = dropout or Dropout(0.0)
  encoder = params["encoder"]
  tokens = jnp.asarray(encoder_input_tokens)
  mask = layers.pair_mask(tokens, tokens)
  if encoder_segment_ids is not None:
    mask &= layers.segment_mask(encoder_segment_ids, encoder_segment_ids)
  positions = jnp.arange(tokens.shape[1])[None]
  # Packed examples keep their distances, so the plain index serves them too.
  position = layers.relative_position_bias(
    encoder["relpos_bias"], config, positions, positions, bidirectional=True
  )
  bias = layers.Bias(mask, position)

  def block(layer: Params, x: jax.Array, dropout: Dropout) -> jax.Array:
    y = layers.rms_norm(layer["pre_attention_layer_norm"], x)
    attention = layer["attention"]
    x += dropout(layers.self_attend(attention, config, y, bias, dropout))
    y = layers.rms_norm(layer["pre_mlp_layer_norm"], x)
    return x + dropout(layers.mlp(layer["mlp"], config, y, dropout))

  x = dropout(embed(params, config, tokens))
  x = _stack(encoder, config.num_encoder_layers, config, block, x, dropout)
  return dropout(layers.rms_norm(encoder["encoder_norm"], x))


def _stack(
  params: Params,
  count: int,
  config: T5Config,
  block: Callable[[Params, jax.Array, Dropout], jax.Array],
  x: Float[Array, "b l e"],
  dropout: Dropout,
) -> Float[Array, "b l e"]:
  """Runs a stream through the layers of an encoder or a decoder.

  Args:
    params: of the stack.
    count: of its layers.
    config: with `scan_layers` they are one loop, which compiles in the time
      of one layer.
    block: maps (a layer's parameters, stream, dropout) to the stream after it.
    x: the stream.
    dropout: of the whole model.

  Returns:
    The stream behind the last layer.
  """
  dropout = dropout.of_stack()
  each = [params[f"layers_{i}"] for i in range(count)]
  if not config.scan_layers:
    for i, layer in enumerate(each):
      x = block(layer, x, dropout.of_layer(i))
    return x

  def stack(path: Any, *leaves: jax.Array) -> jax.Array:
    # Kernels are used in the activations' dtype, the scales of norms are not.
    wide = path[-1].key == "scale"
    return jnp.stack(
      [leaf if wide else leaf.astype(config.dtype) for leaf in leaves]
    )

  # A loop keeps for its derivative what JAX asks for, float32 copies of norms
  # included; products are all that is worth keeping.
  @functools.partial(
    jax.checkpoint,
    policy=jax.checkpoint_policies.dots_saveable,
    prevent_cse=False,
  )
  def step(x: jax.Array, numbered: tuple[jax.Array, Params]):
    number, layer = numbered
    return block(layer, x, dropout.of_layer(number)), None

  stacked = jax.tree_util.tree_map_with_path(stack, *each)
  x, _ = jax.lax.scan(step, x, (jnp.arange(count), stacked))
  return x


def decoder_block(
  layer: Params,
  config: T5Config,
  x: Float[Array, "b t e"],
  self_attention: Branch,
  cross_attention: Branch,
  dropout: Dropout,
) -> Float[Array, "b t e"]:
  """One decoder layer.

  Args:
    layer: its parameters.
    config: of the model.
    x: the residual stream.
    self_attention: maps the layer's parameters of self-attention and the
      normalised stream to what is attended, projected back; in training over
      the stream itself, in decoding over the cache.
    cross_attention: the same over the encoder's output.
    dropout: of the branches and the attention weights.

  Returns:
    The residual stream after the layer.
  """
  y = layers.rms_norm(layer["pre_self_attention_layer_norm"], x)
  x += dropout(self_attention(layer["self_attention"], y))
  y = layers.rms_norm(layer["pre_cross_attention_layer_norm"], x)
  x += dropout(cross_attention(layer["encoder_decoder_attention"], y))
  y = layers.rms_norm(layer["pre_mlp_layer_norm"], x)
  return x + dropout(layers.mlp(layer["mlp"], config, y, dropout))


def run_decoder(
  params: Params,
  config: T5Config,
  x: Float[Array, "b t e"],
  self_bias: layers.Bias,
  encoded: Float[Array, "b s e"],
  cross_bias: layers.Bias,
  dropout: Dropout,
) -> Float[Array, "b t e"]:
  """The decoder's layers over embedded tokens.

  Args:
    params: the whole tree.
    config: of the model.
    x: embedded tokens.
    self_bias: mask and positions of the tokens among themselves.
    encoded: from `encode`.
    cross_bias: mask of the encoder's output.
    dropout: of branches and attention weights.

  Returns:
    The residual stream behind the last layer.
  """

  def block(layer: Params, x: jax.Array, dropout: Dropout) -> jax.Array:
    def self_attention(attention, y):
      return layers.self_attend(attention, config, y, self_bias, dropout)

    def cross_attention(attention, y):
      kv = layers.keys_and_values(attention, config, encoded)
      return layers.attend(attention, config, y, kv, cross_bias, dropout)

    return decoder_block(
      layer, config, x, self_attention, cross_attention, dropout
    )

  count, decoder = config.num_decoder_layers, params["decoder"]
  return _stack(decoder, count, config, block, x, dropout)


def to_logits(
  params: Params,
  config: T5Config,
  x: Float[Array, "b t e"],
  dropout: Dropout | None = None,
) -> Float[Array, "b t v"]:
  """The decoder's final norm and output layer; float32."""
  decoder = params["decoder"]
  x = layers.rms_norm(decoder["decoder_norm"], x)
  x = (dropout or Dropout(0.0))(x)
  if config.logits_via_embedding:
    # A shared embedding has unit variance; see the T5 paper's code.
    table = params["token_embedder"]["embedding"].astype(x.dtype)
    logits = jnp.einsum("bte,ve->btv", x * config.emb_dim**-0.5, table)
    return logits.astype(jnp.float32)
  return layers.dense(decoder["logits_dense"], x.astype(jnp.float32))


def decode(
  params: Params,
  config: T5Config,
  encoded: Float[Array, "b s e"],
  batch: Batch,
  dropout: Dropout | None = None,
) -> Float[Array, "b t v"]:
  """Runs the decoder over given targets (teacher forcing).

  Args:
    params: the whole tree.
    config: of the model.
    encoded: from `encode`.
    batch: encoder_input_tokens, decoder_input_tokens, decoder_target_tokens
      and, when packed, encoder_segment_ids and decoder_segment_ids.
    dropout: None to run without.

  Returns:
    Unnormalised logits, float32.
  """
  dropout = dropout or Dropout(0.0)
  decoder = params["decoder"]
  targets = jnp.asarray(batch["decoder_target_tokens"])
  sources = jnp.asarray(batch["encoder_input_tokens"])
  positions = jnp.arange(targets.shape[1])[None]
  self_mask = layers.pair_mask(targets, targets)
  self_mask &= positions[:, None, :] <= positions[:, :, None]
  cross_mask = layers.pair_mask(targets, sources)
  if "decoder_segment_ids" in batch:
    segments = batch["decoder_segment_ids"]
    self_mask &= layers.segment_mask(segments, segments)
    cross_mask &= layers.segment_mask(segments, batch["encoder_segment_ids"])
  position = layers.relative_position_bias(
    decoder["relpos_bias"], config, positions, positions, bidirectional=False
  )
  x = run_decoder(
    params,
    config,
    dropout(embed(params, config, batch["decoder_input_tokens"])),
    layers.Bias(self_mask, position),
    encoded,
    layers.Bias(cross_mask),
    dropout,
  )
  return to_logits(params, config, x, dropout)


def apply(
  params: Params,
  config: T5Config,
  batch: Batch,
  dropout_rng: jax.Array | None = None,
) -> Float[Array, "b t v"]:
  """Logits of a batch with seqio's feature names, packed or not.

  Args:
    params: the whole tree.
    config: of the model.
    batch: see `decode`.
    dropout_rng: a key to train with dropout, None to run without.

  Returns:
    Unnormalised logits, float32.
  """
  dropout = Dropout(config.dropout_rate, dropout_rng)
  encoded = encode(
    params,
    config,
    batch["encoder_input_tokens"],
    batch.get("encoder_segment_ids"),
    dropout,
  )
  return decode(params, config, encoded, batch, dropout)
