"""Fixtures that several test folders use."""

import pathlib

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
  """The root of the source tree."""
  return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> pathlib.Path:
  """Real data and golden files that lie beside the source tree, if any."""
  path = REPOSITORY.parent / "shared"
  if not path.is_dir():
    pytest.skip(
      f"needs the reference data and golden files in {path}, a folder beside"
      " the source tree, which is not there"
    )
  return path
