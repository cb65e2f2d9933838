"""TFDS data set `t5cr_catalogue`: every title that is known to exist."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow_datasets as tfds

from t5cr_tasks import titles
from t5cr_tasks.datasets import base
from t5cr_tasks.raw import counts, files, movielens, redial


class T5crCatalogue(base.RawBuilder):
  """The titles of ReDial and of MovieLens: a generated title is valid if here.

  ReDial's are those of its movie list and of the mentions in its dialogues.
  """

  name = "t5cr_catalogue"

  def features(self) -> dict[str, Any]:
    """A clean title and the corpus that has it, 'redial' or 'movielens'."""
    return {"title": tfds.features.Text(), "source": tfds.features.Text()}

  def find_files(self, raw_dir: pathlib.Path) -> dict[str, pathlib.Path]:
    """The files of the sources that are there; one source is enough."""
    sources = {
      "redial": [redial.MOVIE_LIST, *redial.SPLIT_FILES.values()],
      "movielens": [movielens.MOVIES],
    }
    paths: dict[str, pathlib.Path] = {}
    missing = []
    for source, names in sources.items():
      try:
        paths |= files.find_source(raw_dir, source, names)
      except files.MissingSource as error:
        missing.append(str(error))
    if not paths:
      raise files.MissingSource(" ".join(missing))
    return paths

  def read_splits(
    self, paths: dict[str, pathlib.Path]
  ) -> dict[str, Iterator[dict[str, Any]]]:
    """All of it is the train split."""
    return {"train": self._titles(paths)}

  def counted(self, split: str) -> tuple[str, ...]:
    """The titles of either source."""
    return "redial titles", "movielens titles"

  def key(self, example: dict[str, Any]) -> int | str | bytes:
    """The title in its corpus."""
    # As bytes, for TFDS takes the backslash in a text for a slash.
    return f"{example['source']}/{example['title']}".encode()

  def _titles(self, paths: dict[str, pathlib.Path]) -> Iterator[dict[str, Any]]:
    if redial.MOVIE_LIST in paths:
      yield from self._of("redial", self._redial(paths))
    if movielens.MOVIES in paths:
      yield from self._of("movielens", self._movielens(paths))

  def _of(self, source: str, found: Iterable[str]) -> Iterator[dict[str, Any]]:
    tally = self.tallies[f"{source} titles"]
    bad_before = self.bad_lines.count
    for title in _distinct(found, tally):
      yield {"title": title, "source": source}
    tally.drop("bad line", self.bad_lines.count - bad_before)

  def _movielens(self, paths: dict[str, pathlib.Path]) -> Iterator[str]:
    yield from movielens.read_movies(
      paths[movielens.MOVIES], self.bad_lines, counts.Tally()
    ).values()

  def _redial(self, paths: dict[str, pathlib.Path]) -> Iterator[str]:
    yield from redial.read_movie_list(
      paths[redial.MOVIE_LIST], self.bad_lines
    ).values()
    for file_name in redial.SPLIT_FILES.values():
      dialogues = redial.read_dialogues(paths[file_name], self.bad_lines)
      for dialogue in self.count_progress(
        dialogues, files.count_lines(paths[file_name]), "dialogues"
      ):
        yield from (
          title for title in dialogue.movie_mentions.values() if title
        )


def _distinct(raw_titles: Iterable[str], tally: counts.Tally) -> Iterator[str]:
  """Yields each clean title once."""
  seen = set()
  for raw_title in raw_titles:
    title = titles.clean_title(raw_title)
    if titles.is_blank(title):
      tally.drop("blank")
    elif title in seen:
      tally.drop("repeated")
    else:
      seen.add(title)
      tally.keep()
      tally.note("without a year", not titles.has_year(title))
      yield title
