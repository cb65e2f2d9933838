"""A tiny model, and tasks made of whatever a test wants to try."""

import itertools

import jax
import pytest
import seqio
import tensorflow as tf

from t5cr.engine import evaluate, model, partitioning
from t5cr.engine.config import T5Config
from t5cr.engine.train_config import TrainConfig

CONFIG = T5Config(
  vocab_size=384,  # seqio's bytes, rounded up to a multiple of 128
  emb_dim=16,
  num_heads=2,
  num_encoder_layers=1,
  num_decoder_layers=1,
  head_dim=8,
  mlp_dim=32,
  dropout_rate=0.0,
)
_NUMBERS = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(request):
  folder = request.config.cache.mkdir("jax")
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="module", autouse=True)
def quick_compiles():
  """These tests compile much and compute little."""
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def config():
  return CONFIG


@pytest.fixture(scope="session")
def train_config():
  return TrainConfig(train_steps=4)


@pytest.fixture(scope="session")
def mesh():
  return partitioning.make_mesh(devices=jax.devices()[:1])


@pytest.fixture(scope="session")
def untrained(mesh):
  params = jax.jit(lambda: model.init(CONFIG, jax.random.key(0)))()
  return evaluate.Model(params, CONFIG, mesh)


@pytest.fixture(scope="session")
def task():
  """Registers a task of some (inputs, targets); gives its name.

  Its metrics are the mean score, and what was predicted for each example.
  """

  def register(pairs, add_eos=True, probe=False):
    name = f"load_{next(_NUMBERS)}"

    def dataset_fn(split, shuffle_files, seed=None):
      del split, shuffle_files, seed
      inputs, targets = zip(*pairs, strict=True)
      return tf.data.Dataset.from_tensor_slices(
        {"inputs": list(inputs), "targets": list(targets)}
      )

    def said(targets, predictions):
      del targets
      return {"said": seqio.metrics.Text("\n".join(predictions))}

    def mean(targets, scores):
      return {"mean": float(scores.mean()), "count": len(targets)}

    feature = seqio.Feature(seqio.ByteVocabulary(), add_eos=add_eos)
    seqio.TaskRegistry.add(
      name,
      source=seqio.FunctionDataSource(dataset_fn, ["train", "validation"]),
      preprocessors=[
        seqio.preprocessors.tokenize,
        seqio.preprocessors.append_eos_after_trim,
      ],
      output_features={"inputs": feature, "targets": feature},
      metric_fns=[mean if probe else said],
    )
    return name

  return register
