"""Which pairs that the probes ask about the training dialogues already name.

A probe that the dialogues answer tells nothing about what another task taught,
so the report gives the share of such probes beside each score. A probe is
named when one training dialogue holds, as text,

- recommendation: the title asked about and the related title;
- attribute: the tag in a message of the user, and the related title in a later
  turn of the assistant;
- combination: the same, and the title asked about anywhere;
- description: the title asked about, and the sentence.

Titles are compared by `titles.title_key`, tags and sentences word by word
without case and punctuation.
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from t5cr_tasks import titles
from t5cr_tasks.datasets.base import Progress
from t5cr_tasks.probes.candidates import Probes

_WORD = re.compile(r"\w+")
# Dialogues between two reports of progress.
_REPORT_EVERY = 200


@dataclasses.dataclass(frozen=True)
class Dialogue:
  """One training dialogue.

  Attributes:
    roles: 'user' or 'assistant' for each turn.
    turns: the texts, titles as `@ Title (Year) @`.
  """

  roles: Sequence[str]
  turns: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Named:
  """What the dialogues name, as sorted codes that `code` makes.

  Attributes:
    pairs: (movie, related) in one dialogue.
    tagged: (tag, related), the tag first.
    triples: (tag, movie, related).
    sentences: indices of the sentences said in a dialogue that names the
      movie they are about.
  """

  pairs: Int[np.ndarray, " pairs"]
  tagged: Int[np.ndarray, " tagged"]
  triples: Int[np.ndarray, " triples"]
  sentences: Int[np.ndarray, " sentences"]


def code(base: int, *numbers: np.ndarray | int) -> np.ndarray:
  """One int64 for several numbers, all but the first of them below `base`."""
  total = np.asarray(numbers[0], np.int64)
  for number in numbers[1:]:
    total = total * base + number
  return total


def _words(text: str) -> list[str]:
  return _WORD.findall(text.casefold())


class TagFinder:
  """Finds tags in a text: as whole words, titles left aside."""

  def __init__(self, tags: Sequence[str]):
    """Prepares the look-up.

    Args:
      tags: the tags; a tag without letters or digits is never found.
    """
    self._tags: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, tag in enumerate(tags):
      self._tags[tuple(_words(tag))].append(index)
    self._tags.pop((), None)
    self._lengths = sorted({len(words) for words in self._tags})

  def find(self, text: str) -> set[int]:
    """Indices of the tags that the text holds.

    Args:
      text: running text; marked titles are not searched.
    """
    words = _words(titles.replace_titles(text, "__title__"))
    found: set[int] = set()
    for length in self._lengths:
      for start in range(len(words) - length + 1):
        found.update(self._tags.get(tuple(words[start : start + length]), ()))
    return found


def _positions(
  dialogue: Dialogue, movies: Mapping[str, int], tags: TagFinder
) -> tuple[set[int], dict[int, int], dict[int, int]]:
  """(movies named, last assistant turn of each, first user turn of a tag)."""
  named: set[int] = set()
  offered: dict[int, int] = {}
  asked: dict[int, int] = {}
  turns = zip(dialogue.roles, dialogue.turns, strict=True)
  for turn, (role, text) in enumerate(turns):
    for title in titles.extract_titles(text):
      movie = movies.get(titles.title_key(title))
      if movie is not None:
        named.add(movie)
        if role == "assistant":
          offered[movie] = turn
    if role == "user":
      for tag in tags.find(text):
        asked.setdefault(tag, turn)
  return named, offered, asked


def _sentences_said(
  dialogues: Sequence[Dialogue],
  naming: Mapping[int, Sequence[int]],
  sentences: Sequence[str],
  sentence_movie: Sequence[int],
) -> list[int]:
  """Sentences that stand in a dialogue that names their movie."""
  spoken: dict[int, str] = {}
  said = []
  pairs = zip(sentences, sentence_movie, strict=True)
  for index, (sentence, movie) in enumerate(pairs):
    words = " ".join(_words(sentence))
    for number in naming.get(movie, ()) if words else ():
      if number not in spoken:
        text = " ".join(_words(" ".join(dialogues[number].turns)))
        spoken[number] = f" {text} "
      if f" {words} " in spoken[number]:
        said.append(index)
        break
  return said


def _unique(codes: Iterable[int]) -> np.ndarray:
  return np.unique(np.fromiter(codes, np.int64))


def read(
  dialogues: Sequence[Dialogue],
  movie_titles: Sequence[str],
  tags: Sequence[str] = (),
  sentences: Sequence[str] = (),
  sentence_movie: Sequence[int] = (),
  *,
  progress: Progress | None = None,
) -> Named:
  """Collects what the dialogues name.

  Args:
    dialogues: the training dialogues, each once and whole.
    movie_titles: title of each movie.
    tags: the tags.
    sentences: sentences of reviews.
    sentence_movie: the movie that each of them is about.
    progress: called as progress(stage, done, total, unit).
  """
  movies = {titles.title_key(title): i for i, title in enumerate(movie_titles)}
  base = len(movie_titles)
  finder = TagFinder(tags)
  naming: dict[int, list[int]] = defaultdict(list)
  pairs: set[int] = set()
  tagged: set[int] = set()
  triples: set[int] = set()
  for number, dialogue in enumerate(dialogues):
    if progress and number % _REPORT_EVERY == 0:
      progress("search for leaks", number, len(dialogues), "dialogues")
    named, offered, asked = _positions(dialogue, movies, finder)
    for movie in named:
      naming[movie].append(number)
      pairs.update(movie * base + other for other in named if other != movie)
    for tag, first in asked.items():
      for related, last in offered.items():
        if last > first:
          tagged.add(tag * base + related)
          triples.update((tag * base + m) * base + related for m in named)
  said = _sentences_said(dialogues, naming, sentences, sentence_movie)
  if progress:
    progress("search for leaks", len(dialogues), len(dialogues), "dialogues")
  return Named(*map(_unique, (pairs, tagged, triples, said)))


def is_named(
  probe: str, probes: Probes, named: Named, num_movies: int
) -> Bool[np.ndarray, " probes"]:
  """Which of the probes the training dialogues name.

  Args:
    probe: which kind of probe.
    probes: the probes.
    named: what the dialogues name.
    num_movies: number of movies, the base of the codes.
  """
  if probe == "attribute":
    asked = code(num_movies, probes.tag, probes.related)
    return np.isin(asked, named.tagged)
  if probe == "combination":
    asked = code(num_movies, probes.tag, probes.movie, probes.related)
    return np.isin(asked, named.triples)
  if probe == "description":
    return np.isin(probes.sentence, named.sentences)
  return np.isin(code(num_movies, probes.movie, probes.related), named.pairs)


def share(named: Bool[np.ndarray, " probes"]) -> dict[str, float | int]:
  """{"pairs": probes, "named": of them named, "share": named / pairs}."""
  pairs, count = len(named), int(named.sum())
  return {
    "pairs": pairs,
    "named": count,
    "share": count / pairs if pairs else 0.0,
  }
