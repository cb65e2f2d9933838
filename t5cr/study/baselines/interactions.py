"""Which user liked which movie: what the MovieLens sequences say."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import scipy.sparse
from jaxtyping import Int

from t5cr import errors
from t5cr.progress import Progress

_BATCH = 1024


@dataclasses.dataclass(frozen=True)
class Interactions:
  """The runs of movies that users rated highly, as the T5 rows learn them.

  Movies are told apart by title, as for the probes.

  Attributes:
    users: [runs] index of the user of each run.
    movies: [items] movie index of every item, run after run.
    lengths: [runs] number of items of each run.
    titles: title of each movie.
  """

  users: Int[np.ndarray, " runs"]
  movies: Int[np.ndarray, " items"]
  lengths: Int[np.ndarray, " runs"]
  titles: list[str]

  def by_run(self) -> scipy.sparse.csr_array:
    """[runs, movies] 1 where a run holds a movie."""
    from t5cr_tasks.probes import cooccurrence

    return cooccurrence.incidence(self.movies, self.lengths, len(self.titles))

  def by_user(self) -> scipy.sparse.csr_array:
    """[users, movies] 1 where a user's runs hold a movie."""
    from t5cr_tasks.probes import cooccurrence

    _, user = np.unique(self.users, return_inverse=True)
    # The runs of a user stand together, so that they count as one.
    order = np.argsort(user, kind="stable")
    starts = np.cumsum(self.lengths) - self.lengths
    lengths = self.lengths[order]
    within = np.arange(lengths.sum()) - np.repeat(
      np.cumsum(lengths) - lengths, lengths
    )
    items = self.movies[np.repeat(starts[order], lengths) + within]
    per_user = np.bincount(user, weights=self.lengths).astype(np.int64)
    return cooccurrence.incidence(items, per_user, len(self.titles))


def read(data_dir: str, progress: Progress | None = None) -> Interactions:
  """Reads the sequences data set of a data directory.

  Raises:
    DataError: it is not built.
  """
  from t5cr_tasks import sources, tasks
  from t5cr_tasks.probes import sources as probe_sources

  spec = tasks.TASKS["t5cr_movielens_sequence"]
  source = sources.BuiltDataSource(spec.tfds_name, spec.splits, data_dir)
  total = source.num_input_examples("train")
  dataset = source.get_dataset("train", shuffle=False).map(
    lambda record: {
      name: record[name] for name in ("user_id", "movie_ids", "titles")
    }
  )
  users, items, lengths = [], [], []
  title_of: dict[int, str] = {}
  done = 0
  for batch in dataset.ragged_batch(_BATCH).prefetch(2):
    ids = batch["movie_ids"].flat_values.numpy()
    titles = batch["titles"].flat_values.numpy()
    users.append(batch["user_id"].numpy())
    items.append(ids)
    lengths.append(batch["movie_ids"].row_lengths().numpy())
    distinct, places = np.unique(ids, return_index=True)
    for movie, place in zip(distinct.tolist(), places.tolist(), strict=True):
      if movie not in title_of:
        title_of[movie] = titles[place].decode()
    done += len(users[-1])
    if progress:
      progress(f"read {spec.tfds_name}", done, total, "runs")
  ids = np.concatenate(items)
  movie_ids = np.unique(ids)
  merged, kept = probe_sources.merge_titles(
    movie_ids, [title_of[movie] for movie in movie_ids.tolist()]
  )
  return Interactions(
    users=np.concatenate(users),
    movies=merged[np.searchsorted(movie_ids, ids)],
    lengths=np.concatenate(lengths),
    titles=kept,
  )


class Index:
  """Finds movies by their titles."""

  def __init__(self, titles: Iterable[str]):
    """Takes the title of each movie; the first of equal ones counts."""
    from t5cr_tasks import titles as titles_lib

    self._key = titles_lib.title_key
    self._places: dict[str, int] = {}
    for place, title in enumerate(titles):
      self._places.setdefault(self._key(title), place)
    self._known: dict[str, int] = {}

  def find(self, titles: Iterable[str]) -> Int[np.ndarray, " titles"]:
    """The movie of each title.

    Raises:
      UsageError: there is none of a title.
    """
    places = self.find_any(titles := list(titles))
    if len(places) and places.min() < 0:
      raise errors.UsageError(
        f"A probe asks about {titles[int(places.argmin())]!r}, a movie of no "
        "sequence: the probes were made from other data. Run `t5cr probes "
        "build` again, with the options that they were built with."
      )
    return places

  def find_any(self, titles: Iterable[str]) -> Int[np.ndarray, " titles"]:
    """The movie of each title, -1 where there is none."""
    places = []
    for title in titles:
      if title not in self._known:
        self._known[title] = self._places.get(self._key(title), -1)
      places.append(self._known[title])
    return np.array(places, np.int64)
