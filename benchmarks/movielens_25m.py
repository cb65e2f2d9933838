"""Writes files of the shape of MovieLens 25M, whose licence forbids a copy.

    python benchmarks/movielens_25m.py --raw RAW

writes RAW/movielens/{movies,ratings,genome-tags,genome-scores}.csv with the
published numbers of users, movies, ratings, tags and of each rating, about the
published popularity of the movies, and titles as odd as the real ones
(`invented_movies`). Users rate the movies of their tastes more often and
better, so that PMI^2 has something to find. RAW/reviews/reviews.csv, for the
description probe, has no published size: five reviews of each of the 12,000
movies rated most often are this project's choice.

`--scale 0.01` or `--users 1625` makes a small copy: users, ratings, scores and
reviews shrink with it, movies and tags with its square root. The same options
give the same bytes.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
import time

import numpy as np
import polars as pl

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import invented_movies  # noqa: E402

# https://files.grouplens.org/datasets/movielens/ml-25m-README.html
NUM_USERS = 162_541
NUM_RATED = 59_047
NUM_GENOME_MOVIES = 13_816
NUM_TAGS = 1_128
MAX_MOVIE_ID = 209_171
FIRST_SECOND, LAST_SECOND = 789_652_009, 1_574_327_703
# How often each rating is given, from 0.5 to 5.0; together 25,000,095.
RATING_COUNTS = (
  (393_068, 776_815, 399_490, 1_640_868, 1_262_797)
  + (4_896_928, 3_177_318, 6_639_798, 2_200_539, 3_612_474)
)  # fmt: skip
NUM_RATINGS = sum(RATING_COUNTS)
MIN_USER_RATINGS = 20
# Ratings of the movie of a rank, about: the long tail of MovieLens 25M.
POPULARITY = (
  (1, 81_000),
  (100, 38_000),
  (1_000, 7_500),
  (3_800, 1_000),
  (10_300, 100),
  (13_200, 50),
  (29_500, 6),
  (48_000, 2),
  (NUM_RATED, 1),
)
# The median user has 71 ratings, the mean is 154.
MEDIAN_ABOVE_MIN, SPREAD = 51.0, 1.389
NUM_TASTES = 16
TASTE_SHARES = (0.25, 0.15, 0.1)  # of a user's ratings; the rest are anything
REVIEWED_MOVIES, REVIEWS_PER_MOVIE = 12_000, 5
BLOCK_MOVIES = 500


@dataclasses.dataclass(frozen=True)
class Shape:
  """How large a copy is; the defaults are MovieLens 25M's.

  Attributes:
    users: with at least 20 ratings each.
    ratings: of all users.
    movies: in movies.csv.
    rated: of them rated at least once.
    genome_movies: of them with a score for each tag.
    tags: of the tag genome.
    reviewed: movies with reviews.
  """

  users: int = NUM_USERS
  ratings: int = NUM_RATINGS
  movies: int = invented_movies.NUM_MOVIES
  rated: int = NUM_RATED
  genome_movies: int = NUM_GENOME_MOVIES
  tags: int = NUM_TAGS
  reviewed: int = REVIEWED_MOVIES

  @classmethod
  def scaled(cls, scale: float) -> Shape:
    """A copy with this share of the ratings."""
    if scale == 1:
      return cls()
    side = scale**0.5

    def part(count: int, factor: float, least: int) -> int:
      return max(least, round(count * factor))

    return cls(
      users=part(NUM_USERS, scale, 10),
      ratings=part(NUM_RATINGS, scale, 10 * 2 * MIN_USER_RATINGS),
      movies=part(invented_movies.NUM_MOVIES, side, 200),
      rated=part(NUM_RATED, side, 180),
      genome_movies=part(NUM_GENOME_MOVIES, side, 50),
      tags=part(NUM_TAGS, side, 20),
      reviewed=part(REVIEWED_MOVIES, scale, 10),
    )


@dataclasses.dataclass(frozen=True)
class World:
  """What users go by.

  Attributes:
    shape: how large it is.
    weight: [movies] how often a movie is rated, 0 where never.
    taste: [movies] the taste that it is to.
    favourites: [users, tastes] the tastes of a user, the first one foremost.
    counts: [users] how many ratings each gives.
  """

  shape: Shape
  weight: np.ndarray
  taste: np.ndarray
  favourites: np.ndarray
  counts: np.ndarray


def make_world(shape: Shape, rng: np.random.Generator) -> World:
  """Draws who likes what, and how popular it is."""
  # MovieLens numbered the well-known movies first, more or less.
  place = np.arange(1, shape.movies + 1) * np.exp(
    1.2 * rng.standard_normal(shape.movies)
  )
  rank = np.empty(shape.movies)
  rank[np.argsort(place)] = np.arange(1, shape.movies + 1)
  ranks, ratings = np.array(POPULARITY, float).T
  weight = np.exp(
    np.interp(
      np.log(rank * NUM_RATED / shape.rated), np.log(ranks), np.log(ratings)
    )
  )
  weight[rank > shape.rated] = 0
  favourites = rng.random((shape.users, NUM_TASTES)).argsort(axis=1)
  above = MEDIAN_ABOVE_MIN * np.exp(SPREAD * rng.standard_normal(shape.users))
  above *= (shape.ratings - shape.users * MIN_USER_RATINGS) / above.sum()
  counts = MIN_USER_RATINGS + np.minimum(above, shape.rated // 2).astype(int)
  # Rounding down and the cap left some over: one each, often where many are.
  left = shape.ratings - int(counts.sum())
  while left > 0:
    open_users = np.flatnonzero(counts < shape.rated // 2)
    chosen = rng.choice(open_users, min(left, len(open_users)), replace=False)
    counts[chosen] += 1
    left -= len(chosen)
  return World(
    shape=shape,
    weight=weight,
    taste=rng.integers(0, NUM_TASTES, shape.movies),
    favourites=favourites[:, : len(TASTE_SHARES)].astype(np.int8),
    counts=counts,
  )


def _draw(
  world: World, users: np.ndarray, flatness: float, rng: np.random.Generator
) -> np.ndarray:
  """Draws a movie for each of these users.

  Args:
    world: the popularity of the movies and the tastes.
    users: one entry a movie wanted.
    flatness: 0 draws by popularity, 1 draws all rated movies alike, and less
      than 0 favours the popular ones.
    rng: draws.
  """
  rated = np.flatnonzero(world.weight > 0)
  order = rated[np.argsort(world.taste[rated], kind="stable")]
  total = np.concatenate(
    [[0.0], np.cumsum(world.weight[order] ** (1 - flatness))]
  )
  start = total[np.searchsorted(world.taste[order], np.arange(NUM_TASTES + 1))]
  which = np.searchsorted(np.cumsum(TASTE_SHARES), rng.random(len(users)))
  any_taste = which == len(TASTE_SHARES)
  taste = world.favourites[users, np.where(any_taste, 0, which)]
  low = np.where(any_taste, 0.0, start[taste])
  high = np.where(any_taste, total[-1], start[taste + 1])
  point = low + (high - low) * rng.random(len(users))
  found = np.searchsorted(total, point, side="right") - 1
  return order[np.minimum(found, len(order) - 1)]


def rate(world: World, rng: np.random.Generator) -> np.ndarray:
  """Draws who rates what.

  Returns:
    [ratings] user * movies + movie, ascending; every rated movie is there.
  """
  movies, counts = world.shape.movies, world.counts
  rated = np.flatnonzero(world.weight > 0)
  by = rng.choice(len(counts), len(rated), p=counts / counts.sum())
  codes = np.sort(by.astype(np.int64) * movies + rated)
  # Who rates much has soon rated what is popular, and goes on with the rest;
  # the first round favours the popular to make up for it.
  for flatness in (-0.3, *[0] * 8, 0.25, 0.5, 0.5, 0.75, *[1] * 100):
    given = np.bincount(codes // movies, minlength=len(counts))
    users = np.repeat(np.arange(len(counts)), np.maximum(counts - given, 0))
    if not len(users):
      break
    drawn = users * movies + _draw(world, users, flatness, rng)
    codes = np.concatenate([codes, drawn])
    codes.sort(kind="stable")
    codes = codes[np.diff(codes, prepend=-1) > 0]
  if len(codes) != world.shape.ratings:
    raise ValueError(
      f"{len(codes):,} ratings drawn for {world.shape.ratings:,}: so few"
      " movies do not go with so many ratings"
    )
  return codes


def _stars(
  world: World, user: np.ndarray, movie: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Ratings from 0.5 to 5, each given as often as in MovieLens 25M."""
  quality = rng.standard_normal(len(world.weight)).astype(np.float32) * 0.5
  bias = rng.standard_normal(len(world.counts)).astype(np.float32) * 0.4
  liking = quality[movie] + bias[user]
  for place, extra in enumerate((1.0, 0.7, 0.4)):
    liking[world.taste[movie] == world.favourites[user, place]] += extra
  liking += rng.standard_normal(len(movie), dtype=np.float32)
  shares = np.cumsum(RATING_COUNTS)[:-1] / NUM_RATINGS
  sample = liking[rng.integers(0, len(liking), 2_000_000)]
  return (np.digitize(liking, np.quantile(sample, shares)) + 1) / 2


def _seconds(
  user: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """When each rating was given: mostly in one sitting, ties included."""
  span = np.where(
    rng.random(len(counts)) < 0.9, 6 * counts, rng.integers(10**6, 10**8)
  )
  start = rng.integers(FIRST_SECOND, LAST_SECOND - span)
  return start[user] + (span[user] * rng.random(len(user))).astype(int)


def write_ratings(
  path: pathlib.Path, world: World, ids: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Writes ratings.csv, by user and movie.

  Returns:
    [movies] how many ratings each has.
  """
  user, movie = np.divmod(rate(world, rng), world.shape.movies)
  table = pl.DataFrame(
    {
      "userId": user + 1,
      "movieId": ids[movie],
      "rating": _stars(world, user, movie, rng),
      "timestamp": _seconds(user, world.counts, rng),
    }
  )
  table.write_csv(path, line_terminator="\r\n")
  return np.bincount(movie, minlength=world.shape.movies)


def write_scores(
  path: pathlib.Path,
  world: World,
  ids: np.ndarray,
  movies: np.ndarray,
  rng: np.random.Generator,
) -> None:
  """Writes genome-scores.csv: a score of each tag for each of these movies."""
  tags = world.shape.tags
  usual = rng.normal(-2.9, 0.8, tags)
  # A tag of a taste says little of the movies of others; some say of all.
  of_taste = rng.integers(0, NUM_TASTES + 8, tags)
  with path.open("wb") as file:
    file.write(b"movieId,tagId,relevance\r\n")
    for start in range(0, len(movies), BLOCK_MOVIES):
      block = movies[start : start + BLOCK_MOVIES]
      fits = world.taste[block][:, None] == of_taste
      logit = usual + 3.4 * fits + rng.standard_normal((len(block), tags))
      relevance = np.round(4000 / (1 + np.exp(-logit))) * 0.00025
      pl.DataFrame(
        {
          "movieId": np.repeat(ids[block], tags),
          "tagId": np.tile(np.arange(1, tags + 1), len(block)),
          "relevance": relevance.ravel(),
        }
      ).write_csv(file, include_header=False, line_terminator="\r\n")


def write_reviews(
  path: pathlib.Path, titles: list[str], rng: np.random.Generator
) -> None:
  """Writes the reviews of these titles, those of one title together."""
  lines = (
    f"{title}\t{invented_movies.review(rng)}\n"
    for title in titles
    for _ in range(REVIEWS_PER_MOVIE)
  )
  path.write_text("".join(lines), "utf-8")


def write(raw_dir: pathlib.Path, shape: Shape, seed: int) -> None:
  """Writes the five files, each under its name when it is complete.

  Args:
    raw_dir: gets movielens/ and reviews/.
    shape: how large they are.
    seed: the same one gives the same bytes.
  """
  rng = np.random.default_rng(seed)
  movies = invented_movies.make(shape.movies, MAX_MOVIE_ID, rng)
  world = make_world(shape, rng)
  movielens, reviews = raw_dir / "movielens", raw_dir / "reviews"
  movielens.mkdir(parents=True, exist_ok=True)
  reviews.mkdir(exist_ok=True)

  def put(path: pathlib.Path, write_to, *arguments):
    began = time.perf_counter()
    unfinished = path.with_name(path.name + ".unfinished")
    result = write_to(unfinished, *arguments)
    unfinished.rename(path)
    print(
      f"{path}: {path.stat().st_size:,} bytes,"
      f" {time.perf_counter() - began:.1f} s"
    )
    return result

  table = invented_movies.write_table
  rows = list(
    zip(movies.ids.tolist(), movies.titles, movies.genres, strict=True)
  )
  put(movielens / "movies.csv", table, ("movieId", "title", "genres"), rows)
  tags = list(enumerate(invented_movies.tags(shape.tags, rng), start=1))
  put(movielens / "genome-tags.csv", table, ("tagId", "tag"), tags)
  rated = put(movielens / "ratings.csv", write_ratings, world, movies.ids, rng)
  known = np.argsort(-rated, kind="stable")
  put(
    movielens / "genome-scores.csv",
    write_scores,
    world,
    movies.ids,
    np.sort(known[: shape.genome_movies]),
    rng,
  )
  reviewed = [movies.titles[movie] for movie in known[: shape.reviewed]]
  put(reviews / "reviews.csv", write_reviews, reviewed, rng)


def main() -> None:
  """The command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--raw", type=pathlib.Path, required=True)
  size = parser.add_mutually_exclusive_group()
  size.add_argument("--scale", type=float, default=1.0, help="of the ratings")
  size.add_argument("--users", type=int, help="in place of --scale")
  parser.add_argument("--seed", type=int, default=0)
  options = parser.parse_args()
  scale = options.users / NUM_USERS if options.users else options.scale
  if not 0 < scale <= 1:
    parser.error(f"a copy has between 0 and {NUM_USERS:,} users")
  write(options.raw, Shape.scaled(scale), options.seed)


if __name__ == "__main__":
  main()
