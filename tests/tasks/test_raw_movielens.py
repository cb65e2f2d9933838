"""MovieLens' tables, with a hand-written row for each oddity."""

import pathlib

import pytest

from t5cr_tasks.errors import DataError
from t5cr_tasks.raw import counts, files, movielens

MOVIES = {number: f"Film {number} (2000)" for number in range(1, 100)}


def write(path: pathlib.Path, text: str | bytes) -> pathlib.Path:
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return path


def read_movies(tmp_path, body: str | bytes, allowed: int = 0):
  tally = counts.Tally()
  if isinstance(body, str):
    body = body.encode()
  path = write(tmp_path / "movies.csv", b"movieId,title,genres\n" + body)
  bad_lines = files.BadLines(allowed)
  return movielens.read_movies(path, bad_lines, tally), tally.to_dict()


def read_runs(tmp_path, body: str, allowed: int = 0, **options):
  path = write(
    tmp_path / "ratings.csv", "userId,movieId,rating,timestamp\n" + body
  )
  tallies = counts.Tallies()
  bad_lines = files.BadLines(allowed)
  runs = movielens.read_runs(path, MOVIES, bad_lines, tallies, **options)
  return runs.rows(), tallies.to_dict(), bad_lines


def read_tags(tmp_path, body: str, allowed: int = 0, tags=None, **options):
  path = write(
    tmp_path / "genome-scores.csv", "movieId,tagId,relevance\n" + body
  )
  tallies = counts.Tallies()
  movie_tags = movielens.read_movie_tags(
    path,
    MOVIES,
    tags or {1: "war", 2: "sad"},
    files.BadLines(allowed),
    tallies,
    **options,
  )
  return movie_tags.rows(), tallies.to_dict()


def test_movies_with_windows_line_ends_quotes_and_articles(tmp_path):
  movies, tally = read_movies(
    tmp_path,
    "1,Toy Story (1995),Comedy\r\n"
    '2,"City of Lost Children, The (Cité des enfants perdus, La) (1995)",X\r\n'
    '3,"11\'09""01 - September 11 (2002)",Drama\r\n'
    "4,Paterson,Drama\r\n"
    "5,Heat (1995) ,Crime\r\n"
    "6,Death Note (2006–2007),Crime\r\n"
    "7,Heat (1995),Crime\r\n",
  )
  assert movies == {
    1: "Toy Story (1995)",
    2: "The City of Lost Children (La Cité des enfants perdus) (1995)",
    3: "11'09\"01 - September 11 (2002)",
    4: "Paterson",
    5: "Heat (1995)",
    6: "Death Note (2006–2007)",
    7: "Heat (1995)",
  }
  assert tally == {
    "read": 7,
    "kept": 7,
    "dropped": {},
    "noted": {
      "title that an earlier movie has too": 1,
      "title without a year": 2,
    },
  }


@pytest.mark.parametrize(
  ("body", "words"),
  [
    ("x1,Toy Story (1995),C\n", ["movies.csv:2: movieId:", '"x1"']),
    ("1,A (1990),C\n1,B (1991),C\n", ["movies.csv:3: movieId:", "twice"]),
    ("1,,C\n", ["movies.csv:2: title:", "no title"]),
    ("1, (2007),C\n", ["movies.csv:2: title:", '" (2007)" is no title']),
    ("1,Incredibles, The (2004),C\n", ["movies.csv:2: 4 fields", "quotes"]),
    (b"1,Caf\xe9 (2004),C\n", ["movies.csv:2: not UTF-8"]),
  ],
)
def test_bad_movies(tmp_path, body, words):
  with pytest.raises(DataError) as caught:
    read_movies(tmp_path, body)
  for word in [*words, "max_bad_lines"]:
    assert word in str(caught.value)


def test_bad_movies_are_dropped_when_allowed(tmp_path):
  movies, tally = read_movies(
    tmp_path, "x,A (1990),C\n2,B (1991),C\n3,C, D (1992),C\n", allowed=2
  )
  assert movies == {2: "B (1991)"}
  assert (tally["read"], tally["dropped"]) == (3, {"bad line": 2})


def test_missing_column_of_movies(tmp_path):
  path = write(tmp_path / "movies.csv", "movieId,name\n1,Heat (1995)\n")
  with pytest.raises(DataError, match=r"movies.csv:1: title: no such column"):
    movielens.read_movies(path, files.BadLines(), counts.Tally())


def test_runs_are_in_time_order_with_ties_by_movie(tmp_path):
  runs, _, _ = read_runs(
    tmp_path,
    "1,5,4.5,30\n1,9,5.0,10\n1,2,4.5,20\n1,1,4.5,20\n",
    run_length=2,
  )
  assert runs == [(1, 0, [9, 1]), (1, 1, [2, 5])]


def test_only_ratings_strictly_above_four_count(tmp_path):
  runs, tallies, _ = read_runs(
    tmp_path, "1,1,4.0,1\n1,2,4.5,2\n1,3,5.0,3\n1,4,0.5,4\n", run_length=2
  )
  assert runs == [(1, 0, [2, 3])]
  assert tallies["ratings"]["dropped"] == {"rated 4 or lower": 2}


def test_a_line_is_good_whatever_the_others_are(tmp_path):
  far = f"1,1,5.0,{2**62 + 5}\n"
  for others, bad in (("", 0), ("1,2,five,1\n", 1)):
    runs, _, bad_lines = read_runs(
      tmp_path, far + others, allowed=bad, run_length=1
    )
    assert (len(runs), bad_lines.count) == (1, bad)


def test_incomplete_last_run_is_dropped_and_counted(tmp_path):
  body = "".join(f"1,{movie},5.0,{movie}\n" for movie in range(1, 26))
  runs, tallies, _ = read_runs(tmp_path, body + "2,1,5.0,1\n")
  assert runs == [
    (1, 0, list(range(1, 11))),
    (1, 1, list(range(11, 21))),
  ]
  assert tallies["runs"] == {
    "read": 4,
    "kept": 2,
    "dropped": {"incomplete": 2},
    "noted": {},
  }
  assert tallies["ratings"]["kept"] == 20
  assert tallies["ratings"]["dropped"] == {"in an incomplete run": 6}


def test_ratings_of_unknown_movies_are_dropped_before_runs(tmp_path):
  runs, tallies, _ = read_runs(
    tmp_path, "1,1,5.0,1\n1,777,5.0,2\n1,2,5.0,3\n", run_length=2
  )
  assert runs == [(1, 0, [1, 2])]
  assert tallies["ratings"]["dropped"] == {"movie not in movies.csv": 1}


@pytest.mark.parametrize(
  ("line", "words"),
  [
    ("1,2,good,9", ["rating:", '"good" is no number']),
    ("1,2,,9", ["rating:", '"" is no number']),
    ("1,2,nan,9", ["rating:", "nan is not between 0 and 5"]),
    ("1,2,50,9", ["rating:", "50 is not between 0 and 5"]),
    ("1,2.5,5.0,9", ["movieId:", '"2.5"']),
    ("1,2,5.0", ["3 fields where the header has 4"]),
    ("1,2,5.0,9,x", ["5 fields where the header has 4"]),
    ("1,\xff,5.0,9", ["movieId:"]),
  ],
)
def test_bad_rating(tmp_path, line, words):
  body = f"1,1,5.0,1\n\n{line}\n1,3,5.0,3\n"
  with pytest.raises(DataError) as caught:
    read_runs(tmp_path, body, run_length=2)
  for word in ["ratings.csv:4: ", "max_bad_lines", *words]:
    assert word in str(caught.value)
  runs, tallies, bad_lines = read_runs(tmp_path, body, allowed=1, run_length=2)
  assert runs == [(1, 0, [1, 3])]
  assert tallies["ratings"]["dropped"] == {"bad line": 1}
  assert bad_lines.count == 1 and "ratings.csv:4:" in bad_lines.messages[0]


def test_missing_column_of_ratings(tmp_path):
  path = write(tmp_path / "ratings.csv", "userId,movieId,stars\n1,1,5\n")
  with pytest.raises(DataError) as caught:
    movielens.read_runs(path, MOVIES, files.BadLines(), counts.Tallies())
  assert "ratings.csv:1: rating: no such column" in str(caught.value)
  assert "userId, movieId, rating, timestamp" in str(caught.value)


def test_ratings_with_mark_windows_ends_other_order_and_no_last_end(tmp_path):
  path = write(
    tmp_path / "ratings.csv",
    b"\xef\xbb\xbfmovieId,extra,userId,timestamp,rating\r\n"
    b"2,x,1,9,4.5\r\n3,x,1,8,4.5",
  )
  runs = movielens.read_runs(
    path, MOVIES, files.BadLines(), counts.Tallies(), run_length=2
  )
  assert runs.rows() == [(1, 0, [3, 2])]


def test_tags_header_is_no_tag(tmp_path):
  tally = counts.Tally()
  path = write(
    tmp_path / "genome-tags.csv", 'tagId,tag\r\n1,007\r\n2,"big, bad"\r\n'
  )
  tags = movielens.read_tags(path, files.BadLines(), tally)
  assert tags == {1: "007", 2: "big, bad"}
  assert tally.to_dict()["kept"] == 2


@pytest.mark.parametrize(
  ("body", "words"),
  [
    ("tagId,name\n1,a\n", ["genome-tags.csv:1: tag: no such column"]),
    ("tagId,tag\n1,a\n1,b\n", ["genome-tags.csv:3: tagId:", "twice"]),
    ("tagId,tag\n1, \n", ["genome-tags.csv:2: tag: empty"]),
    ("tagId,tag\n1.5,a\n", ['genome-tags.csv:2: tagId: "1.5"']),
  ],
)
def test_bad_tags(tmp_path, body, words):
  path = write(tmp_path / "genome-tags.csv", body)
  with pytest.raises(DataError) as caught:
    movielens.read_tags(path, files.BadLines(), counts.Tally())
  for word in words:
    assert word in str(caught.value)


def test_movie_tags_have_relevance_strictly_above(tmp_path):
  movie_tags, tallies = read_tags(
    tmp_path,
    "3,2,0.9\n3,1,0.81\n2,1,0.8\n2,2,0.1\n777,1,0.9\n3,9,0.9\n",
  )
  assert movie_tags == [(3, [1, 2])]
  assert tallies["scores"]["kept"] == 2
  assert tallies["scores"]["dropped"] == {
    "relevance 0.8 or lower": 2,
    "movie not in movies.csv": 1,
    "tag not in genome-tags.csv": 1,
  }
  assert tallies["tagged movies"]["dropped"] == {"no tag left": 2}


def test_bad_relevance(tmp_path):
  with pytest.raises(DataError, match=r"genome-scores.csv:2: relevance: 1.5"):
    read_tags(tmp_path, "3,2,1.5\n")


def test_real_files(shared_dir):
  folder = shared_dir / "data" / "movielens_small"
  tallies = counts.Tallies()
  bad_lines = files.BadLines()
  movies = movielens.read_movies(
    folder / "movies.csv", bad_lines, tallies["movies"]
  )
  assert len(movies) == 9742
  runs = movielens.read_runs(folder / "ratings.csv", movies, bad_lines, tallies)
  lines = (folder / "ratings.csv").read_bytes().splitlines()
  assert tallies["ratings"].read == len(lines) - 1
  assert tallies["ratings"].kept == 10 * runs.height == 19070
  tags = movielens.read_tags(
    folder / "genome-tags.csv", bad_lines, tallies["tags"]
  )
  assert len(tags) == 333
  tagged = movielens.read_movie_tags(
    folder / "genome-scores.csv", movies, tags, bad_lines, tallies
  )
  assert (tagged.height, tallies["scores"].kept) == (1297, 4844)
