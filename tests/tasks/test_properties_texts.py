"""Any text: titles, sentences, tasks, metrics and vocabulary take it all."""

import functools
import pathlib
import random
import re
import time
from collections.abc import Callable
from typing import Any

import fuzz_raw as fuzz
import hypothesis
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from t5cr_tasks import metrics, preprocessors, titles, vocabulary
from t5cr_tasks.raw import counts, files, movielens, redial, reviews

# What a file can hold: all but halves of surrogate pairs.
_CHARACTERS = st.characters(codec="utf-8")
PIECES = (
  [
    "@",
    " @ ",
    "＠",
    "&amp;",
    "&#64;",
    "&#8232;",
    "%25",
    "%40",
    "%C3%A9",
    ", The",
  ]
  + ["(1999)", " (a.k.a. Film, Le)", ", L'", ": ", "…", "!?", ". ", '"', "½"]
  + ["\u2028", "\x85", "\0", "\u0301", "İ", "ﬁ", "\u0958", "\U0001f600"]
)
TEXTS = st.lists(
  st.one_of(st.sampled_from(PIECES), st.text(_CHARACTERS, max_size=6))
).map("".join)


def run(check, examples: int, *, at_length: bool) -> None:
  @fuzz.settled(examples, at_length=at_length)
  @hypothesis.given(TEXTS, TEXTS)
  def one(text: str, other: str) -> None:
    check(text, other)

  one()


def check_title(text: str, other: str) -> None:
  title = titles.clean_title(text)
  assert titles.clean_title(title) == title
  assert titles.title_key(title) == titles.title_key(text)
  # Neither as it is nor as the vocabulary rewrites it is there a marker in it.
  assert not set(title) & set("@＠﹫")
  assert title == " ".join(title.split())
  title.encode()
  titles.is_blank(title)
  # It comes back out of running text, between other titles too.
  years = len(re.findall(r"\(\d{4}\)", title))
  if years == 1 and not titles.is_blank(title) and titles.has_year(title):
    said = f"{titles.mark_title(title)} or {titles.mark_title('Heat (1995)')}"
    assert titles.extract_titles(said) == [title, "Heat (1995)"]
    assert titles.replace_titles(said, "X") == "X or X"
  for found in titles.extract_titles(text + other):
    assert titles.clean_title(found) == found
  titles.replace_titles(text, "__unk__")


def check_sentences(text: str, other: str) -> None:
  del other
  sentences = reviews.split_sentences(text)
  plain = titles.plain_text(text)
  assert "@" not in "".join(sentences)
  if "@" not in plain:
    # Nothing that is a letter or a digit gets lost or moved.
    letters = [c for c in plain if c.isalnum()]
    assert [c for c in "".join(sentences) if c.isalnum()] == letters


TARGET = {"dialogue_id": "1", "turn": 1}


def check_metrics(text: str, other: str) -> None:
  targets = [
    {**TARGET, "text": text, "recommended": titles.extract_titles(text)}
  ]
  for statistic in metrics.DIALOGUE_STATISTICS.values():
    if statistic.name == "title_validity":
      continue
    for prediction in (other, text, ""):
      value = statistic.compute(targets, [prediction])[statistic.name]
      assert 0 <= value <= 100.0001


CHECKS = {
  "title": check_title,
  "sentences": check_sentences,
  "metrics": check_metrics,
}


@pytest.mark.parametrize("name", CHECKS)
def test_any_text(name):
  run(CHECKS[name], 150, at_length=False)


@pytest.mark.long
@pytest.mark.parametrize("name", CHECKS)
def test_any_text_at_length(name):
  run(CHECKS[name], 3_000, at_length=True)


def records(words: list[str]) -> dict[Callable[..., Any], dict[str, Any]]:
  """A record for each kind of task, made of these texts."""
  first, *rest = [*words, "Heat (1995)"]
  return {
    preprocessors.conversation: {
      "dialogue_id": first,
      "turn": 1,
      "roles": ["user"] * len(words),
      "turns": words,
      "response": first,
      "recommended": rest,
    },
    preprocessors.sequence: {"titles": [first, *rest]},
    preprocessors.tags: {"movie_id": 1, "title": first, "tags": [first, *rest]},
    preprocessors.review: {"title": first, "sentences": [first, *rest]},
    preprocessors.probe: {"inputs": first, "targets": rest[-1]},
  }


def _spec(value: Any) -> tf.TensorSpec:
  dtype = tf.int64 if isinstance(value, int) else tf.string
  return tf.TensorSpec([None] if isinstance(value, list) else [], dtype)


def check_tasks(
  drawn: list[list[str]], model: vocabulary.TaskVocabulary
) -> None:
  """Each task's text and tokens, of records that are made of these texts."""
  for make, record in records(["", ""]).items():
    dataset = tf.data.Dataset.from_generator(
      functools.partial(
        map, lambda words, make=make: records(words)[make], drawn
      ),
      output_signature={name: _spec(value) for name, value in record.items()},
    )
    for example in make(dataset):
      for name in ("inputs", "targets"):
        text = example[name].numpy().decode()
        ids = model.encode(text)
        assert all(0 <= number < model.vocab_size for number in ids)
        # What a model is asked for is what it is scored on.
        assert model.encode_tf(example[name]).numpy().tolist() == ids
        again = model.decode(ids)
        if model.unk_id not in ids:  # It is written with a sign of its own.
          assert model.decode(model.encode(again)) == again


def drawn_words(count: int) -> list[list[str]]:
  """Lists of texts, the same each time; hypothesis would draw far slower."""
  rng = random.Random(count)
  pieces = [*PIECES, *map(chr, range(32, 127))]

  def word() -> str:
    some = [rng.choice(pieces) for _ in range(rng.randrange(6))]
    others = [chr(rng.randrange(1, 0xD800)) for _ in range(rng.randrange(4))]
    return "".join(some + others)

  return [[word() for _ in range(rng.randint(1, 3))] for _ in range(count)]


def test_tasks_and_vocabulary_take_any_text(tiny_corpus):
  del tiny_corpus
  check_tasks(drawn_words(30), vocabulary.default_vocabulary())


@pytest.mark.long
def test_tasks_and_vocabulary_at_length(tiny_corpus):
  del tiny_corpus
  check_tasks(drawn_words(4_000), vocabulary.default_vocabulary())


_LONG = 300_000
LONG_TEXTS = {
  "dots": "." * _LONG + "a",
  "initials": "a. " * (_LONG // 3),
  "ellipses": "…" * _LONG + "a",
  "quotes": '."' * (_LONG // 2),
  "punctuation": "!" * _LONG + "a",
  "spaces": " " * _LONG + "a",
  "articles": "x, The" + ", The: a" * (_LONG // 8),
  "brackets": "(" * _LONG,
  "years": "(1999)" * (_LONG // 6),
  "entities": "&amp;" * (_LONG // 5),
  "nested entities": "&" + "amp;" * 2000,
  "a long number": "&#" + "9" * _LONG + ";",
  "percents": "%25" * (_LONG // 3),
  "markers": "@" * _LONG,
  "marked titles": "@ a (1999) b " * (_LONG // 12),
  "accents": "a" + "\u0301" * _LONG,
}


@pytest.mark.parametrize("name", LONG_TEXTS)
def test_a_huge_text_takes_no_longer_than_its_length(name):
  text = LONG_TEXTS[name]
  begun = time.process_time()
  title = titles.clean_title.__wrapped__(text)
  assert titles.clean_title.__wrapped__(title) == title
  titles.is_blank(title)
  titles.is_blank(text)
  titles.has_year(title)
  reviews.split_sentences(text)
  titles.extract_titles(text)
  # What took quadratic time took minutes.
  assert time.process_time() - begun < 10


FOREIGN = [
  (b"\x1f\x8b\x08\0", "gzip"),
  (b"PK\x03\x04", "zip"),
  ("movieId,title\n1,Heat\n".encode("utf-16"), "UTF-16"),
  ("movieId,title\n1,Heat\n".encode("utf-32"), "UTF-32"),
]


@pytest.mark.parametrize(("content", "words"), FOREIGN)
@pytest.mark.parametrize("allowed", [0, 1 << 30])
def test_another_kind_of_file_is_refused_as_a_whole(
  tmp_path, content, words, allowed
):
  path = tmp_path / "file"
  path.write_bytes(content)
  bad_lines = files.BadLines(allowed)
  for read in (
    lambda: list(redial.read_dialogues(path, bad_lines)),
    lambda: movielens.read_movies(path, bad_lines, counts.Tally()),
    lambda: movielens.read_ratings(path, bad_lines),
    lambda: list(reviews.read_reviews(path, bad_lines, counts.Tally())),
  ):
    assert words in str(fuzz.outcome(read, path))


def test_a_quote_that_is_not_closed_swallows_one_line(tmp_path):
  path = tmp_path / "movies.csv"
  lines = ["movieId,title,genres", '1,"Alien (1979),x', '2,"Heat (1995)",x']
  path.write_text("\n".join([*lines, "3,Jaws (1975),x"]))
  tally, bad_lines = counts.Tally(), files.BadLines(1)
  kept = movielens.read_movies(path, bad_lines, tally)
  assert kept == {2: "Heat (1995)", 3: "Jaws (1975)"}
  assert bad_lines.messages[0].startswith(f"{path}:2: ")
  assert tally.to_dict()["read"] == 3


def test_a_line_that_never_ends_is_one_bad_line(tmp_path, monkeypatch):
  monkeypatch.setattr(files, "MAX_LINE_BYTES", 100)
  path = tmp_path / "reviews.csv"
  path.write_bytes(b"Heat\tGood.\n" + b"x" * 1000 + b"\nJaws\tBad.")
  bad_lines = files.BadLines(1)
  found = list(reviews.read_reviews(path, bad_lines, counts.Tally()))
  assert [review.review_id for review in found] == [1, 3]
  assert "longer than 100 bytes" in bad_lines.messages[0]


def test_halves_of_surrogate_pairs_and_deep_json_are_bad_lines(
  tmp_path: pathlib.Path,
):
  path = tmp_path / "train_data.jsonl"
  record = (
    '{"conversationId": "%s", "initiatorWorkerId": 1, "respondentWorkerId": 2,'
    ' "messages": [{"senderWorkerId": 1, "text": "Hi"}], "movieMentions": %s,'
    ' "initiatorQuestions": %s, "respondentQuestions": []}'
  )
  cases = {
    record % (r"\ud800", "[]", "[]"): "conversationId: half of a surrogate",
    record % ("1", r'{"1": "\udfff"}', "[]"): "movieMentions.1: half of",
    record % ("1", "[]", "[" * 5000 + "]" * 5000): "nested too deeply",
    record % ("1", "[]", "1" * 5000): "not usable JSON",
    record % ("1", '{"1": "a", "1": "b"}', "[]"): "1: stands twice",
  }
  path.write_text("\n".join(cases))
  bad_lines = files.BadLines(len(cases))
  assert not list(redial.read_dialogues(path, bad_lines))
  for message, words in zip(bad_lines.messages, cases.values(), strict=True):
    assert words in message and message.isprintable() and len(message) < 400
