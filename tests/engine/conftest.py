"""Compiled programs are kept between the tests, and between their runs; a tiny
model that knows nothing."""

import jax
import pytest
import tiny

from t5cr.engine import evaluate, model, partitioning


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(request):
  folder = request.config.cache.mkdir("jax")
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="module")
def quick_compiles():
  """For modules that compile much and compute little."""
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def untrained():
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  params = jax.jit(lambda: model.init(tiny.CONFIG, jax.random.key(0)))()
  return evaluate.Model(params, tiny.CONFIG, mesh)
