"""ReDial's raw files: one dialogue a line, and the list of movies.

Source: Li et al. 2018, https://redialdata.github.io/website/
"""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from t5cr_tasks import errors
from t5cr_tasks.raw import counts, files, tables

SPLIT_FILES = {"train": "train_data.jsonl", "validation": "test_data.jsonl"}
MOVIE_LIST = "movies_with_mentions.csv"


@dataclasses.dataclass(frozen=True)
class Message:
  """One message as it was typed, movies standing as `@123`."""

  by_recommender: bool
  text: str


@dataclasses.dataclass(frozen=True)
class Dialogue:
  """One line of a dialogue file.

  Attributes:
    dialogue_id: ReDial's conversationId.
    messages: in order.
    movie_mentions: raw title by movie id; some titles are null.
    suggested: ids that the seeker said were suggested, None when the seeker
      answered no questions (`[]` in the file).
    has_recommender_answers: whether the recommender answered the questions.
  """

  dialogue_id: str
  messages: tuple[Message, ...]
  movie_mentions: dict[str, str | None]
  suggested: tuple[str, ...] | None
  has_recommender_answers: bool


class _FieldError(Exception):
  """A field that does not hold what it should."""

  def __init__(self, field: str, problem: str):
    super().__init__(f"{field}: {problem}")
    self.field = field
    self.problem = problem


def read_dialogues(
  path: pathlib.Path, bad_lines: files.BadLines
) -> Iterator[Dialogue]:
  """Reads and validates a dialogue file.

  Args:
    path: `train_data.jsonl` or `test_data.jsonl`.
    bad_lines: takes the lines that are no valid dialogue, or whose
      conversationId an earlier dialogue has.

  Yields:
    The dialogues in file order.

  Raises:
    DataError: there are more bad lines than allowed.
  """
  seen: set[str] = set()
  for number, line in files.read_lines(path, bad_lines):
    try:
      dialogue = _dialogue(json.loads(line, object_pairs_hook=_object))
      if dialogue.dialogue_id in seen:
        raise _FieldError(
          "conversationId", f"{dialogue.dialogue_id} stands twice"
        )
    except json.JSONDecodeError as error:
      bad_lines.add(
        errors.located(
          path,
          f"not valid JSON ({error.msg} at character {error.pos + 1})",
          line=number,
        )
      )
      continue
    except (RecursionError, ValueError) as error:
      deep = isinstance(error, RecursionError)
      problem = "lists or objects nested too deeply" if deep else str(error)
      bad_lines.add(
        errors.located(path, f"not usable JSON ({problem})", line=number)
      )
      continue
    except _FieldError as error:
      bad_lines.add(
        errors.located(path, error.problem, line=number, field=error.field)
      )
      continue
    seen.add(dialogue.dialogue_id)
    yield dialogue


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object; one of two values of a name would silently get lost."""
  record = dict(pairs)
  if len(record) < len(pairs):
    counted = collections.Counter(name for name, _ in pairs)
    raise _FieldError(counted.most_common(1)[0][0], "stands twice")
  return record


def _typed(
  record: dict[str, Any], name: str, types: tuple[type, ...], where: str = ""
) -> Any:
  """The value of a field that must be there and of one of these types."""
  if name not in record:
    raise _FieldError(where + name, "missing")
  value = record[name]
  if not isinstance(value, types) or isinstance(value, bool):
    expected = " or ".join(_JSON_NAMES[kind] for kind in types)
    shown = json.dumps(value, ensure_ascii=False)[:60]
    raise _FieldError(where + name, f"{shown} is not {expected}")
  if isinstance(value, str):
    _check_text(value, where + name)
  return value


def _check_text(text: str, field: str) -> None:
  """Raises _FieldError for a text that no file can hold."""
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise _FieldError(
      field, f"half of a surrogate pair (character {error.start + 1})"
    ) from error


_JSON_NAMES = {
  str: "a string",
  int: "a whole number",
  list: "a list",
  dict: "an object",
}


def _dialogue(record: Any) -> Dialogue:
  if not isinstance(record, dict):
    raise _FieldError("line", "not a JSON object")
  seeker = _typed(record, "initiatorWorkerId", (int,))
  recommender = _typed(record, "respondentWorkerId", (int,))
  if seeker == recommender:
    raise _FieldError(
      "respondentWorkerId",
      f"{recommender} is the initiatorWorkerId too, so that the messages "
      "cannot be told apart",
    )
  messages = _typed(record, "messages", (list,))
  answers = _typed(record, "initiatorQuestions", (dict, list))
  return Dialogue(
    dialogue_id=str(_typed(record, "conversationId", (str, int))),
    messages=tuple(
      _message(message, f"messages[{index}]", seeker, recommender)
      for index, message in enumerate(messages)
    ),
    movie_mentions=_movie_mentions(record),
    suggested=_suggested(answers),
    has_recommender_answers=bool(
      _typed(record, "respondentQuestions", (dict, list))
    ),
  )


def _message(
  message: Any, where: str, seeker: int, recommender: int
) -> Message:
  if not isinstance(message, dict):
    raise _FieldError(where, "not a JSON object")
  sender = _typed(message, "senderWorkerId", (int,), f"{where}.")
  if sender not in (seeker, recommender):
    raise _FieldError(
      f"{where}.senderWorkerId",
      f"{sender} is neither the initiatorWorkerId {seeker} nor the "
      f"respondentWorkerId {recommender}",
    )
  return Message(
    by_recommender=sender == recommender,
    text=_typed(message, "text", (str,), f"{where}."),
  )


def _movie_mentions(record: dict[str, Any]) -> dict[str, str | None]:
  mentions = _typed(record, "movieMentions", (dict, list))
  if isinstance(mentions, list):
    # PHP writes an empty mapping as a list.
    if mentions:
      raise _FieldError("movieMentions", "a list that is not empty")
    return {}
  for movie_id, title in mentions.items():
    if title is not None and not isinstance(title, str):
      raise _FieldError(
        f"movieMentions.{movie_id}",
        f"{json.dumps(title)[:60]} is neither a string nor null",
      )
    _check_text(title or "", f"movieMentions.{movie_id}")
  return mentions


def _suggested(answers: dict[str, Any] | list[Any]) -> tuple[str, ...] | None:
  if not answers:
    return None
  if isinstance(answers, list):
    raise _FieldError("initiatorQuestions", "a list that is not empty")
  suggested = []
  for movie_id, answer in answers.items():
    where = f"initiatorQuestions.{movie_id}"
    if not isinstance(answer, dict):
      raise _FieldError(where, "not a JSON object")
    if _typed(answer, "suggested", (int,), f"{where}.") == 1:
      suggested.append(movie_id)
  return tuple(suggested)


def read_movie_list(
  path: pathlib.Path,
  bad_lines: files.BadLines,
  tally: counts.Tally | None = None,
) -> dict[str, str]:
  """Reads `movies_with_mentions.csv`.

  Args:
    path: the file.
    bad_lines: takes lines with an id that is no number or that stands twice.
    tally: counts the movies.

  Returns:
    Raw title by movie id, in file order.

  Raises:
    DataError: a column is missing, or there are too many bad lines.
  """
  tally = counts.Tally() if tally is None else tally
  bad_before = bad_lines.count
  movies: dict[str, str] = {}
  for line, row in tables.read_rows(path, ("movieId", "movieName"), bad_lines):
    movie_id = tables.parse_id(path, line, "movieId", row["movieId"])
    if isinstance(movie_id, errors.DataError):
      bad_lines.add(movie_id)
    elif str(movie_id) in movies:
      bad_lines.add(
        errors.located(
          path, f"{movie_id} stands twice", line=line, field="movieId"
        )
      )
    else:
      movies[str(movie_id)] = row["movieName"]
      tally.keep()
  tally.drop("bad line", bad_lines.count - bad_before)
  return movies
