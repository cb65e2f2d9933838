"""Reviews: lines with a TAB, and sentences."""

import pytest

from t5cr_tasks.errors import DataError
from t5cr_tasks.raw import counts, files, reviews


def read(tmp_path, body: str, allowed: int = 0):
  path = tmp_path / "reviews.csv"
  path.write_bytes(body.encode())
  tally = counts.Tally()
  found = list(reviews.read_reviews(path, files.BadLines(allowed), tally))
  return found, tally.to_dict()


def test_reads_title_tab_review(tmp_path):
  found, tally = read(
    tmp_path,
    "Incredibles, The (2004)\tA family of heroes lives in hiding. It is fun! I"
    " loved it.\r\n"
    "Paterson\tA bus driver writes poems & that is all; &quot;nice&quot;.\n",
  )
  assert found == [
    reviews.Review(
      1,
      "The Incredibles (2004)",
      ("A family of heroes lives in hiding.", "It is fun!", "I loved it."),
    ),
    reviews.Review(
      2,
      "Paterson",
      ('A bus driver writes poems & that is all; "nice".',),
    ),
  ]
  assert tally == {
    "read": 2,
    "kept": 2,
    "dropped": {},
    "noted": {"title without a year": 1},
  }


def test_short_and_wordless_reviews_are_counted(tmp_path):
  found, tally = read(
    tmp_path, "Heat (1995)\tToo long.\nHeat (1995)\t...\nHeat (1995)\t\n"
  )
  assert [review.review_id for review in found] == [1]
  assert tally == {
    "read": 3,
    "kept": 1,
    "dropped": {"no word in the review": 2},
    "noted": {"50 characters or fewer": 1},
  }


def test_later_tabs_belong_to_the_review(tmp_path):
  found, _ = read(tmp_path, "Heat (1995)\tOne\ttwo. Three.\n")
  assert found[0].sentences == ("One two.", "Three.")


@pytest.mark.parametrize(
  ("line", "words"),
  [
    ("Heat (1995) is great", ["reviews.csv:2: review:", "has no TAB"]),
    ("\tGreat film", ["reviews.csv:2: title:", "has no title"]),
    (" (1995)\tGreat film", ["reviews.csv:2: title:", "has no title"]),
  ],
)
def test_bad_line(tmp_path, line, words):
  body = f"Heat (1995)\tGreat.\n{line}\nHeat (1995)\tFine.\n"
  with pytest.raises(DataError) as caught:
    read(tmp_path, body)
  for word in [*words, "max_bad_lines"]:
    assert word in str(caught.value)
  found, tally = read(tmp_path, body, allowed=1)
  assert [review.review_id for review in found] == [1, 3]
  assert tally["dropped"] == {"bad line": 1}


@pytest.mark.parametrize(
  ("text", "sentences"),
  [
    ("", []),
    ("One sentence", ["One sentence"]),
    ("It works. it really does.", ["It works.", "it really does."]),
    ("Why?! Because.", ["Why?!", "Because."]),
    (
      "Mr. and Mrs. Smith met Dr. No. He was No. 1 etc. and so on.",
      ["Mr. and Mrs. Smith met Dr. No.", "He was No. 1 etc. and so on."],
    ),
    (
      "J. R. R. Tolkien wrote it. So did I. He won.",
      ["J. R. R. Tolkien wrote it.", "So did I.", "He won."],
    ),
    (
      "Slow... but good. Wait... What?",
      ["Slow... but good.", "Wait...", "What?"],
    ),
    (
      '"Run!" he said. (It was late.) They ran.',
      ['"Run!"', "he said.", "(It was late.)", "They ran."],
    ),
    (
      "It made 3.5 million. In 1999. Yes",
      ["It made 3.5 million.", "In 1999.", "Yes"],
    ),
    (
      "Films e.g. Heat are good etc. and so on.",
      ["Films e.g. Heat are good etc. and so on."],
    ),
    ("Look @ this!  me@home &amp; you.", ["Look at this!", "meahome & you."]),
    ("Great. !!! ... Fine.", ["Great. !!! ...", "Fine."]),
  ],
)
def test_split_sentences(text, sentences):
  assert reviews.split_sentences(text) == sentences
