"""TFDS data set `t5cr_redial`: one record for each recommender turn."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow_datasets as tfds

from t5cr_tasks import titles as titles_lib
from t5cr_tasks.datasets import base
from t5cr_tasks.raw import counts, files
from t5cr_tasks.raw import redial as raw

_MENTION = re.compile(r"@([0-9]*)")
# ReDial's ids have five digits or more; "@50 first dates" is a typed number.
_ID_DIGITS = 5


@dataclasses.dataclass(frozen=True)
class RedialOptions(base.Options):
  """How dialogues become examples.

  Attributes:
    merge_turns: whether consecutive messages of one speaker are one turn.
    recommended_from: what a dialogue's recommended titles are: those in the
      recommender's `messages`, or those that the seeker called suggested in
      the `questions` after the dialogue.
  """

  merge_turns: bool = True
  recommended_from: Literal["messages", "questions"] = "messages"


@dataclasses.dataclass(frozen=True)
class Turn:
  """What one speaker said in one go.

  Attributes:
    role: 'user' (the seeker) or 'assistant' (the recommender).
    text: titles stand as `@ Title (Year) @`.
    titles: the titles in it, in order, clean.
  """

  role: str
  text: str
  titles: tuple[str, ...]


class TitleTable:
  """Resolves movie ids to clean titles, and counts what it resolves."""

  def __init__(self, movie_list: Mapping[str, str]):
    """Takes ReDial's movie list: raw title by id."""
    self._movie_list = movie_list

  def find(
    self,
    movie_id: str,
    mentions: Mapping[str, str | None],
    tally: counts.Tally,
  ) -> str | None:
    """The clean title of a movie that a dialogue mentions, None if unknown.

    A title that the dialogue lacks, or that is null or blank there, is looked
    up in the movie list.
    """
    clean = titles_lib.clean_title(mentions.get(movie_id) or "")
    if titles_lib.is_blank(clean):
      clean = titles_lib.clean_title(self._movie_list.get(movie_id, ""))
      if not titles_lib.is_blank(clean):
        tally.note("title taken from the movie list")
    if titles_lib.is_blank(clean):
      known = movie_id in mentions or movie_id in self._movie_list
      tally.drop("title null or blank" if known else "unknown id")
      return None
    tally.keep()
    tally.note("title without a year", not titles_lib.has_year(clean))
    return clean


def render_message(
  text: str,
  mentions: Mapping[str, str | None],
  table: TitleTable,
  tally: counts.Tally,
) -> tuple[str, tuple[str, ...]]:
  """Puts titles where a message has ids.

  `@12345` becomes `@ Title (Year) @`, or nothing where the id has no title. An
  @ before anything else would read as a title marker, so it is taken away and
  its word or number stays.

  Args:
    text: a message as it was typed.
    mentions: raw title by id, of this dialogue.
    table: resolves the ids.
    tally: counts the mentions.

  Returns:
    (the text with single spaces, the titles in it).
  """
  text = titles_lib.plain_text(text)
  pieces: list[tuple[str, bool]] = []
  found: list[str] = []
  position = 0
  for match in _MENTION.finditer(text):
    pieces.append((text[position : match.start()], False))
    position = match.end()
    before = text[match.start() - 1 : match.start()]
    if not _is_id(match[1], mentions, table):
      tally.drop("an @ without an id")
      pieces.append(((" " if before.isalnum() else "") + match[1], False))
      continue
    tally.note("glued to the text before it", bool(before.strip()))
    title = table.find(match[1], mentions, tally)
    if title:
      found.append(title)
      pieces.append((titles_lib.mark_title(title), True))
  pieces.append((text[position:], False))
  return titles_lib.join_spaced(pieces), tuple(found)


def _is_id(
  digits: str, mentions: Mapping[str, str | None], table: TitleTable
) -> bool:
  return len(digits) >= _ID_DIGITS or bool(
    table.find(digits, mentions, counts.Tally())
  )


def dialogue_turns(
  dialogue: raw.Dialogue,
  table: TitleTable,
  *,
  merge: bool,
  messages: counts.Tally,
  mentions: counts.Tally,
) -> list[Turn]:
  """Renders a dialogue's messages as turns; empty messages are dropped.

  Args:
    dialogue: as the raw file has it.
    table: resolves movie ids.
    merge: whether consecutive messages of one speaker are joined.
    messages: counts the messages.
    mentions: counts the movie mentions.

  Returns:
    The turns in order.
  """
  turns: list[Turn] = []
  for message in dialogue.messages:
    role = "assistant" if message.by_recommender else "user"
    messages.note("by the recommender", message.by_recommender)
    text, found = render_message(
      message.text, dialogue.movie_mentions, table, mentions
    )
    if not text:
      messages.drop("empty text")
      continue
    messages.keep()
    if merge and turns and turns[-1].role == role:
      last = turns.pop()
      text, found = f"{last.text} {text}", last.titles + found
      messages.note("joined to the message before")
    turns.append(Turn(role, text, found))
  return turns


def recommended_titles(
  dialogue: raw.Dialogue,
  turns: Sequence[Turn],
  table: TitleTable,
  source: str,
) -> list[str]:
  """The distinct titles that the human recommender recommended, in order."""
  if source == "messages":
    found = [
      title
      for turn in turns
      if turn.role == "assistant"
      for title in turn.titles
    ]
  else:
    found = [
      table.find(movie_id, dialogue.movie_mentions, counts.Tally())
      for movie_id in dialogue.suggested or ()
    ]
  return list(dict.fromkeys(title for title in found if title))


class T5crRedial(base.RawBuilder):
  """ReDial dialogues (Li et al. 2018), one record for each recommender turn.

  A record has the turns before the response and the titles that the human
  recommender recommended in the whole dialogue. The official test file is the
  validation split.
  """

  name = "t5cr_redial"
  OPTIONS = RedialOptions
  options: RedialOptions

  def features(self) -> dict[str, Any]:
    """One recommender turn (`response`) and what came before it."""
    text = tfds.features.Text()
    return {
      "dialogue_id": text,
      "turn": np.int32,
      "roles": tfds.features.Sequence(text),
      "turns": tfds.features.Sequence(text),
      "response": text,
      "recommended": tfds.features.Sequence(text),
    }

  def find_files(self, raw_dir: pathlib.Path) -> dict[str, pathlib.Path]:
    """The two dialogue files and the movie list."""
    return files.find_source(
      raw_dir, "redial", [*raw.SPLIT_FILES.values(), raw.MOVIE_LIST]
    )

  def read_splits(
    self, paths: dict[str, pathlib.Path]
  ) -> dict[str, Iterator[dict[str, Any]]]:
    """The training file, and the test file as validation."""
    movie_list = raw.read_movie_list(
      paths[raw.MOVIE_LIST], self.bad_lines, self.tallies["movie list"]
    )
    table = TitleTable(movie_list)
    return {
      split: self._read_split(split, paths[file_name], table)
      for split, file_name in raw.SPLIT_FILES.items()
    }

  def counted(self, split: str) -> tuple[str, ...]:
    """The responses."""
    return (f"{split} responses",)

  def key(self, example: dict[str, Any]) -> int | str | bytes:
    """The turn of the dialogue."""
    # As bytes, for TFDS takes the backslash in a text for a slash.
    return f"{example['dialogue_id']}/{example['turn']}".encode()

  def _read_split(
    self, split: str, path: pathlib.Path, table: TitleTable
  ) -> Iterator[dict[str, Any]]:
    tally = self.tallies[f"{split} dialogues"]
    bad_before = self.bad_lines.count
    dialogues = self.count_progress(
      raw.read_dialogues(path, self.bad_lines),
      files.count_lines(path),
      "dialogues",
    )
    for dialogue in dialogues:
      examples = self._examples(split, dialogue, table)
      if examples:
        tally.keep()
      else:
        tally.drop("no recommender turn with something before it")
      yield from examples
    tally.drop("bad line", self.bad_lines.count - bad_before)

  def _examples(
    self, split: str, dialogue: raw.Dialogue, table: TitleTable
  ) -> list[dict[str, Any]]:
    turns = dialogue_turns(
      dialogue,
      table,
      merge=self.options.merge_turns,
      messages=self.tallies[f"{split} messages"],
      mentions=self.tallies[f"{split} mentions"],
    )
    recommended = recommended_titles(
      dialogue, turns, table, self.options.recommended_from
    )
    self._note(self.tallies[f"{split} dialogues"], dialogue, recommended)
    tally = self.tallies[f"{split} responses"]
    examples = []
    for index, turn in enumerate(turns):
      if turn.role != "assistant":
        continue
      if not index:
        tally.drop("nothing before it")
        continue
      tally.keep()
      tally.note("names a movie", bool(turn.titles))
      examples.append(
        {
          "dialogue_id": dialogue.dialogue_id,
          "turn": index,
          "roles": [earlier.role for earlier in turns[:index]],
          "turns": [earlier.text for earlier in turns[:index]],
          "response": turn.text,
          "recommended": recommended,
        }
      )
    return examples

  def _note(
    self,
    tally: counts.Tally,
    dialogue: raw.Dialogue,
    recommended: Sequence[str],
  ) -> None:
    tally.note(
      "begun by the recommender",
      bool(dialogue.messages) and dialogue.messages[0].by_recommender,
    )
    tally.note("no seeker's answers", dialogue.suggested is None)
    tally.note("no recommender's answers", not dialogue.has_recommender_answers)
    tally.note("no recommended title", not recommended)
