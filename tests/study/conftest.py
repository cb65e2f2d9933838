"""A hand-made study."""

import pathlib

import pytest
import run_folders
import seqio


@pytest.fixture
def study_dir(tmp_path: pathlib.Path) -> pathlib.Path:
  run_folders.write_study(tmp_path / "out")
  return tmp_path / "out"


@pytest.fixture(autouse=True)
def no_data_dir_left_over():
  """A report makes the tasks read its study's data sets; later tests do not."""
  yield
  seqio.set_tfds_data_dir_override(None)
