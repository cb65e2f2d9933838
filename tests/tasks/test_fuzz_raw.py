"""Every raw reader on hostile files: examples or a clear error, none lost."""

import json
import pathlib
import tempfile
import time

import fuzz_raw as fuzz
import hypothesis
import pytest
from hypothesis import strategies as st

from t5cr_tasks import titles
from t5cr_tasks.errors import DataError
from t5cr_tasks.raw import counts, crawl, files, movielens, redial, reviews

ALL = 1 << 30


def read(reader, path, *, allowed):
  """(what a reader gives or its error, the bad lines)."""
  bad_lines = files.BadLines(allowed)
  return fuzz.outcome(lambda: reader(path, bad_lines), path), bad_lines


def check(reader, path: pathlib.Path, content: bytes):
  """Reads with no bad line allowed, with one and with all.

  Returns:
    What is read with all allowed, None where the file as a whole is refused.
  """
  path.write_bytes(content)
  result, noted = read(reader, path, allowed=ALL)
  if isinstance(result, DataError):
    for allowed in (0, 1):
      again, _ = read(reader, path, allowed=allowed)
      assert isinstance(again, DataError)
    return None
  for allowed in (0, 1):
    again, bad_lines = read(reader, path, allowed=allowed)
    # The error names the line; which one, the full reading noted too.
    assert isinstance(again, DataError) == (noted.count > allowed)
    if isinstance(again, DataError):
      assert str(again).startswith(noted.messages[allowed])
      assert "max_bad_lines" in str(again)
    else:
      assert bad_lines.messages == noted.messages
  return result, noted


def check_dialogues(folder: pathlib.Path, content: bytes) -> None:
  checked = check(
    lambda path, bad: list(redial.read_dialogues(path, bad)),
    folder / "train_data.jsonl",
    content,
  )
  if checked is None:
    return
  dialogues, noted = checked
  lines = fuzz.text_lines(content)
  assert len(dialogues) + noted.count == len(lines)
  ids = [dialogue.dialogue_id for dialogue in dialogues]
  assert len(set(ids)) == len(ids)
  # What was kept stands in the file, in this order, and can be written.
  records = iter(
    [json.loads(line) for _, line, ok in lines if ok and _is(line)]
  )
  for dialogue in dialogues:
    texts = [message.text for message in dialogue.messages]
    assert any(
      str(record.get("conversationId")) == dialogue.dialogue_id
      and [m.get("text") for m in record["messages"]] == texts
      for record in records
    )
    [
      text.encode()
      for text in [*texts, *filter(None, dialogue.movie_mentions.values())]
    ]


def _is(line: bytes) -> bool:
  try:
    record = json.loads(line)
    return all(isinstance(m, dict) for m in record["messages"])
  except (ValueError, RecursionError, KeyError, TypeError):
    return False


def _rows(reader, path, content, columns):
  """Checks a reader of a table of text; (what it gives, the plain rows)."""
  checked = check(reader, path, content)
  if checked is None:
    return None
  rows, bad = fuzz.plain_rows(content)
  assert all(set(columns) <= set(row) for row in rows)
  return checked[0], rows, bad, checked[1].count


def check_movie_list(folder: pathlib.Path, content: bytes) -> None:
  found = _rows(
    redial.read_movie_list,
    folder / redial.MOVIE_LIST,
    content,
    ("movieId", "movieName"),
  )
  if found:
    kept, rows, bad, noted = found
    expected: dict[str, str] = {}
    for row in rows:
      movie_id = row["movieId"].strip()
      good = movie_id.isascii() and movie_id.isdecimal()
      good = good and len(movie_id) < 100 and int(movie_id) < 1 << 63
      if good and str(int(movie_id)) not in expected:
        expected[str(int(movie_id))] = row["movieName"]
      else:
        bad += 1
    assert kept == expected
    assert noted == bad


def check_movies(folder: pathlib.Path, content: bytes) -> None:
  tally = counts.Tally()

  def reader(path, bad):
    nonlocal tally
    tally = counts.Tally()
    return movielens.read_movies(path, bad, tally), tally.to_dict()

  found = _rows(
    reader, folder / movielens.MOVIES, content, ("movieId", "title")
  )
  if found:
    (kept, told), rows, bad, noted = found
    assert told["kept"] == len(kept)
    assert told["read"] == len(rows) + bad
    assert told["dropped"].get("bad line", 0) == noted
    given = {titles.clean_title(row["title"]) for row in rows}
    assert set(kept.values()) <= given


def check_tags(folder: pathlib.Path, content: bytes) -> None:
  def reader(path, bad):
    tally = counts.Tally()
    return movielens.read_tags(path, bad, tally), tally.to_dict()

  found = _rows(
    reader, folder / movielens.GENOME_TAGS, content, ("tagId", "tag")
  )
  if found:
    (kept, told), rows, bad, noted = found
    assert told["kept"] == len(kept)
    assert told["read"] == len(rows) + bad
    assert told["dropped"].get("bad line", 0) == noted


def check_numbers(columns, limits, reader, name):
  def check_table(folder: pathlib.Path, content: bytes) -> None:
    checked = check(reader, folder / name, content)
    if checked is None:
      return
    table, noted = checked
    rows, bad = fuzz.plain_numbers(content, columns, limits)
    assert table.rows() == rows
    assert noted.count == len(bad)
    for number, message in zip(bad, noted.messages, strict=False):
      assert message.startswith(f"{folder / name}:{number}: ")

  return check_table


def check_reviews(folder: pathlib.Path, content: bytes) -> None:
  def reader(path, bad):
    tally = counts.Tally()
    return list(reviews.read_reviews(path, bad, tally)), tally.to_dict()

  checked = check(reader, folder / reviews.REVIEWS, content)
  if checked is None:
    return
  (kept, told), noted = checked
  lines = fuzz.text_lines(content)
  assert told["read"] == len(lines)
  assert told["kept"] == len(kept)
  assert told["dropped"].get("bad line", 0) == noted.count
  by_number = {number: line.decode() for number, line, ok in lines if ok}
  for review in kept:
    assert titles.clean_title(
      by_number[review.review_id].partition("\t")[0]
    ) == (review.title)
    assert review.sentences and not titles.is_blank(review.title)
    # No letter of a review gets lost (HTML entities aside).
    body = by_number[review.review_id].partition("\t")[2]
    if "&" not in body and body.isascii():
      letters = [c for c in body.replace("@", "a") if c.isalnum()]
      said = [c for c in "".join(review.sentences) if c.isalnum()]
      assert "@" in body or letters == said


def check_crawl(folder: pathlib.Path, content: bytes) -> None:
  path = folder / "crawl.csv"
  path.write_bytes(content)
  with tempfile.TemporaryDirectory(dir=folder) as raw:
    result = fuzz.outcome(lambda: crawl.convert(path, raw), path)
    made = pathlib.Path(raw) / "reviews" / reviews.REVIEWS
    if isinstance(result, DataError):
      assert not made.exists()
      return
    told = result.to_dict()
    tally = counts.Tally()
    # All that was kept is read without a bad line.
    kept = list(reviews.read_reviews(made, files.BadLines(), tally))
    assert told["kept"] == len(kept) + tally.dropped.total()
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert told["read"] == sum(
      bool(line.decode("utf-8", "replace").strip()) for line in lines
    )


def _dialogue(**changes) -> st.SearchStrategy[bytes]:
  record = {
    "conversationId": "1",
    "initiatorWorkerId": 1,
    "respondentWorkerId": 2,
    "messages": [
      {"senderWorkerId": 1, "text": "Hi @11111"},
      {"senderWorkerId": 2, "text": "See @22222"},
    ],
    "movieMentions": {"11111": "Alien (1979)", "22222": None},
    "initiatorQuestions": {"11111": {"suggested": 1, "seen": 0, "liked": 1}},
    "respondentQuestions": [],
  }
  value = st.recursive(
    st.one_of(
      st.none(),
      st.booleans(),
      st.integers(-3, 10**20),
      st.floats(),
      st.text(max_size=8),
      st.sampled_from(["\ud800", "a\0b", "\x1b[2J", "x" * 10_000]),
    ),
    lambda inner: st.one_of(
      st.lists(inner, max_size=3),
      st.dictionaries(st.text(max_size=6), inner, max_size=3),
    ),
    max_leaves=6,
  )

  @st.composite
  def lines(draw) -> bytes:
    mine = json.loads(json.dumps(record))
    mine["conversationId"] = draw(
      st.one_of(st.integers(0, 40), st.text(max_size=4))
    )
    what = draw(st.integers(0, 7))
    if what == 0:
      name = draw(st.sampled_from(sorted(mine)))
      mine[name] = draw(value)
    elif what == 1:
      mine.pop(draw(st.sampled_from(sorted(mine))))
    elif what == 2:
      mine["messages"][0][draw(st.sampled_from(["text", "senderWorkerId"]))] = (
        draw(value)
      )
    elif what == 3:
      mine["messages"][0]["text"] = draw(st.text())
    text = json.dumps(mine, ensure_ascii=draw(st.booleans()))
    if what == 4:
      # The same name twice: one of the values would get lost.
      text = text[:-1] + ', "messages": []}'
    if what == 5:
      text = text.replace("Alien", draw(st.sampled_from([r"\ud800", "9" * 9])))
    if what == 6:
      text = text.replace(
        '"senderWorkerId": 1', f'"senderWorkerId": 1{"0" * 4400}'
      )
    return text.encode("utf-8", "surrogatepass")

  return st.one_of(lines(), lines(), lines(), fuzz.FIELDS)


_TEXT_ROW = st.tuples(
  st.integers(0, 40).map(lambda number: b"%d" % number),
  st.text(max_size=10).map(
    lambda text: (
      b'"' + text.encode("utf-8", "replace").replace(b'"', b'""') + b' (1999)"'
    )
  ),
  st.just(b"x"),
).map(list)
_RATING = st.tuples(
  *[st.integers(0, 9).map(lambda number: b"%d" % number)] * 2,
  st.sampled_from([b"0.5", b"4", b"5.0", b"4.5"]),
  st.integers(0, 10**9).map(lambda number: b"%d" % number),
).map(list)
_SCORE = st.tuples(
  *[st.integers(0, 9).map(lambda number: b"%d" % number)] * 2,
  st.floats(0, 1).map(lambda number: b"%r" % number),
).map(list)
_REVIEW = st.tuples(
  st.sampled_from([b"Alien (1979)", b"Heat, The (1995)", b"(1999)", b""]),
  st.sampled_from([b"\t", b"\t", b"\t", b",", b""]),
  st.one_of(fuzz.FIELDS, st.just(b"Good. Very good! See it.")),
).map(b"".join)

READERS = {
  "dialogues": (check_dialogues, fuzz.files(b"", _dialogue())),
  "movie_list": (
    check_movie_list,
    fuzz.table([b"movieId", b"movieName", b"nbMentions"], _TEXT_ROW),
  ),
  "movies": (
    check_movies,
    fuzz.table([b"movieId", b"title", b"genres"], _TEXT_ROW),
  ),
  "tags": (check_tags, fuzz.table([b"tagId", b"tag", b"x"], _TEXT_ROW)),
  "ratings": (
    check_numbers(
      movielens.RATING_COLUMNS,
      {"rating": (0, 5)},
      movielens.read_ratings,
      movielens.RATINGS,
    ),
    fuzz.table([b"userId", b"movieId", b"rating", b"timestamp"], _RATING),
  ),
  "scores": (
    check_numbers(
      movielens.SCORE_COLUMNS,
      {"relevance": (0, 1)},
      movielens.read_scores,
      movielens.GENOME_SCORES,
    ),
    fuzz.table([b"movieId", b"tagId", b"relevance"], _SCORE),
  ),
  "reviews": (check_reviews, fuzz.files(b"", _REVIEW)),
  "crawl": (check_crawl, fuzz.files(b"", _REVIEW)),
}


def run(name: str, folder: pathlib.Path, examples: int, *, at_length: bool):
  check_file, contents = READERS[name]

  @fuzz.settled(examples, at_length=at_length)
  @hypothesis.given(contents)
  def one(content: bytes) -> None:
    files._read_through.cache_clear()  # Files of one name in one tick.
    begun = time.process_time()
    check_file(folder, content)
    assert time.process_time() - begun < 20

  one()


@pytest.mark.parametrize("name", READERS)
def test_hostile_files_give_examples_or_a_clear_error(name, tmp_path):
  run(name, tmp_path, 60, at_length=False)


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_hostile_files_at_length(name, tmp_path):
  run(name, tmp_path, 5_000, at_length=True)
