"""The main job end to end with nothing standing in: raw files to a report."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from t5cr.study import locks, variants
from t5cr.study.baselines.build import BASELINES
from t5cr_tasks import sample

# The preset probes movies of over 30 runs: with fewer users there are none.
SIZE = sample.Size(
  users=150, dialogues=120, test_dialogues=10, reviews_per_movie=2
)


@pytest.fixture(scope="module")
def raw_dir(tmp_path_factory):
  path = tmp_path_factory.mktemp("corpus") / "raw"
  sample.write_corpus(path, size=SIZE)
  return path


def reproduce(
  repository: pathlib.Path, corpus: pathlib.Path, out: pathlib.Path, steps: int
) -> str:
  """Runs `t5cr reproduce` as a user does; gives what it said."""
  ran = subprocess.run(
    (
      *(sys.executable, "-m", "t5cr.cli", "reproduce", "--preset", "sample"),
      *("--corpus", corpus, "--rows", "redial,all", "--out", out),
      *("--steps", str(steps)),
    ),
    env={
      **os.environ,
      "PYTHONPATH": str(repository),
      "T5CR_PROGRESS": "plain",
    },
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    check=False,
  )
  assert ran.returncode == 0, ran.stdout[-4000:]
  return ran.stdout


def read_report(out: pathlib.Path) -> dict:
  return json.loads((out / "report" / "report.json").read_text())


def times(folder: pathlib.Path) -> dict[str, int]:
  """When every file of a folder was written."""
  return {
    str(path.relative_to(folder)): path.stat().st_mtime_ns
    for path in folder.rglob("*")
    if path.is_file() and path.name not in locks.FILES
  }


@pytest.fixture(scope="module")
def study(repository, raw_dir, tmp_path_factory):
  """A finished study; tests leave it as it is."""
  out = tmp_path_factory.mktemp("study") / "out"
  reproduce(repository, raw_dir, out, steps=2)
  return out


@pytest.mark.slow
def test_raw_files_become_a_report_once(repository, raw_dir, study):
  report = read_report(study)
  assert [row["name"] for row in report["rows"]] == ["redial", "all"]
  for row in report["rows"]:
    assert row["steps"] == 2
    assert set(row["probes"]) == {*variants.PROBES, variants.SEQUENCE_PROBE}
    assert all(probe["count"] > 0 for probe in row["probes"].values())
    bleu = row["metrics"]["bleu"]
    assert 0 <= bleu["value"] <= 100
    assert bleu["count"] >= SIZE.test_dialogues
  assert [entry["name"] for entry in report["baselines"]] == list(BASELINES)
  assert not report["corpus"]["invented"]
  files = {path.name for path in (study / "report").iterdir()}
  assert {"report.md", "report.html", "report.json"} <= files

  before = times(study)
  assert "Nothing to do" in reproduce(repository, raw_dir, study, steps=2)
  assert times(study) == before


@pytest.mark.long
def test_the_same_seed_gives_the_same_report_bit_for_bit(
  repository, raw_dir, study, tmp_path
):
  again = tmp_path / "again"
  reproduce(repository, raw_dir, again, steps=2)
  first, second = (
    {file.name: file.read_bytes() for file in (out / "report").iterdir()}
    for out in (study, again)
  )
  # When it was made is told apart from what was found.
  assert first.pop("timing.json") != second.pop("timing.json")
  assert {"report.json", "report.md", "report.html", "figure3.png"} <= set(
    first
  )
  assert [name for name in first if first[name] != second.get(name)] == []
  assert set(first) == set(second)


@pytest.mark.long
def test_without_reviews_the_rows_that_need_them_are_left_out(
  repository, raw_dir, tmp_path
):
  corpus, out = tmp_path / "raw", tmp_path / "out"
  shutil.copytree(raw_dir, corpus)
  shutil.rmtree(corpus / "reviews")
  said = reproduce(repository, corpus, out, steps=1)
  reason = "the corpus has no reviews/reviews.csv"
  assert f"Row 'all' is left out: {reason}." in said
  report = read_report(out)
  (row,) = report["rows"]
  assert row["name"] == "redial"
  assert set(row["probes"]) == {
    "recommendation",
    "attribute",
    "combination",
    variants.SEQUENCE_PROBE,
  }
  omitted = {entry["name"]: entry["reason"] for entry in report["omitted"]}
  assert omitted["all"] == omitted["redial_review"] == reason
