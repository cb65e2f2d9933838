"""The published crawl of reviews, to RAW/reviews/reviews.csv."""

import zipfile

import pytest

from t5cr import cli
from t5cr_tasks import errors
from t5cr_tasks.raw import counts, crawl, files, reviews

LONG = "A film that one goes back to again and again, gladly."
LINES = [
  f"Heat (1995)\t{LONG}",
  f"Lion, The (2004)\t{LONG}\twith a TAB\rand a return",
  f"Heat (1995)\t{LONG}",
  "Alien (1979)\tShort.",
]
BAD = ["no tab at all", f"\t{LONG}", "Heat (1995)\t...", "Heat (1995)\t"]


def write(path, lines):
  path.write_bytes("".join(f"{line}\n" for line in lines).encode())
  return path


def test_lines_are_kept_or_dropped_with_a_reason(tmp_path):
  path = write(tmp_path / "crawl.csv", [*LINES, *BAD])
  path.write_bytes(path.read_bytes() + b"Heat (1995)\t\xff\xfe" + b"x" * 60)
  tally = crawl.convert(path, tmp_path / "raw")
  assert tally.to_dict() == {
    "read": 9,
    "kept": 4,
    "dropped": {
      "no TAB": 1,
      "no title": 1,
      "no word in the review": 2,
      "not UTF-8 text": 1,
    },
    "noted": {"50 characters or fewer": 1, "the same line as before": 1},
  }
  # All that is kept is read without a bad line.
  read = list(
    reviews.read_reviews(
      tmp_path / "raw/reviews/reviews.csv", files.BadLines(), counts.Tally()
    )
  )
  assert [r.title for r in read] == [
    "Heat (1995)",
    "The Lion (2004)",
    "Heat (1995)",
    "Alien (1979)",
  ]
  assert read[1].sentences == (LONG, "with a TAB and a return")
  assert [p.name for p in (tmp_path / "raw").iterdir()] == ["reviews"]


def test_a_header_is_no_review(tmp_path):
  path = write(tmp_path / "crawl.csv", ["name\treview", *LINES])
  tally = crawl.convert(path, tmp_path / "raw")
  assert tally.to_dict()["dropped"] == {"header": 1}


def test_an_archive_gives_what_its_file_gives(tmp_path):
  path = write(tmp_path / "crawl.csv", LINES)
  archive = tmp_path / "imdb_reviews.csv.zip"
  with zipfile.ZipFile(archive, "w") as file:
    file.write(path, "somewhere/reviews.csv")
    file.writestr("__MACOSX/somewhere/._reviews.csv", "x")
  crawl.convert(path, tmp_path / "one")
  crawl.convert(archive, tmp_path / "two")
  one = (tmp_path / "one/reviews/reviews.csv").read_bytes()
  assert one == (tmp_path / "two/reviews/reviews.csv").read_bytes()


def test_an_archive_with_several_tables_is_not_guessed_at(tmp_path):
  archive = tmp_path / "a.zip"
  with zipfile.ZipFile(archive, "w") as file:
    file.writestr("a.csv", "x")
    file.writestr("b.csv", "x")
  with pytest.raises(errors.DataError, match="found 2; it holds a.csv, b.csv"):
    crawl.convert(archive, tmp_path / "raw")
  assert not list((tmp_path / "raw").iterdir())


def test_another_format_leaves_nothing_behind(tmp_path):
  path = write(tmp_path / "crawl.csv", ["title,review", f"Heat (1995),{LONG}"])
  with pytest.raises(errors.DataError, match="none of its 2 lines"):
    crawl.convert(path, tmp_path / "raw")
  assert not list((tmp_path / "raw").iterdir())


def test_a_file_that_differs_is_left_alone(tmp_path):
  path = write(tmp_path / "crawl.csv", LINES)
  crawl.convert(path, tmp_path)
  crawl.convert(path, tmp_path)  # the same again is no error
  target = tmp_path / "reviews/reviews.csv"
  target.write_text("mine")
  with pytest.raises(errors.DataError, match="reviews.csv: is there already"):
    crawl.convert(path, tmp_path)
  assert target.read_text() == "mine"


def test_the_command_shows_the_counts(tmp_path, capsys):
  path = write(tmp_path / "crawl.csv", [*LINES, *BAD])
  raw = tmp_path / "raw"
  given = ["data", "convert_reviews", "--crawl", str(path), "--raw", str(raw)]
  assert cli.main(given) == 0
  shown = capsys.readouterr().out
  assert "2 no word in the review" in " ".join(shown.split())
  assert (raw / "reviews/reviews.csv").is_file()
  given[3] = str(tmp_path / "absent")
  assert cli.main(given) == 2
  assert "absent: no such file" in capsys.readouterr().err
