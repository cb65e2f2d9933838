"""The network computes what t5x's does, packed or not."""

import dataclasses

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from t5cr.engine import layers, model
from t5cr.engine.config import T5Config

TINY = ("t5_1_0_tiny", "t5_1_1_tiny")


@pytest.fixture(params=TINY)
def tiny(request):
  return golden.load(request.param)


def test_parameter_tree_is_that_of_t5x(tiny):
  ours = traverse_util.flatten_dict(
    model.init(tiny.config, jax.random.key(0)), sep="/"
  )
  theirs = traverse_util.flatten_dict(tiny.params, sep="/")
  assert {k: v.shape for k, v in ours.items()} == {
    k: v.shape for k, v in theirs.items()
  }


def test_encoder(tiny):
  batch = tiny.group("batch")
  encoded = model.encode(
    tiny.params, tiny.config, batch["encoder_input_tokens"]
  )
  np.testing.assert_allclose(
    encoded, tiny.numbers["encoded"], atol=1e-5, err_msg=golden.CHANGED
  )


@pytest.mark.parametrize("jit", [False, True])
def test_logits(tiny, jit):
  def apply(params, batch):
    return model.apply(params, tiny.config, batch)

  logits = (jax.jit(apply) if jit else apply)(tiny.params, tiny.group("batch"))
  np.testing.assert_allclose(
    logits, tiny.numbers["logits"], atol=1e-5, err_msg=golden.CHANGED
  )


def test_packed_logits(tiny):
  logits = model.apply(tiny.params, tiny.config, tiny.group("packed"))
  np.testing.assert_allclose(
    logits, tiny.numbers["logits_packed"], atol=1e-5, err_msg=golden.CHANGED
  )


def test_decoder_is_causal(tiny):
  """No logit depends on a later decoder input."""
  batch = tiny.group("batch")
  encoded = model.encode(
    tiny.params, tiny.config, batch["encoder_input_tokens"]
  )
  # Padding would hide dependencies; this row is all real.
  targets = np.full_like(batch["decoder_target_tokens"], 5)

  def logits_at(position, embedding_scale):
    inputs = np.full_like(targets, 7)
    inputs[:, 6] = 9
    params = {
      **tiny.params,
      "token_embedder": {
        "embedding": jnp.asarray(tiny.params["token_embedder"]["embedding"])
        .at[9]
        .multiply(embedding_scale)
      },
    }
    fields = {**batch, "decoder_input_tokens": inputs}
    fields["decoder_target_tokens"] = targets
    # Token 9 itself is left out: with shared embeddings it is an output too.
    out = model.decode(params, tiny.config, encoded, fields)
    return out[:, position, 10:].sum()

  slope = jax.grad(logits_at, argnums=1)
  assert all(slope(position, 1.0) == 0 for position in range(6))
  assert slope(6, 1.0) != 0


def test_dropout_is_seeded_and_off_without_a_key(tiny):
  config = dataclasses.replace(tiny.config, dropout_rate=0.5)
  batch = tiny.group("batch")

  def run(seed):
    return model.apply(tiny.params, config, batch, jax.random.key(seed))

  np.testing.assert_array_equal(run(1), run(1))
  assert np.abs(run(1) - run(2)).max() > 1e-3
  np.testing.assert_array_equal(
    model.apply(tiny.params, config, batch),
    model.apply(tiny.params, tiny.config, batch),
  )


def test_scanned_layers_compute_what_unrolled_ones_do(tiny):
  """Logits and gradients, packed, with dropout."""
  unrolled = dataclasses.replace(
    tiny.config, num_encoder_layers=3, num_decoder_layers=2, dropout_rate=0.3
  )
  scanned = dataclasses.replace(unrolled, scan_layers=True)
  params = model.init(unrolled, jax.random.key(4))
  batch = tiny.group("packed")

  def loss(params, config):
    logits = model.apply(params, config, batch, jax.random.key(5))
    return jnp.sum(jnp.sin(logits)), logits

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4),
    jax.grad(loss, has_aux=True)(params, scanned),
    jax.grad(loss, has_aux=True)(params, unrolled),
  )


def test_every_branch_of_every_layer_has_a_mask_of_its_own(tiny, monkeypatch):
  keys = []
  draw = jax.random.bernoulli

  def spy(key, *arguments):
    keys.append(tuple(jax.random.key_data(key).tolist()))
    return draw(key, *arguments)

  monkeypatch.setattr(jax.random, "bernoulli", spy)
  config = dataclasses.replace(
    tiny.config, num_encoder_layers=2, num_decoder_layers=2, dropout_rate=0.5
  )
  params = model.init(config, jax.random.key(0))
  model.apply(params, config, tiny.group("batch"), jax.random.key(1))
  # Embedding and norm of both stacks, 4 masks of an encoder layer, 6 of a
  # decoder layer.
  assert len(keys) == len(set(keys)) == 4 + 2 * 4 + 2 * 6


def test_attention_derivatives_in_bfloat16():
  keys = jax.random.split(jax.random.key(1), 3)
  heads = [jax.random.normal(key, (2, 3, 6, 4)) for key in keys]
  position = jax.random.normal(jax.random.key(2), (1, 3, 6, 6))
  mask = jnp.tril(jnp.ones((2, 6, 6), bool))

  def slopes(dtype):
    query, key, value = (x.astype(dtype) for x in heads)
    return jax.grad(
      lambda *moved: jnp.sum(
        jnp.sin(layers.dot_product_attention(*moved, mask).astype(jnp.float32))
      ),
      argnums=range(4),
    )(query, key, value, position)

  narrow, wide = slopes(jnp.bfloat16), slopes(jnp.float32)
  assert [x.dtype for x in narrow] == [jnp.bfloat16] * 3 + [jnp.float32]
  for a, b in zip(narrow, wide, strict=True):
    assert np.abs(a.astype(jnp.float32) - b).max() < 0.05 * np.abs(b).max()


def test_scanned_layers_in_bfloat16(tiny):
  """Norms keep their float32 scales; products round elsewhere."""
  config = dataclasses.replace(tiny.config, dtype="bfloat16", scan_layers=True)
  logits = model.apply(tiny.params, config, tiny.group("batch"))
  assert np.abs(logits - tiny.numbers["logits"]).mean() < 0.1


def test_attention_and_its_derivative():
  """Against the definition, differentiated by JAX."""
  keys = jax.random.split(jax.random.key(0), 5)
  query = jax.random.normal(keys[0], (2, 3, 5, 4))
  key, value = jax.random.normal(keys[1], (2, 2, 3, 7, 4))
  position = jax.random.normal(keys[2], (1, 3, 5, 7))
  mask = jax.random.bernoulli(keys[3], 0.6, (2, 5, 7)).at[0, 1].set(False)
  weight = jax.random.normal(keys[4], query.shape)

  def definition(query, key, value, position, mask):
    logits = jnp.einsum("bhqd,bhkd->bhqk", query, key)
    logits += 0.0 if position is None else position
    logits += jnp.where(mask, 0.0, layers.MASKED)[:, None]
    return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(logits), value)

  def both(attention, *arguments):
    return jax.value_and_grad(
      lambda *moved: jnp.sum(weight * attention(*moved, mask)),
      argnums=range(4 if arguments[3] is not None else 3),
    )(*arguments)

  for bias in (position, jnp.tile(position, (2, 1, 1, 1)), None):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5),
      both(layers.dot_product_attention, query, key, value, bias),
      both(definition, query, key, value, bias),
    )


def test_dropout_keeps_the_mean_and_drops_whole_columns():
  dropped = layers.Dropout(0.25, jax.random.key(0))(jnp.ones((64, 7, 100)))
  assert abs(dropped.mean() - 1.0) < 0.02
  np.testing.assert_array_equal(dropped[:, :1] * jnp.ones((1, 7, 1)), dropped)


def test_bfloat16_activations_give_float32_logits(tiny):
  config = dataclasses.replace(tiny.config, dtype="bfloat16")
  logits = model.apply(tiny.params, config, tiny.group("batch"))
  assert logits.dtype == jnp.float32
  assert np.abs(logits - tiny.numbers["logits"]).mean() < 0.1


@pytest.mark.parametrize(
  ("distance", "bidirectional", "bucket"),
  [
    # 32 buckets both ways: 8 exact and 8 logarithmic ones each.
    (0, True, 0),
    (-7, True, 7),
    (7, True, 16 + 7),
    (-8, True, 8),
    (-128, True, 15),
    (-1000, True, 15),
    # One way: 16 exact ones; the future shares bucket 0.
    (3, False, 0),
    (-15, False, 15),
    (-16, False, 16),
    (-1000, False, 31),
  ],
)
def test_relative_position_bucket(distance, bidirectional, bucket):
  got = layers.relative_position_bucket(
    np.array([distance]),
    bidirectional=bidirectional,
    num_buckets=32,
    max_distance=128,
  )
  assert got.tolist() == [bucket]


def test_init_has_unit_scale_logits():
  """T5's initialisation keeps activations, and so logits, near unit scale."""
  config = T5Config(512, 64, 4, 2, 2, 16, 128, dropout_rate=0.0)
  params = model.init(config, jax.random.key(3))
  tokens = np.random.default_rng(0).integers(2, 512, (4, 16))
  logits = model.apply(
    params,
    config,
    {
      "encoder_input_tokens": tokens,
      "decoder_input_tokens": tokens,
      "decoder_target_tokens": tokens,
    },
  )
  assert 0.3 < float(logits.std()) < 3.0


def test_unknown_activation_is_named():
  with pytest.raises(ValueError, match="swish2"):
    T5Config(128, 32, 2, 1, 1, 16, 64, mlp_activations=("swish2",))
