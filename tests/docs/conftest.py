"""A newcomer's folder: what the tour leaves behind, and other names for it."""

import fcntl
import os
import pathlib
import shutil
import zipfile

import blocks
import executor
import pytest

TOUR = "docs/tour.md"
# Other names that pages have for what the tour makes.
LINKS = {
  "DIR": "data",
  "runs/all": "runs/tour",
  "runs/sample/rows/all": "runs/tour",
  "runs/before": "runs/tour",
  "results/eval": "results/attribute",
  "results/infer": "results/attribute",
  "flan-t5-small": "exported",
  "vocabulary/sentencepiece.model": "spm.model",
}


@pytest.fixture(scope="session")
def tour(tmp_path_factory, worker_id):
  """The folder in which the blocks of the tour were run, once for all."""
  base = tmp_path_factory.getbasetemp()
  folder = (base if worker_id == "master" else base.parent) / "tour"
  with folder.with_suffix(".lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not folder.with_suffix(".done").exists():
      shutil.rmtree(folder, ignore_errors=True)
      folder.mkdir()
      with executor.Reader(folder) as reader:
        printed = reader.follow(TOUR)
      folder.with_suffix(".done").write_text(printed)
  return folder


@pytest.fixture
def reader(tour: pathlib.Path, tmp_path: pathlib.Path):
  """Somebody who has taken the tour and now reads another page."""
  folder = tmp_path / "folder"
  shutil.copytree(tour, folder, symlinks=True)
  for name, target in LINKS.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(folder / target, path.parent))
  # The form in which the crawl of reviews is published.
  with zipfile.ZipFile(folder / "imdb_reviews.csv.zip", "w") as archive:
    archive.write(folder / "raw" / "reviews" / "reviews.csv", "reviews.csv")
  with executor.Reader(folder, str(folder / "spm.model")) as someone:
    yield someone


@pytest.fixture(scope="session")
def pages() -> dict[str, list[blocks.Block]]:
  return {page: blocks.read(page) for page in blocks.PAGES}
