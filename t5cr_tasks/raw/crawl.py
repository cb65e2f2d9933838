"""The crawl of reviews that Penha and Hauff published, to `reviews.csv`.

Source: https://github.com/Guzpenha/ConvRecProbingBERT. Its crawler
(`crawl_imdb.py`) appends a line `title TAB review` for each text node longer
than 50 characters among a page's first 20, line ends removed and TABs made
spaces; its scripts read the file the same way. There is no header, for all that
it is called .csv. What else the published archive `imdb_reviews.csv.zip` holds
has not been seen, so that nothing is assumed about it: a line of another form
is dropped and counted.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import sys
import zipfile
from collections.abc import Callable, Iterator

from t5cr_tasks import errors, folders, titles
from t5cr_tasks.raw import archives, counts, files, reviews

# The crawl covers 62,423 movies with 20 nodes each at most.
_MAX_UNPACKED = 1 << 33
_HEADERS = ("name", "title", "movie", "item")
_REPORT_EVERY = 10_000

Progress = Callable[[str, int, int | None, str], None]


def convert(
  crawl: str | os.PathLike[str],
  raw_dir: str | os.PathLike[str],
  progress: Progress | None = None,
) -> counts.Tally:
  """Writes `RAW/reviews/reviews.csv` from a crawl.

  Titles and texts are kept as they are (the readers clean them), but for
  control characters and TABs in a text, which become spaces.

  Args:
    crawl: the text file, or a zip archive with one file that ends in .csv.
    raw_dir: the RAW folder; made if need be.
    progress: see `t5cr.progress`.

  Returns:
    What was read, kept and dropped, and why. Lines that stand twice are kept
    and noted, for the published file is used as it is.

  Raises:
    DataError: the crawl is not there, or no line of it is of the form; or
      `reviews.csv` is there and differs. Then nothing is written.
  """
  crawl = pathlib.Path(crawl)
  if not crawl.is_file():
    raise errors.located(crawl, "no such file")
  folder = pathlib.Path(raw_dir) / "reviews"
  for path in (folder.parent, folder):
    if path.exists() and not path.is_dir():
      raise errors.located(path, "a folder is needed there, and this is a file")
  with folders.workshop(folder.parent, ".reviews.converting-") as aside:
    text = _unpacked(crawl, aside) if zipfile.is_zipfile(crawl) else crawl
    tally = counts.Tally()
    converted = aside / reviews.REVIEWS
    with converted.open("w", encoding="utf-8", newline="\n") as file:
      for title, review in _read(text, tally, progress):
        file.write(f"{title}\t{review}\n")
    if not tally.kept:
      raise errors.located(
        crawl,
        f"none of its {tally.read:,} lines is a title, a TAB and a review",
        remedy="Give imdb_reviews.csv.zip as published, or the file in it",
      )
    _put_in_place(converted, folder)
    return tally


def _unpacked(crawl: pathlib.Path, aside: pathlib.Path) -> pathlib.Path:
  held = archives.names(crawl)
  tables = [name for name in held if name.lower().endswith(".csv")]
  if len(tables) != 1:
    raise errors.located(
      crawl,
      f"expected one .csv in the archive, found {len(tables)}; it holds "
      f"{', '.join(held)[:300] or 'no files'}",
      remedy="Unpack it, and give the file with the reviews",
    )
  inside = aside / "unpacked"
  inside.mkdir()
  archives.unpack(crawl, tables, inside, _MAX_UNPACKED)
  return inside / tables[0]


def _read(
  path: pathlib.Path, tally: counts.Tally, progress: Progress | None
) -> Iterator[tuple[str, str]]:
  bad_lines = _Dropped(tally)
  total = files.count_lines(path)
  seen: set[bytes] = set()
  number = 0
  for number, line in files.read_lines(path, bad_lines, returns=True):
    title, tab, review = line.partition("\t")
    reason = _why_not(number, title, tab, review)
    if reason:
      tally.drop(reason)
      continue
    # Characters that end a line for one reader or another go.
    title = " ".join(title.splitlines())
    review = " ".join(review.replace("\t", " ").splitlines())
    tally.keep()
    digest = hashlib.blake2b(line.encode(), digest_size=12).digest()
    tally.note("the same line as before", digest in seen)
    seen.add(digest)
    tally.note(
      f"{reviews.SHORT_REVIEW} characters or fewer",
      len(review) <= reviews.SHORT_REVIEW,
    )
    yield title, review
    if progress and number % _REPORT_EVERY == 0:
      progress("convert reviews", number, total, "lines")
  if progress:
    progress("convert reviews", max(total, number), total, "lines")


class _Dropped(files.BadLines):
  """Takes all lines that are no text, and counts them by what they are."""

  def __init__(self, tally: counts.Tally):
    super().__init__(sys.maxsize)
    self._tally = tally

  def add(self, error: errors.DataError) -> None:
    super().add(error)
    self._tally.drop(error.problem.partition(" (")[0])


def _why_not(number: int, title: str, tab: str, review: str) -> str | None:
  if not tab:
    return "no TAB"
  if "\r" in title or "\t" in review.partition("\r")[2]:
    return "several lines that end in a carriage return"
  if number == 1 and title.strip().lower() in _HEADERS:
    return "header"
  if titles.is_blank(titles.clean_title(title)):
    return "no title"
  if not any(map(str.isalnum, review)):
    return "no word in the review"
  return None


def _put_in_place(converted: pathlib.Path, folder: pathlib.Path) -> None:
  target = folder / reviews.REVIEWS
  if os.path.lexists(target):
    if files.sha256(target) == files.sha256(converted):
      return
    raise errors.located(
      target,
      "is there already, differs from what this crawl gives, and was left "
      "alone",
      remedy="Move it away and convert again",
    )
  folder.mkdir(exist_ok=True)
  os.rename(converted, target)
