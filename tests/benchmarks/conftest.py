"""The benchmarks are no part of the packages: they lie beside them."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))


@pytest.fixture(scope="session")
def raw_dir(tmp_path_factory) -> pathlib.Path:
  """A small copy of MovieLens 25M's shape, with reviews."""
  from benchmarks import movielens_25m

  raw_dir = tmp_path_factory.mktemp("raw")
  movielens_25m.write(raw_dir, movielens_25m.Shape.scaled(0.004), seed=0)
  return raw_dir
