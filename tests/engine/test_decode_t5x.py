"""Decoding gives what t5x itself gives, where t5x is installed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5cr.engine import decode, model
from t5cr.engine.config import T5Config
from t5cr.engine.decode import Decoding

pytestmark = pytest.mark.usefixtures("quick_compiles")

LENGTH = 14


def random_model(seed):
  """A config, parameters whose decodes end here and there, and inputs."""
  generator = np.random.default_rng(seed)
  newer = bool(seed % 2)
  config = T5Config(
    vocab_size=int(generator.choice([40, 64, 128])),
    emb_dim=16,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=int(generator.choice([1, 2])),
    head_dim=8,
    mlp_dim=48,
    mlp_activations=("gelu", "linear") if newer else ("relu",),
    dropout_rate=0.0,
    logits_via_embedding=not newer,
  )
  params = jax.device_get(model.init(config, jax.random.key(seed)))
  decoder = jax.tree.map(np.array, params["decoder"])
  params["decoder"] = decoder
  bias = decoder["relpos_bias"]["rel_embedding"]
  bias += generator.normal(size=bias.shape)
  # Sharper or flatter distributions, and a more likely EOS.
  decoder["decoder_norm"]["scale"] *= generator.choice([0.5, 1.0, 2.0])
  table = np.array(params["token_embedder"]["embedding"])
  params["token_embedder"]["embedding"] = table
  columns = decoder["logits_dense"]["kernel"].T if newer else table
  columns[1] *= generator.choice([1.0, 2.0, 4.0])
  sources = generator.integers(2, config.vocab_size, (5, 14))
  for row, length in zip(sources, (14, 9, 5, 2, 11), strict=True):
    row[length:] = 0
  return config, params, sources.astype(np.int32)


def t5x_decodes(config, params, sources, decode_fn, num_decodes, **options):
  """All decodes and scores of t5x's model."""
  models = pytest.importorskip("t5x.models")
  network = pytest.importorskip("t5x.examples.t5.network")
  seqio = pytest.importorskip("seqio")
  known = {field.name for field in dataclasses.fields(network.T5Config)}
  values = {
    name: value
    for name, value in dataclasses.asdict(config).items()
    if name in known
  }
  vocabulary = seqio.PassThroughVocabulary(config.vocab_size, eos_id=1)
  theirs = models.EncoderDecoderModel(
    network.Transformer(network.T5Config(**{**values, "dtype": jnp.float32})),
    vocabulary,
    vocabulary,
    None,
    decode_fn=decode_fn,
  )
  batch = {
    "encoder_input_tokens": sources,
    "decoder_input_tokens": np.zeros((len(sources), LENGTH), np.int32),
  }

  @jax.jit
  def run(params, batch):
    return theirs.predict_batch_with_aux(
      params,
      batch,
      decoder_params=options,
      return_all_decodes=True,
      num_decodes=num_decodes,
    )

  tokens, aux = run(params, batch)
  return np.asarray(tokens), np.asarray(aux["scores"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_decodes_and_scores_are_those_of_t5x(seed):
  t5x_decoding = pytest.importorskip("t5x.decoding")
  config, params, sources = random_model(seed)
  beam_search = t5x_decoding.beam_search
  one_by_one = t5x_decoding.temperature_sample
  greedy = {"temperature": 0.0, "rescale_log_probs": False}
  for decoding, decode_fn, options in (
    (Decoding("greedy"), one_by_one, greedy),
    (Decoding("beam", 1), beam_search, {"alpha": 0.6}),
    (Decoding("beam", 4, alpha=0.0), beam_search, {"alpha": 0.0}),
    (Decoding("beam", 8), beam_search, {"alpha": 0.6}),
  ):
    tokens, scores = t5x_decodes(
      config, params, sources, decode_fn, decoding.num_decodes, **options
    )
    ours = decode.decode_batch(params, config, sources, LENGTH, decoding)
    np.testing.assert_array_equal(ours.tokens, tokens, err_msg=str(decoding))
    np.testing.assert_allclose(
      ours.scores, scores, rtol=0, atol=1e-4, err_msg=str(decoding)
    )
