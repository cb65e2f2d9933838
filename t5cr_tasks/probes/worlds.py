"""The movies that are probed, and all probes of a kind about them."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from t5cr_tasks.errors import DataError
from t5cr_tasks.probes import candidates, cooccurrence, templates
from t5cr_tasks.probes.candidates import Probes
from t5cr_tasks.probes.sources import SEQUENCES, Runs, Sentences, Tags
from t5cr_tasks.raw.counts import Tallies


@dataclasses.dataclass(frozen=True)
class ProbeOptions:
  """How the probes are made; the defaults are the paper's.

  Attributes:
    min_count: a movie is probed if it is in more than this many runs.
    related: related movies of each movie.
    popular_share: share of the probed movies that count as popular.
    template: name of the phrasing, see `templates`.
    max_probes: at most so many probes of each kind, drawn at random; None for
      all.
    phrased_probes: so many probes of each kind of Table 3, drawn at random,
      are asked in every phrasing as well; 0 for none.
    seed: of the negatives and of those draws.
    reviews_per_movie: reviews that the description probe takes of a movie.
    sentences_per_review: sentences that it takes of each.
  """

  min_count: int = 30
  related: int = 10
  popular_share: float = 0.1
  template: str = "paper"
  max_probes: int | None = None
  phrased_probes: int = 300
  seed: int = 0
  reviews_per_movie: int = 1
  sentences_per_review: int = 4

  def __post_init__(self):
    """Raises DataError for a value that makes no sense."""
    at_least = {
      "min_count": 0,
      "related": 1,
      "max_probes": 1,
      "phrased_probes": 0,
      "seed": 0,
      "reviews_per_movie": 1,
      "sentences_per_review": 1,
    }
    for name, low in at_least.items():
      value = getattr(self, name)
      if value is not None and value < low:
        raise DataError(
          f"Probe option {name} is {value}; give a number of at least {low}."
        )
    if not 0 < self.popular_share <= 1:
      raise DataError(
        f"Probe option popular_share is {self.popular_share}; give a share"
        " above 0 and at most 1."
      )
    templates.find("recommendation", self.template)


@dataclasses.dataclass(frozen=True)
class World:
  """The movies that are probed, in the order of the movie ids.

  Attributes:
    movies_in_runs: how many movies the runs hold, probed or not.
    titles: title of each movie.
    frequency: runs that each movie is in.
    related: [movies, related] its related movies, best first, -1 where fewer.
    popular: indices of the popular movies, most frequent first.
    unrelated: [movies, popular] whether a popular movie is neither the movie
      nor one of its related.
  """

  movies_in_runs: int
  titles: list[str]
  frequency: Int[np.ndarray, " movies"]
  related: Int[np.ndarray, "movies related"]
  popular: Int[np.ndarray, " popular"]
  unrelated: Bool[np.ndarray, "movies popular"]


def probed_world(runs: Runs, options: ProbeOptions) -> World:
  """Related and popular movies among those over the threshold.

  Args:
    runs: the runs of all movies; co-occurrence is counted in them, between
      the movies over the threshold.
    options: the threshold, and what counts as related and as popular.

  Raises:
    DataError: no two movies are over the threshold.
  """
  matrix = cooccurrence.incidence(runs.movies, runs.lengths, len(runs.titles))
  counts = cooccurrence.frequency(matrix)
  probed = over_threshold(counts, options)
  related = cooccurrence.top_related(matrix[:, probed], options.related).movies
  return make_world(runs.titles, counts, related, options)


def over_threshold(
  counts: Int[np.ndarray, " movies"], options: ProbeOptions
) -> Int[np.ndarray, " probed"]:
  """The movies that are probed, by the number of runs that each is in.

  Raises:
    DataError: they are not even two.
  """
  probed = np.flatnonzero(counts > options.min_count)
  if len(probed) < 2:
    second = int(np.sort(counts)[-2]) if len(counts) > 1 else 0
    raise DataError(
      f"Probes need at least 2 movies that occur over {options.min_count}"
      f" times in {SEQUENCES}, but {len(probed)} of its {len(counts)} do, and"
      f" the second most frequent one occurs {second} times. Lower min_count"
      " below that, or build the sequences from more ratings."
    )
  return probed


def make_world(
  titles: list[str],
  counts: Int[np.ndarray, " movies"],
  related: Int[np.ndarray, "probed related"],
  options: ProbeOptions,
) -> World:
  """The world of the probed movies.

  Args:
    titles: title of each movie, probed or not.
    counts: number of runs that each is in.
    related: related movies of each probed movie, among the probed ones.
    options: as they were for `related`.
  """
  probed = over_threshold(counts, options)
  popular = candidates.popular_movies(counts[probed], options.popular_share)
  return World(
    movies_in_runs=len(counts),
    titles=[titles[movie] for movie in probed],
    frequency=counts[probed],
    related=related,
    popular=popular,
    unrelated=candidates.unrelated_popular(related, popular),
  )


def _candidates(
  probe: str, world: World, tags: Tags | None, sentences: Sentences | None
) -> tuple[Probes, list[tuple[np.ndarray, np.ndarray]]]:
  """All probes of a kind, and the tables of their admissible negatives."""
  if probe in ("attribute", "combination"):
    if tags is None:
      raise ValueError(f"the {probe} probe needs tags")
    untagged = candidates.untagged_popular(tags.matrix, world.popular)
    if probe == "attribute":
      # No movie is asked about: the tag alone decides (section 4.2).
      probes = candidates.attribute(tags.matrix)
      return probes, [(untagged, probes.tag)]
    probes = candidates.combination(world.related, tags.matrix)
    return probes, [(untagged, probes.tag), (world.unrelated, probes.movie)]
  if probe == "description":
    if sentences is None:
      raise ValueError("the description probe needs sentences")
    probes = candidates.description(sentences.movie, sentences.number)
  else:
    probes = candidates.recommendation(world.related)
  return probes, [(world.unrelated, probes.movie)]


def make_probes(
  probe: str,
  world: World,
  options: ProbeOptions,
  *,
  tags: Tags | None = None,
  sentences: Sentences | None = None,
) -> tuple[Probes, dict[str, dict[str, Any]]]:
  """The probes of one kind, with their negatives.

  Args:
    probe: which kind; `recommendation_sequence` has the very probes of
      `recommendation`.
    world: the movies.
    options: the seed, and how many probes at most.
    tags: for the attribute and the combination probe.
    sentences: for the description probe.

  Returns:
    (probes, what was found, dropped and kept, as `raw.counts` counts it).
  """
  kind = "recommendation" if probe == "recommendation_sequence" else probe
  rng = np.random.default_rng([options.seed, templates.PROBES.index(kind)])
  found, allowed = _candidates(kind, world, tags, sentences)
  negatives = candidates.draw_negatives(world.popular, allowed, rng)
  complete = candidates.with_negatives(found, negatives)
  kept = candidates.subset(complete, options.max_probes, rng)
  tallies = Tallies()
  movies, tally = tallies["movies"], tallies["probes"]
  movies.keep(len(world.titles))
  movies.drop(
    f"not over {options.min_count} occurrences",
    world.movies_in_runs - len(world.titles),
  )
  movies.note("popular", len(world.popular))
  about = np.unique(found.related if kind == "attribute" else found.movie)
  movies.note("nothing to ask about", len(world.titles) - len(about))
  tally.keep(len(kept))
  tally.drop("no admissible negative", len(found) - len(complete))
  tally.drop("over max_probes", len(complete) - len(kept))
  return kept, tallies.to_dict()
