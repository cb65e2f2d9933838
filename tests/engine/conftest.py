"""Compiled programs are kept between the tests, and between their runs; a tiny
model that knows nothing."""

import jax
import pytest
import tiny

from t5cr.engine import evaluate, model, partitioning


@pytest.fixture(scope="session", autouse=True)
def cached(compilation_cache):
  """Keeps what these tests compile."""


@pytest.fixture(scope="module")
def untrained():
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  params = jax.jit(lambda: model.init(tiny.CONFIG, jax.random.key(0)))()
  return evaluate.Model(params, tiny.CONFIG, mesh)
