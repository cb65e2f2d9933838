"""What a wheel holds: the packages, their data, gin/ inside, and no tests."""

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

# What pyproject.toml asks for; older ones do not know its licence field.
SETUPTOOLS_MAJOR = 77


@pytest.fixture(scope="module")
def wheel(repository, tmp_path_factory) -> pathlib.Path:
  major = int(importlib.metadata.version("setuptools").split(".")[0])
  if major < SETUPTOOLS_MAJOR:
    pytest.skip(f"needs setuptools {SETUPTOOLS_MAJOR}, there is {major}")
  # A copy, because a build leaves folders where it runs.
  source = tmp_path_factory.mktemp("source")
  ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
  for name in ("t5cr", "t5cr_tasks", "gin", "tests"):
    shutil.copytree(repository / name, source / name, ignore=ignore)
  for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
    shutil.copy(repository / name, source)
  command = [sys.executable, "-m", "pip", "wheel", "--no-deps"]
  command += ["--no-build-isolation", "--no-index", "--wheel-dir", "dist", "."]
  done = subprocess.run(
    command, cwd=source, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stdout + done.stderr
  (built,) = (source / "dist").glob("*.whl")
  return built


@pytest.fixture(scope="module")
def wheel_names(wheel) -> set[str]:
  return set(zipfile.ZipFile(wheel).namelist())


def _files(folder: pathlib.Path) -> set[str]:
  """Files below a folder, as its parent calls them."""
  return {
    path.relative_to(folder.parent).as_posix()
    for path in folder.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
  }


@pytest.mark.parametrize("package", ["t5cr", "t5cr_tasks"])
def test_every_file_of_a_package_is_in_the_wheel(
  package, wheel_names, repository
):
  missing = _files(repository / package) - wheel_names
  assert not missing, f"name their kind in package_data of setup.py: {missing}"


def test_gin_files_are_in_the_wheel(wheel_names, repository):
  expected = {
    f"t5cr/{name}"
    for name in _files(repository / "gin")
    if name.endswith(".gin")
  }
  assert expected
  assert expected <= wheel_names


def test_nothing_else_is_in_the_wheel(wheel_names):
  top = {name.split("/")[0] for name in wheel_names}
  rest = {name for name in top if not name.endswith(".dist-info")}
  assert rest == {"t5cr", "t5cr_tasks"}


def test_an_installed_wheel_finds_its_gin_files_from_any_folder(
  wheel, tmp_path
):
  installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
  elsewhere.mkdir()
  zipfile.ZipFile(wheel).extractall(installed)
  code = (
    "from t5cr.engine import gin_config, main\n"
    "files = ['t5cr/finetune.gin', 'recipe/tiny.gin', 'recipe/rows/all.gin']\n"
    "main.read_train(gin_files=files, gin_bindings=[\"MODEL_DIR = 'x'\"])\n"
    "print(gin_config.gin_root())"
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=elsewhere,
    env={**os.environ, "PYTHONPATH": str(installed)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.strip() == str(installed / "t5cr" / "gin")
