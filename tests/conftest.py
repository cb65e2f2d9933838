"""Fixtures that several test folders use."""

import os
import pathlib

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
  """The root of the source tree."""
  return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> pathlib.Path:
  """The folder beside the source tree that has real data, if any."""
  path = REPOSITORY.parent / "shared"
  if not path.is_dir():
    pytest.skip(
      f"needs real data in {path}, a folder beside the source tree, which is"
      " not there"
    )
  return path


@pytest.fixture(scope="session")
def character_vocabulary(tmp_path_factory) -> pathlib.Path:
  """A SentencePiece model of a few characters."""
  import sentencepiece

  path = tmp_path_factory.mktemp("vocabulary") / "sentencepiece.model"
  with path.open("wb") as file:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(["a movie like heat", "have you seen fargo?"]),
      model_writer=file,
      vocab_size=40,
      hard_vocab_limit=False,
      minloglevel=2,
    )
  return path


@pytest.fixture(scope="session", autouse=True)
def cache_home(request):
  """Commands keep compiled programs beside pytest's cache, not in the home."""
  folder = request.config.cache.mkdir("home")
  before = os.environ.get("XDG_CACHE_HOME")
  os.environ["XDG_CACHE_HOME"] = str(folder)
  yield
  if before is None:
    del os.environ["XDG_CACHE_HOME"]
  else:
    os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def compilation_cache(request):
  """Keeps compiled programs between tests, and between their runs."""
  import jax

  folder = request.config.cache.mkdir("jax")
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="module")
def quick_compiles():
  """For modules that compile much and compute little."""
  import jax

  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def mesh():
  """A mesh of one device."""
  import jax

  from t5cr.engine import partitioning

  return partitioning.make_mesh(devices=jax.devices()[:1])
