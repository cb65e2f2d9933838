"""The generated files have the shape of MovieLens 25M, oddities included."""

import csv
import re

import numpy as np
import polars as pl
import pytest

from benchmarks import invented_movies, movielens_25m
from t5cr_tasks.probes import cooccurrence
from t5cr_tasks.raw import counts, files, movielens, reviews

YEAR_AT_END = re.compile(r"\(\d{4}\)$")


@pytest.fixture(scope="module")
def ratings(raw_dir):
  return pl.read_csv(raw_dir / "movielens" / "ratings.csv")


@pytest.fixture(scope="module")
def titles(raw_dir):
  path = raw_dir / "movielens" / "movies.csv"
  with path.open(newline="", encoding="utf-8") as file:
    return {int(row["movieId"]): row["title"] for row in csv.DictReader(file)}


def test_the_full_size_is_the_published_one():
  shape = movielens_25m.Shape.scaled(1)
  assert (shape.ratings, shape.users) == (25_000_095, 162_541)
  assert (shape.movies, shape.rated) == (62_423, 59_047)
  assert (shape.genome_movies, shape.tags) == (13_816, 1_128)


def test_ratings_are_as_many_as_wanted_and_sorted(ratings, titles):
  shape = movielens_25m.Shape.scaled(0.004)
  assert ratings.columns == ["userId", "movieId", "rating", "timestamp"]
  assert ratings.height == shape.ratings == 100_000
  pairs = ratings.select("userId", "movieId")
  assert pairs.equals(pairs.unique().sort("userId", "movieId"))
  assert ratings["userId"].n_unique() == shape.users == 650
  assert ratings["movieId"].n_unique() == shape.rated
  assert set(ratings["movieId"]) <= set(titles)
  by_user = ratings.group_by("userId").len()["len"]
  assert by_user.min() == 20
  # Some rate far more than most.
  assert by_user.max() > 4 * by_user.mean() > 6 * by_user.median()


def test_ratings_are_given_as_often_as_published(ratings):
  given = ratings["rating"].value_counts().sort("rating")
  assert given["rating"].to_list() == [stars / 2 for stars in range(1, 11)]
  shares = given["count"].to_numpy() / ratings.height
  published = np.array(movielens_25m.RATING_COUNTS) / movielens_25m.NUM_RATINGS
  np.testing.assert_allclose(shares, published, atol=0.005)
  assert published[-1] == pytest.approx(0.145, abs=1e-3)


def test_popularity_has_a_long_tail(ratings):
  times = ratings.group_by("movieId").len()["len"].sort(descending=True)
  assert times[0] > 10 * times.mean() > 30 * times.median()


def test_related_movies_are_to_one_taste(raw_dir, ratings, titles):
  shape = movielens_25m.Shape.scaled(0.004)
  rng = np.random.default_rng(0)
  movies = invented_movies.make(shape.movies, movielens_25m.MAX_MOVIE_ID, rng)
  world = movielens_25m.make_world(shape, rng)
  assert movies.ids.tolist() == list(titles)
  runs = movielens.read_runs(
    raw_dir / "movielens" / movielens.RATINGS,
    titles,
    files.BadLines(),
    counts.Tallies(),
  )
  items = np.searchsorted(
    movies.ids, np.concatenate(runs["movie_ids"].to_numpy())
  )
  matrix = cooccurrence.incidence(items, np.full(runs.height, 10), shape.movies)
  probed = np.flatnonzero(cooccurrence.frequency(matrix) > 10)
  related = cooccurrence.top_related(matrix[:, probed], 3).movies
  taste = world.taste[probed]
  same = (taste[:, None] == taste[related])[related >= 0].mean()
  assert same > 2 / movielens_25m.NUM_TASTES, same


def test_movies_within_a_user_are_not_rated_in_the_order_of_the_file(ratings):
  in_time = ratings.sort("userId", "timestamp", "movieId")
  assert not in_time["movieId"].equals(ratings["movieId"])
  # Ties of time are what the order by movie id is for.
  assert in_time.select("userId", "timestamp").is_duplicated().any()


def test_titles_are_as_odd_as_published(titles):
  raw = list(titles.values())

  def expected(name: str) -> int:
    return invented_movies.share(invented_movies.ODDITIES[name], len(raw))

  odd_years = sum(not YEAR_AT_END.search(title.strip()) for title in raw)
  assert odd_years == sum(
    map(expected, ("no year", "range of years", "year elsewhere"))
  )
  assert sum(title.endswith(") ") for title in raw) == expected(
    "space behind the year"
  )
  assert sum("a.k.a. " in title for title in raw) == expected("a.k.a.")
  assert sum('"' in title for title in raw) == expected("quotes")
  assert len(raw) - len(set(raw)) == expected("title of another movie")
  moved = re.compile(r"^[^(]*, (The|A|An)( \(|$)")
  assert sum(bool(moved.match(title)) for title in raw) == expected(
    "article behind the name"
  )
  assert any(not title.isascii() for title in raw)


def test_lines_end_as_on_windows(raw_dir):
  for path in (raw_dir / "movielens").glob("*.csv"):
    content = path.read_bytes()
    assert content.count(b"\r\n") == content.count(b"\n") > 1, path


def test_genome_is_dense_and_few_tags_fit(raw_dir, ratings):
  shape = movielens_25m.Shape.scaled(0.004)
  scores = pl.read_csv(raw_dir / "movielens" / "genome-scores.csv")
  assert scores.height == shape.genome_movies * shape.tags
  assert scores["movieId"].n_unique() == shape.genome_movies
  assert scores["tagId"].unique().sort().to_list() == [
    *range(1, shape.tags + 1)
  ]
  assert scores.select("movieId", "tagId").equals(
    scores.select("movieId", "tagId").sort(pl.all())
  )
  assert scores["relevance"].is_between(0, 1).all()
  assert 0.003 < (scores["relevance"] > 0.8).mean() < 0.03
  times = ratings.group_by("movieId").len()
  scored = times["movieId"].is_in(scores["movieId"].unique().implode())
  assert times.filter(scored)["len"].min() >= times.filter(~scored)["len"].max()


def test_the_readers_take_all_of_it(raw_dir):
  bad_lines, tallies = files.BadLines(), counts.Tallies()
  folder = raw_dir / "movielens"
  movies = movielens.read_movies(
    folder / movielens.MOVIES, bad_lines, tallies["movies"]
  )
  tags = movielens.read_tags(
    folder / movielens.GENOME_TAGS, bad_lines, tallies["tags"]
  )
  assert len(set(tags.values())) == len(tags)
  movielens.read_runs(folder / movielens.RATINGS, movies, bad_lines, tallies)
  assert tallies["ratings"].dropped["movie not in movies.csv"] == 0
  read = list(
    reviews.read_reviews(
      raw_dir / "reviews" / "reviews.csv", bad_lines, tallies["reviews"]
    )
  )
  reviewed = movielens_25m.Shape.scaled(0.004).reviewed
  assert len(read) == reviewed * movielens_25m.REVIEWS_PER_MOVIE
  assert {review.title for review in read} <= set(movies.values())
  assert min(len(review.sentences) for review in read) >= 3


def test_the_same_seed_gives_the_same_bytes(tmp_path):
  shape = movielens_25m.Shape.scaled(0.001)
  for name, seed in (("one", 3), ("two", 3), ("other", 4)):
    movielens_25m.write(tmp_path / name, shape, seed)
  names = [
    path.relative_to(tmp_path / "one")
    for path in (tmp_path / "one").rglob("*.*")
  ]
  assert len(names) == 5
  for name in names:
    one = (tmp_path / "one" / name).read_bytes()
    assert one == (tmp_path / "two" / name).read_bytes()
    assert one != (tmp_path / "other" / name).read_bytes()
