"""Our data steps give what straightforward pandas gives."""

import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds

from benchmarks import pandas_oracle
from t5cr_tasks.datasets import build
from t5cr_tasks.probes import build as probes_build
from t5cr_tasks.probes import cooccurrence, templates
from t5cr_tasks.raw import counts, files, movielens


@pytest.fixture(scope="module")
def runs(raw_dir):
  folder = raw_dir / "movielens"
  bad_lines, tallies = files.BadLines(), counts.Tallies()
  movies = movielens.read_movies(
    folder / movielens.MOVIES, bad_lines, tallies["movies"]
  )
  return movielens.read_runs(
    folder / movielens.RATINGS, movies, bad_lines, tallies
  )


@pytest.fixture(scope="module")
def data_dir(raw_dir, tmp_path_factory):
  data_dir = tmp_path_factory.mktemp("tfds")
  build.build(
    raw_dir,
    data_dir,
    only=["t5cr_movielens/sequences", "t5cr_movielens/tags", "t5cr_reviews"],
  )
  return data_dir


@pytest.fixture(scope="module")
def probes(data_dir):
  results = probes_build.build(data_dir, phrased_probes=0)
  return results, pandas_oracle.read_sets(data_dir)


def read(data_dir, name: str, split: str = "train") -> list[dict]:
  builder = tfds.builder(name, data_dir=data_dir)
  return [
    {key: pandas_oracle._plain(value) for key, value in record.items()}
    for record in tfds.as_numpy(builder.as_dataset(split=split))
  ]


def test_runs(raw_dir, runs):
  expected = pandas_oracle.make_runs(
    raw_dir, pandas_oracle.read_titles(raw_dir)
  )
  assert len(expected) > 1000
  for column in ("user_id", "run", "movie_ids"):
    assert runs[column].to_list() == expected[column].tolist()


@pytest.mark.parametrize("min_count", [3, 30])
def test_related_movies_ties_included(runs, min_count):
  items = pd.DataFrame(
    {
      "run": np.repeat(np.arange(runs.height), 10),
      "movie": np.concatenate(runs["movie_ids"].to_numpy()),
    }
  )
  frequency, expected = pandas_oracle.make_related(items, min_count)
  assert expected.duplicated(["movie", "pmi2"]).any()  # There are ties.

  movies, places = np.unique(items["movie"], return_inverse=True)
  matrix = cooccurrence.incidence(places, np.full(runs.height, 10), len(movies))
  probed = np.flatnonzero(cooccurrence.frequency(matrix) > min_count)
  assert movies[probed].tolist() == frequency.index.tolist()
  related = cooccurrence.top_related(matrix[:, probed], 10, block_rows=100)
  row, place = np.nonzero(related.movies >= 0)
  assert movies[probed][row].tolist() == expected["movie"].tolist()
  assert (
    movies[probed][related.movies[row, place]].tolist()
    == expected["other"].tolist()
  )
  np.testing.assert_array_equal(
    related.pmi2[row, place], expected["pmi2"].to_numpy()
  )


def test_data_sets(raw_dir, data_dir, tmp_path):
  tfds.disable_progress_bar()
  count = pandas_oracle.write_sets(raw_dir, tmp_path)
  names = {
    "sequences": "t5cr_movielens/sequences",
    "tags": "t5cr_movielens/tags",
    "reviews": "t5cr_reviews",
  }
  total = 0
  for expected, name in names.items():
    stock = tfds.builder_from_directory(tmp_path / expected / "1.0.0")
    records = [
      {key: pandas_oracle._plain(value) for key, value in record.items()}
      for record in tfds.as_numpy(stock.as_dataset(split="train"))
    ]
    assert records == read(data_dir, name)
    total += len(records)
  assert total == count


@pytest.mark.parametrize("probe", templates.PROBES)
def test_probes(data_dir, probes, probe):
  results, sets = probes
  assert results[probe]["status"] == "built"
  expected = list(pandas_oracle.make_probes(probe, sets))
  assert len(expected) > 20
  assert read(data_dir, f"t5cr_probes/{probe}", "validation") == expected
