"""ReDial's files, with a hand-written row for each oddity of the real ones."""

import copy
import json
import pathlib

import pytest

from t5cr_tasks.datasets import redial as examples
from t5cr_tasks.errors import DataError
from t5cr_tasks.raw import counts, files, redial

SEEKER, RECOMMENDER = 7, 6
ROW = {
  "movieMentions": {"84001": "Donnie Darko (2001)", "91332": "Saw  (2004)"},
  "respondentQuestions": {
    "84001": {"suggested": 0, "seen": 1, "liked": 1},
    "91332": {"suggested": 1, "seen": 1, "liked": 1},
  },
  "messages": [
    {"timeOffset": 0, "text": "Hi", "senderWorkerId": 6, "messageId": 1},
    {
      "timeOffset": 1,
      "text": "I like @84001",
      "senderWorkerId": 7,
      "messageId": 2,
    },
    {"timeOffset": 2, "text": "@91332", "senderWorkerId": 6, "messageId": 3},
    {"timeOffset": 3, "text": "seen it?", "senderWorkerId": 6, "messageId": 4},
  ],
  "conversationId": "391",
  "respondentWorkerId": RECOMMENDER,
  "initiatorWorkerId": SEEKER,
  "initiatorQuestions": {
    "84001": {"suggested": 0, "seen": 1, "liked": 1},
    "91332": {"suggested": 1, "seen": 2, "liked": 2},
  },
}


def row(**changes) -> dict:
  return copy.deepcopy(ROW) | changes


def messages(*said: tuple[int, str]) -> list[dict]:
  return [
    {"timeOffset": 0, "text": text, "senderWorkerId": sender, "messageId": 0}
    for sender, text in said
  ]


def read(tmp_path: pathlib.Path, *lines, allowed: int = 0):
  path = tmp_path / "train_data.jsonl"
  path.write_text(
    "".join(
      (line if isinstance(line, str) else json.dumps(line)) + "\n"
      for line in lines
    ),
    encoding="utf-8",
  )
  bad_lines = files.BadLines(allowed)
  return list(redial.read_dialogues(path, bad_lines)), bad_lines


def render(text: str, mentions=None, movie_list=None):
  tally = counts.Tally()
  rendered, found = examples.render_message(
    text,
    ROW["movieMentions"] if mentions is None else mentions,
    examples.TitleTable(movie_list or {}),
    tally,
  )
  return rendered, list(found), tally.to_dict()


def turns(dialogue: redial.Dialogue, merge: bool = True):
  tally = counts.Tally()
  table = examples.TitleTable({})
  made = examples.dialogue_turns(
    dialogue, table, merge=merge, messages=tally, mentions=counts.Tally()
  )
  return made, tally.to_dict()


def test_reads_a_dialogue(tmp_path):
  (dialogue,), _ = read(tmp_path, row())
  assert dialogue.dialogue_id == "391"
  assert [m.by_recommender for m in dialogue.messages] == [
    True,
    False,
    True,
    True,
  ]
  assert dialogue.messages[1].text == "I like @84001"
  assert dialogue.suggested == ("91332",)
  assert dialogue.has_recommender_answers


def test_unanswered_questions_and_no_mentions_are_lists(tmp_path):
  (dialogue,), _ = read(
    tmp_path,
    row(initiatorQuestions=[], respondentQuestions=[], movieMentions=[]),
  )
  assert dialogue.suggested is None
  assert not dialogue.has_recommender_answers
  assert dialogue.movie_mentions == {}


def test_conversation_id_may_be_a_number_and_titles_null(tmp_path):
  (dialogue,), _ = read(
    tmp_path, row(conversationId=1382, movieMentions={"50": None})
  )
  assert dialogue.dialogue_id == "1382"
  assert dialogue.movie_mentions == {"50": None}


@pytest.mark.parametrize(
  ("line", "words"),
  [
    ('{"messages": [', ["not valid JSON"]),
    ("[]", ["line: not a JSON object"]),
    (row(messages="x"), ["messages", "is not a list"]),
    (row(movieMentions={"1": 2}), ["movieMentions.1"]),
    (row(initiatorWorkerId="7"), ["initiatorWorkerId", "not a whole number"]),
    (row(initiatorWorkerId=6), ["respondentWorkerId", "told apart"]),
    (row(messages=messages((8, "Hi"))), ["messages[0].senderWorkerId"]),
    (row(messages=messages((6, "a"), (7, None))), ["messages[1].text"]),
    (
      row(initiatorQuestions={"1": {"seen": 1}}),
      ["initiatorQuestions.1.suggested", "missing"],
    ),
    (
      {key: value for key, value in ROW.items() if key != "messages"},
      ["messages: missing"],
    ),
  ],
)
def test_bad_line_names_file_line_field_and_remedy(tmp_path, line, words):
  with pytest.raises(DataError) as caught:
    read(tmp_path, row(), line)
  message = str(caught.value)
  for word in ["train_data.jsonl:2: ", "max_bad_lines", *words]:
    assert word in message


def test_bad_lines_are_counted_and_listed_when_allowed(tmp_path):
  dialogues, bad_lines = read(tmp_path, "{", row(), "[]", allowed=2)
  assert len(dialogues) == 1
  assert bad_lines.count == 2
  assert ":1: " in bad_lines.messages[0] and ":3: " in bad_lines.messages[1]
  with pytest.raises(DataError, match="2 bad lines are allowed"):
    read(tmp_path, "{", "{", "{", allowed=2)


def test_a_dialogue_that_stands_twice_is_a_bad_line(tmp_path):
  with pytest.raises(DataError, match="2: conversationId: 391 stands twice"):
    read(tmp_path, row(), row())
  dialogues, bad_lines = read(tmp_path, row(), row(), allowed=1)
  assert (len(dialogues), bad_lines.count) == (1, 1)


def test_a_line_that_is_not_utf8_is_a_bad_line(tmp_path):
  path = tmp_path / "test_data.jsonl"
  path.write_bytes(json.dumps(row()).encode() + b'\n{"text": "\xff"}\n')
  with pytest.raises(DataError, match=r"test_data.jsonl:2: not UTF-8"):
    list(redial.read_dialogues(path, files.BadLines()))


def test_byte_order_mark_windows_line_ends_and_blank_lines(tmp_path):
  path = tmp_path / "test_data.jsonl"
  first = json.dumps(row()).encode()
  second = json.dumps(row(conversationId="392")).encode()
  path.write_bytes(b"\xef\xbb\xbf" + first + b"\r\n\r\n" + second + b"\r\n")
  assert len(list(redial.read_dialogues(path, files.BadLines()))) == 2


@pytest.mark.parametrize(
  ("text", "rendered", "found"),
  [
    (
      "I like @84001",
      "I like @ Donnie Darko (2001) @",
      ["Donnie Darko (2001)"],
    ),
    ("Seen @91332?", "Seen @ Saw (2004) @?", ["Saw (2004)"]),
    ("@91332. Yes", "@ Saw (2004) @. Yes", ["Saw (2004)"]),
    # Glued to a comma, a star or a word.
    (
      "@84001 ,@91332",
      "@ Donnie Darko (2001) @ , @ Saw (2004) @",
      ["Donnie Darko (2001)", "Saw (2004)"],
    ),
    ("*@91332", "* @ Saw (2004) @", ["Saw (2004)"]),
    ("@91332and", "@ Saw (2004) @ and", ["Saw (2004)"]),
    # An @ that tags no movie is no marker; its word stays.
    ("@jigsaw  lol", "jigsaw lol", []),
    ("Hi@ What now", "Hi What now", []),
    ("the correct @ symbol", "the correct symbol", []),
    ("me@home", "me home", []),
    ("@50 first dates", "50 first dates", []),
    # Entities and line ends.
    ("it is &quot;Lit&quot; &amp; fun&gt;", 'it is "Lit" & fun>', []),
    ("What would \r\n\r\nyou suggest?", "What would you suggest?", []),
    ("  ", "", []),
  ],
)
def test_render_message(text, rendered, found):
  assert render(text)[:2] == (rendered, found)


def test_mentions_without_a_title_are_counted():
  rendered, found, tally = render(
    "@115908, @70000, @182022 and @jaws, *@84001",
    mentions={"182022": " (2007)", "84001": "Kill Bill", "115908": None},
    movie_list={"115908": "50 First Dates  (2004)", "182022": "-2007"},
  )
  assert found == ["50 First Dates (2004)", "Kill Bill"]
  assert rendered == ("@ 50 First Dates (2004) @, , and jaws, * @ Kill Bill @")
  assert tally == {
    "read": 5,
    "kept": 2,
    "dropped": {
      "an @ without an id": 1,
      "title null or blank": 1,
      "unknown id": 1,
    },
    "noted": {
      "glued to the text before it": 1,
      "title taken from the movie list": 1,
      "title without a year": 1,
    },
  }


def test_null_title_of_a_typed_number_leaves_the_number():
  rendered, found, tally = render("@50 first dates", mentions={"50": None})
  assert (rendered, found) == ("50 first dates", [])
  assert tally["dropped"] == {"an @ without an id": 1}


def test_short_ids_of_other_corpora_are_ids():
  assert render("@3", {"3": "Heat (1995)"})[1] == ["Heat (1995)"]
  assert render("@3", {}, {"3": "Heat (1995)"})[1] == ["Heat (1995)"]


def test_consecutive_messages_of_one_speaker_are_one_turn(tmp_path):
  (dialogue,), _ = read(tmp_path, row())
  made, tally = turns(dialogue)
  assert [(turn.role, turn.text) for turn in made] == [
    ("assistant", "Hi"),
    ("user", "I like @ Donnie Darko (2001) @"),
    ("assistant", "@ Saw (2004) @ seen it?"),
  ]
  assert made[2].titles == ("Saw (2004)",)
  assert tally["noted"] == {
    "by the recommender": 3,
    "joined to the message before": 1,
  }
  apart, _ = turns(dialogue, merge=False)
  assert [turn.text for turn in apart][2:] == ["@ Saw (2004) @", "seen it?"]


def test_empty_messages_are_dropped_and_do_not_part_turns(tmp_path):
  (dialogue,), _ = read(
    tmp_path, row(messages=messages((7, "a"), (6, ""), (7, "b"), (6, "\r\n")))
  )
  made, tally = turns(dialogue)
  assert [turn.text for turn in made] == ["a b"]
  assert tally["dropped"] == {"empty text": 2}


def test_recommended_titles(tmp_path):
  said = messages(
    (6, "@91332"), (7, "@84001"), (6, "@91332 or @84001"), (6, "@91332")
  )
  (dialogue,), _ = read(tmp_path, row(messages=said))
  made, _ = turns(dialogue)
  table = examples.TitleTable({})

  def recommended(source: str) -> list[str]:
    return examples.recommended_titles(dialogue, made, table, source)

  assert recommended("messages") == ["Saw (2004)", "Donnie Darko (2001)"]
  assert recommended("questions") == ["Saw (2004)"]


def test_recommended_by_questions_is_empty_without_answers(tmp_path):
  (dialogue,), _ = read(tmp_path, row(initiatorQuestions=[]))
  made, _ = turns(dialogue)
  table = examples.TitleTable({})
  assert examples.recommended_titles(dialogue, made, table, "questions") == []


def write_list(tmp_path: pathlib.Path, text: str) -> pathlib.Path:
  path = tmp_path / "movies_with_mentions.csv"
  path.write_text(text, encoding="utf-8")
  return path


def test_movie_list(tmp_path):
  path = write_list(
    tmp_path,
    "movieId,movieName,nbMentions\n75796,Headhunter  (2009),1\n"
    '75797,"Crazy, Stupid, Love (2011)",3\n103034,-2015,3\n',
  )
  assert redial.read_movie_list(path, files.BadLines()) == {
    "75796": "Headhunter  (2009)",
    "75797": "Crazy, Stupid, Love (2011)",
    "103034": "-2015",
  }


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("movieId,name\n1,a\n", [":1: movieName: no such column", "movieId"]),
    ("", [":1: movieId: no such column"]),
    ("movieId,movieName\nx,a\n", [':2: movieId: "x" is no whole number']),
    ("movieId,movieName\n1,a, b\n", [":2: 3 fields", "quotes"]),
  ],
)
def test_bad_movie_list(tmp_path, text, words):
  path = write_list(tmp_path, text)
  with pytest.raises(DataError) as caught:
    redial.read_movie_list(path, files.BadLines())
  for word in words:
    assert word in str(caught.value)


def test_real_files(shared_dir):
  folder = shared_dir / "data" / "redial"
  for name, expected in (
    ("train_data.jsonl", (1550, 22746, 1, 17, 16)),
    ("test_data.jsonl", (671, 11837, 0, 7, 8)),
  ):
    bad_lines = files.BadLines()
    dialogues = list(redial.read_dialogues(folder / name, bad_lines))
    texts = [m.text for dialogue in dialogues for m in dialogue.messages]
    assert (
      len(dialogues),
      len(texts),
      sum(not text.strip() for text in texts),
      sum(dialogue.suggested is None for dialogue in dialogues),
      sum(not dialogue.has_recommender_answers for dialogue in dialogues),
    ) == expected
  movies = redial.read_movie_list(
    folder / "movies_with_mentions.csv", files.BadLines()
  )
  assert len(movies) == 6924
