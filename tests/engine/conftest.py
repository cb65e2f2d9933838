"""Compiled programs are kept between the tests, and between their runs."""

import jax
import pytest


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
