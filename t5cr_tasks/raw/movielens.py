"""MovieLens' raw tables, and what the two MovieLens tasks need of them.

Source: Harper and Konstan 2015, https://grouplens.org/datasets/movielens/25m/
"""

from __future__ import annotations

import pathlib
from collections.abc import Collection

from etils import epy

from t5cr_tasks import errors, titles
from t5cr_tasks.raw import counts, files, tables

# polars takes half a second to load, which importing the tasks should not.
with epy.lazy_imports():
  import polars as pl

MOVIES = "movies.csv"
RATINGS = "ratings.csv"
GENOME_TAGS = "genome-tags.csv"
GENOME_SCORES = "genome-scores.csv"
RATING_COLUMNS = {
  "userId": int,
  "movieId": int,
  "rating": float,
  "timestamp": int,
}
SCORE_COLUMNS = {"movieId": int, "tagId": int, "relevance": float}


def read_movies(
  path: pathlib.Path, bad_lines: files.BadLines, tally: counts.Tally
) -> dict[int, str]:
  """Reads `movies.csv`.

  Args:
    path: the file.
    bad_lines: takes lines without a title or with an id that is no number or
      that stands twice.
    tally: counts the movies; titles without a year and titles that several
      movies share are noted.

  Returns:
    Clean title by movieId, in file order.

  Raises:
    DataError: a column is missing, or there are too many bad lines.
  """
  bad_before = bad_lines.count
  movies: dict[int, str] = {}
  for line, row in tables.read_rows(path, ("movieId", "title"), bad_lines):
    movie_id = tables.parse_id(path, line, "movieId", row["movieId"])
    title = titles.clean_title(row["title"])
    if isinstance(movie_id, errors.DataError):
      problem = movie_id
    elif movie_id in movies:
      problem = errors.located(
        path, f"{movie_id} stands twice", line=line, field="movieId"
      )
    elif titles.is_blank(title):
      problem = errors.located(
        path,
        f'"{errors.printable(row["title"], 60)}" is no title',
        line=line,
        field="title",
      )
    else:
      movies[movie_id] = title
      tally.keep()
      tally.note("title without a year", not titles.has_year(title))
      continue
    bad_lines.add(problem)
  tally.drop("bad line", bad_lines.count - bad_before)
  tally.note(
    "title that an earlier movie has too",
    len(movies) - len(set(movies.values())),
  )
  return movies


def read_ratings(path: pathlib.Path, bad_lines: files.BadLines) -> pl.DataFrame:
  """Reads the four columns of `ratings.csv`; see `tables.read_numbers`."""
  return tables.read_numbers(
    path, RATING_COLUMNS, bad_lines, limits={"rating": (0.0, 5.0)}
  )


def read_runs(
  path: pathlib.Path,
  movies: dict[int, str],
  bad_lines: files.BadLines,
  tallies: counts.Tallies,
  *,
  rating_above: float = 4.0,
  run_length: int = 10,
) -> pl.DataFrame:
  """Cuts each user's well-rated movies into runs (paper section 2.3).

  Args:
    path: `ratings.csv`.
    movies: title by movieId; ratings of other movies are dropped.
    bad_lines: takes lines that hold no number where one must be.
    tallies: counts 'ratings' and 'runs'.
    rating_above: only ratings strictly above this one count.
    run_length: movies per run; an incomplete last run is dropped.

  Returns:
    Columns user_id, run (from 0 for each user) and movie_ids (a list of
    run_length ids in time order, ties by movie id), by user and run.

  Raises:
    DataError: a column is missing, or there are too many bad lines.
  """
  bad_before = bad_lines.count
  ratings = read_ratings(path, bad_lines)
  tallies["ratings"].drop("bad line", bad_lines.count - bad_before)
  liked = liked_ratings(ratings, movies, tallies, rating_above=rating_above)
  return cut_runs(liked, tallies, run_length=run_length)


def liked_ratings(
  ratings: pl.DataFrame,
  movies: Collection[int],
  tallies: counts.Tallies,
  *,
  rating_above: float,
) -> pl.DataFrame:
  """The ratings that count; `read_runs` has the arguments."""
  liked = ratings.filter(pl.col("rating") > rating_above)
  known = liked.filter(pl.col("movieId").is_in(list(movies)))
  tally = tallies["ratings"]
  tally.drop(f"rated {rating_above:g} or lower", ratings.height - liked.height)
  tally.drop("movie not in movies.csv", liked.height - known.height)
  return known


def cut_runs(
  liked: pl.DataFrame, tallies: counts.Tallies, *, run_length: int
) -> pl.DataFrame:
  """Cuts all that counts of some users into runs, as `read_runs` tells."""
  users = (
    liked.group_by("userId")
    .agg(pl.col("movieId").sort_by("timestamp", "movieId"))
    .sort("userId")
    .with_columns(num_runs=pl.col("movieId").list.len() // run_length)
  )
  runs = users.select(
    user_id=pl.col("userId").repeat_by("num_runs"),
    run=pl.int_ranges("num_runs", dtype=pl.Int32),
    in_runs=pl.col("movieId").list.head(pl.col("num_runs") * run_length),
  ).filter(pl.col("run").list.len() > 0)
  complete = runs.select("user_id", "run").explode("user_id", "run")
  items = runs["in_runs"].explode().reshape((complete.height, run_length))
  num_begun = int((users["movieId"].list.len() / run_length).ceil().sum())
  tallies["ratings"].keep(complete.height * run_length)
  tallies["ratings"].drop(
    "in an incomplete run", liked.height - complete.height * run_length
  )
  tallies["runs"].keep(complete.height)
  tallies["runs"].drop("incomplete", num_begun - complete.height)
  return complete.with_columns(movie_ids=items.cast(pl.List(pl.Int64)))


def read_tags(
  path: pathlib.Path, bad_lines: files.BadLines, tally: counts.Tally
) -> dict[int, str]:
  """Reads `genome-tags.csv`: tag text by tagId, in file order.

  Raises:
    DataError: a column is missing, or there are too many bad lines.
  """
  bad_before = bad_lines.count
  tags: dict[int, str] = {}
  for line, row in tables.read_rows(path, ("tagId", "tag"), bad_lines):
    tag_id = tables.parse_id(path, line, "tagId", row["tagId"])
    tag = titles.plain_text(row["tag"])
    if isinstance(tag_id, errors.DataError):
      problem = tag_id
    elif tag_id in tags:
      problem = errors.located(
        path, f"{tag_id} stands twice", line=line, field="tagId"
      )
    elif not tag:
      problem = errors.located(path, "empty", line=line, field="tag")
    else:
      tags[tag_id] = tag
      tally.keep()
      continue
    bad_lines.add(problem)
  tally.drop("bad line", bad_lines.count - bad_before)
  return tags


def read_movie_tags(
  path: pathlib.Path,
  movies: dict[int, str],
  tags: dict[int, str],
  bad_lines: files.BadLines,
  tallies: counts.Tallies,
  *,
  relevance_above: float = 0.8,
) -> pl.DataFrame:
  """Finds the tags that fit each movie (paper section 2.4).

  Args:
    path: `genome-scores.csv`.
    movies: title by movieId; scores of other movies are dropped.
    tags: text by tagId; scores of other tags are dropped.
    bad_lines: takes lines that hold no number where one must be.
    tallies: counts 'scores' and 'tagged movies'.
    relevance_above: only tags with a relevance strictly above this count.

  Returns:
    Columns movie_id and tag_ids (a list in the order of the ids), by movie.

  Raises:
    DataError: a column is missing, or there are too many bad lines.
  """
  bad_before = bad_lines.count
  scores = read_scores(path, bad_lines)
  tallies["scores"].drop("bad line", bad_lines.count - bad_before)
  fitting = fitting_tags(
    scores, movies, tags, tallies, relevance_above=relevance_above
  )
  return gather_tags(fitting, scores["movieId"].unique(), tallies)


def read_scores(path: pathlib.Path, bad_lines: files.BadLines) -> pl.DataFrame:
  """Reads the columns of `genome-scores.csv`; see `tables.read_numbers`."""
  return tables.read_numbers(
    path, SCORE_COLUMNS, bad_lines, limits={"relevance": (0.0, 1.0)}
  )


def fitting_tags(
  scores: pl.DataFrame,
  movies: Collection[int],
  tags: Collection[int],
  tallies: counts.Tallies,
  *,
  relevance_above: float,
) -> pl.DataFrame:
  """The scores that count; `read_movie_tags` has the arguments."""
  relevant = scores.filter(pl.col("relevance") > relevance_above)
  of_movies = relevant.filter(pl.col("movieId").is_in(list(movies)))
  kept = of_movies.filter(pl.col("tagId").is_in(list(tags)))
  tally = tallies["scores"]
  tally.keep(kept.height)
  tally.drop(
    f"relevance {relevance_above:g} or lower",
    scores.height - relevant.height,
  )
  tally.drop("movie not in movies.csv", relevant.height - of_movies.height)
  tally.drop("tag not in genome-tags.csv", of_movies.height - kept.height)
  return kept


def gather_tags(
  fitting: pl.DataFrame, scored: pl.Series, tallies: counts.Tallies
) -> pl.DataFrame:
  """Gathers all that counts of some movies, as `read_movie_tags` tells.

  Args:
    fitting: the scores of these movies that count.
    scored: the ids of these movies, each once, those without a tag too.
    tallies: counts 'tagged movies'.
  """
  tagged = (
    fitting.sort("movieId", "tagId")
    .group_by("movieId", maintain_order=True)
    .agg("tagId")
  )
  tallies["tagged movies"].keep(tagged.height)
  tallies["tagged movies"].drop("no tag left", len(scored) - tagged.height)
  return tagged.rename({"movieId": "movie_id", "tagId": "tag_ids"})
