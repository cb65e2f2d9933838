"""MovieLens' raw tables, and what the two MovieLens tasks need of them.

Source: Harper and Konstan 2015, https://grouplens.org/datasets/movielens/25m/
"""

from __future__ import annotations

import pathlib

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
        path, f'"{row["title"]}" is no title', line=line, field="title"
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
  ratings = tables.read_numbers(
    path,
    {
      "userId": pl.Int64,
      "movieId": pl.Int64,
      "rating": pl.Float64,
      "timestamp": pl.Int64,
    },
    bad_lines,
    limits={"rating": (0.0, 5.0)},
  )
  known = pl.col("movieId").is_in(list(movies))
  liked = ratings.filter(pl.col("rating") > rating_above)
  placed = (
    liked.filter(known)
    .sort("userId", "timestamp", "movieId")
    .with_columns(
      run=pl.int_range(pl.len(), dtype=pl.Int32).over("userId") // run_length
    )
  )
  runs = placed.group_by("userId", "run", maintain_order=True).agg("movieId")
  complete = runs.filter(pl.col("movieId").list.len() == run_length)

  tally = tallies["ratings"]
  in_runs = complete.height * run_length
  tally.keep(in_runs)
  tally.drop("bad line", bad_lines.count - bad_before)
  tally.drop(f"rated {rating_above:g} or lower", ratings.height - liked.height)
  tally.drop("movie not in movies.csv", liked.height - placed.height)
  tally.drop("in an incomplete run", placed.height - in_runs)
  tallies["runs"].keep(complete.height)
  tallies["runs"].drop("incomplete", runs.height - complete.height)
  return complete.rename({"userId": "user_id", "movieId": "movie_ids"})


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
  scores = tables.read_numbers(
    path,
    {"movieId": pl.Int64, "tagId": pl.Int64, "relevance": pl.Float64},
    bad_lines,
    limits={"relevance": (0.0, 1.0)},
  )
  relevant = scores.filter(pl.col("relevance") > relevance_above)
  of_movies = relevant.filter(pl.col("movieId").is_in(list(movies)))
  kept = of_movies.filter(pl.col("tagId").is_in(list(tags)))
  tagged = (
    kept.sort("movieId", "tagId")
    .group_by("movieId", maintain_order=True)
    .agg("tagId")
  )
  tally = tallies["scores"]
  tally.keep(kept.height)
  tally.drop("bad line", bad_lines.count - bad_before)
  tally.drop(
    f"relevance {relevance_above:g} or lower",
    scores.height - relevant.height,
  )
  tally.drop("movie not in movies.csv", relevant.height - of_movies.height)
  tally.drop("tag not in genome-tags.csv", of_movies.height - kept.height)
  scored = scores["movieId"].n_unique()
  tallies["tagged movies"].keep(tagged.height)
  tallies["tagged movies"].drop("no tag left", scored - tagged.height)
  return tagged.rename({"movieId": "movie_id", "tagId": "tag_ids"})
