"""Movie reviews: one a line, MovieLens title, TAB, text; no header.

Source: Penha and Hauff 2020, whose crawler wrote the text nodes of the first
reviews of each MovieLens title; a node may be a paragraph of a review.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterator

from t5cr_tasks import errors, titles
from t5cr_tasks.raw import counts, files

REVIEWS = "reviews.csv"
# The publisher's crawler kept nodes of more characters than this.
SHORT_REVIEW = 50

_SENTENCE_END = re.compile(
  r"""(?:(?<![.!?])[.!?]+|…)["'”’)\]]*   # the stop, with the quotes it closes
    \s+
    (?=["'“‘(\[]*\w)             # something begins behind it
    """,
  re.VERBOSE,
)
# Behind the first a name or a phrase goes on; behind the others it does unless
# a capital begins.
_NEVER_LAST = frozenset(
  "mr mrs ms dr prof st vs capt col gen lt sgt rev hon mt e.g i.e a.k.a".split()
)
_SELDOM_LAST = frozenset(
  "jr sr etc no vol ep approx aka min ft inc co u.s u.k".split()
)


@dataclasses.dataclass(frozen=True)
class Review:
  """One line of the file.

  Attributes:
    review_id: the number of its line, from 1.
    title: clean.
    sentences: at least one.
  """

  review_id: int
  title: str
  sentences: tuple[str, ...]


def read_reviews(
  path: pathlib.Path, bad_lines: files.BadLines, tally: counts.Tally
) -> Iterator[Review]:
  """Reads the reviews and splits them into sentences.

  Args:
    path: `reviews.csv`.
    bad_lines: takes lines without a TAB or without a title.
    tally: counts the reviews; those without a word are dropped, short ones
      and titles without a year are noted.

  Yields:
    The reviews in file order.

  Raises:
    DataError: there are more bad lines than allowed.
  """
  bad_before = bad_lines.count
  for line, text in files.read_lines(path, bad_lines):
    raw_title, tab, body = text.partition("\t")
    title = titles.clean_title(raw_title)
    if not tab or titles.is_blank(title):
      bad_lines.add(
        errors.located(
          path,
          "a line must be a movie title, a TAB and a review, and this one "
          + ("has no title" if tab else "has no TAB"),
          line=line,
          field="title" if tab else "review",
        )
      )
      continue
    sentences = split_sentences(body)
    if not sentences:
      tally.drop("no word in the review")
      continue
    tally.keep()
    tally.note(f"{SHORT_REVIEW} characters or fewer", len(body) <= SHORT_REVIEW)
    tally.note("title without a year", not titles.has_year(title))
    yield Review(line, title, tuple(sentences))
  tally.drop("bad line", bad_lines.count - bad_before)


def split_sentences(text: str) -> list[str]:
  """Splits running text behind full stops, exclamation and question marks.

  No split is made behind an initial or a common abbreviation (etc. and the
  like: unless a capital follows), nor where lower case follows an ellipsis.
  An @ would read as a title marker in a dialogue, so it becomes "at" (a word
  of its own) or "a" (inside a word).

  >>> split_sentences('Mr. Fox is great. Really!! See it... or not.')
  ['Mr. Fox is great.', 'Really!!', 'See it... or not.']

  Args:
    text: a review; HTML entities and line ends are resolved.

  Returns:
    The sentences that have a letter or digit in them.
  """
  text = titles.plain_text(text).replace(" @ ", " at ").replace("@", "a")
  sentences = []
  start = 0
  for match in _SENTENCE_END.finditer(text):
    if not _ends_sentence(text, start, match):
      continue
    sentences.append(text[start : match.end()].strip())
    start = match.end()
  sentences.append(text[start:].strip())
  return [sentence for sentence in sentences if any(map(str.isalnum, sentence))]


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
  stop = match[0].strip()
  follows = text[match.end()]
  if stop.startswith(("..", "…")):
    return not follows.islower()
  if stop != ".":
    return True
  # Only the last word is looked at: a sentence may be as long as the review.
  end = match.start() - (text[match.start() - 1 : match.start()] == " ")
  last = text[max(start, text.rfind(" ", start, end) + 1) : end]
  if not last:
    return False
  name = last.lower().lstrip("(\"'“‘[")
  is_initial = len(name) == 1 and name.isalpha() and name != "i"
  if name in _NEVER_LAST or is_initial:
    return False
  return name not in _SELDOM_LAST or not (
    follows.islower() or follows.isdigit()
  )
