"""A tiny model, and tasks made of whatever a test wants to try."""

import dataclasses
import itertools

import jax
import pytest
import seqio
import tensorflow as tf
import tiny

from t5cr.engine import evaluate, model
from t5cr.engine.train_config import TrainConfig

CONFIG = dataclasses.replace(tiny.CONFIG, dropout_rate=0.0)
_NUMBERS = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def cached(compilation_cache):
  """Keeps what these tests compile."""


@pytest.fixture(scope="module", autouse=True)
def quick(quick_compiles):
  """These tests compile much and compute little."""


@pytest.fixture(scope="session")
def config():
  return CONFIG


@pytest.fixture(scope="session")
def train_config():
  return TrainConfig(train_steps=4)


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
