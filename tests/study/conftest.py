"""A hand-made study."""

import pathlib

import pytest
import run_folders
import seqio
import stand_ins

from t5cr.study import plots_probes, report


@pytest.fixture
def study_dir(tmp_path: pathlib.Path) -> pathlib.Path:
  run_folders.write_study(tmp_path / "out")
  return tmp_path / "out"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A study with its report, that no test changes."""
  out = tmp_path_factory.mktemp("study") / "out"
  run_folders.write_study(out)
  return out, report.write(out)


@pytest.fixture(autouse=True)
def few_figures(monkeypatch):
  """Draws Figure 3 and the changes only: the others cost seconds a report.

  `whole`, which is made before this, has them all.
  """
  monkeypatch.setattr(plots_probes, "FIGURES", {})


@pytest.fixture(autouse=True)
def no_data_dir_left_over():
  """A report makes the tasks read its study's data sets; later tests do not."""
  yield
  seqio.set_tfds_data_dir_override(None)


@pytest.fixture
def world(tmp_path, monkeypatch):
  """A study of stand-ins, which takes seconds."""
  return stand_ins.make(tmp_path, monkeypatch)
