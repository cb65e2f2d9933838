"""Which probes are made, and their negatives, on a world of ten movies."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse

from t5cr_tasks.errors import DataError
from t5cr_tasks.probes import candidates, sources, worlds

RELATED = np.array(
  [
    [1, 2, -1],  # 0
    [0, 3, 2],  # 1
    [0, -1, -1],  # 2
    [-1, -1, -1],  # 3
    [3, 2, 1],  # 4
  ]
)
# Tags: 0 "heist", 1 "space", 2 "war".
TAGS = scipy.sparse.csr_array(
  np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0], [0, 0, 1], [1, 0, 1]])
)


def _rows(probes, *names):
  columns = [getattr(probes, name).tolist() for name in names]
  return list(zip(*columns, strict=True))


def test_popular_is_a_share_by_frequency_and_ties_go_by_index():
  frequency = np.array([5, 9, 7, 7, 1, 1, 1, 1, 1, 1, 1])

  assert candidates.popular_movies(frequency, 0.1).tolist() == [1]
  assert candidates.popular_movies(frequency, 0.2).tolist() == [1, 2]
  assert candidates.popular_movies(frequency, 0.3).tolist() == [1, 2, 3]
  assert candidates.popular_movies(frequency[:3], 0.1).tolist() == [1]
  assert len(candidates.popular_movies(frequency, 1.0)) == 11


def test_recommendation_asks_about_every_related_movie():
  probes = candidates.recommendation(RELATED)

  assert _rows(probes, "movie", "related", "rank") == [
    (0, 1, 1),
    (0, 2, 2),
    (1, 0, 1),
    (1, 3, 2),
    (1, 2, 3),
    (2, 0, 1),
    (4, 3, 1),
    (4, 2, 2),
    (4, 1, 3),
  ]
  assert set(probes.tag.tolist()) == set(probes.sentence.tolist()) == {-1}


def test_attribute_asks_about_every_association():
  probes = candidates.attribute(TAGS)

  assert _rows(probes, "related", "tag") == [
    (0, 0),
    (0, 1),
    (1, 0),
    (1, 1),
    (1, 2),
    (3, 2),
    (4, 0),
    (4, 2),
  ]
  assert set(probes.movie.tolist()) == {-1}


def test_combination_asks_about_every_tag_shared_with_a_related_movie():
  probes = candidates.combination(RELATED, TAGS)

  assert _rows(probes, "movie", "tag", "related", "rank") == [
    (0, 0, 1, 1),
    (0, 1, 1, 1),
    (1, 0, 0, 1),
    (1, 1, 0, 1),
    (1, 2, 3, 2),
    (4, 2, 3, 1),
    (4, 0, 1, 3),
    (4, 2, 1, 3),
  ]


def test_negatives_are_even_over_the_admissible_ones():
  popular = np.array([7, 3, 5, 9])
  table = np.array([[True, False, True, True], [False, False, False, False]])
  index = np.repeat([0, 1], [3000, 5])

  drawn = candidates.draw_negatives(
    popular, [(table, index)], np.random.default_rng(1), block_probes=64
  )

  movies, counts = np.unique(drawn[:3000], return_counts=True)
  assert movies.tolist() == [5, 7, 9]
  # Five standard deviations of a binomial draw of a third: 26 each.
  assert np.all(np.abs(counts - 1000) < 130)
  assert drawn[3000:].tolist() == [-1] * 5


def test_negatives_do_not_depend_on_the_block_size():
  rng = np.random.default_rng(2)
  table = rng.random((20, 6)) < 0.5
  index = rng.integers(0, 20, 1000)

  drawn = [
    candidates.draw_negatives(
      np.arange(6),
      [(table, index)],
      np.random.default_rng(3),
      block_probes=block,
    )
    for block in (1, 33, 8192)
  ]

  np.testing.assert_array_equal(drawn[0], drawn[1])
  np.testing.assert_array_equal(drawn[0], drawn[2])


def test_subset_keeps_numbers_and_order():
  probes = candidates.recommendation(RELATED)

  few = candidates.subset(probes, 4, np.random.default_rng(0))
  again = candidates.subset(probes, 4, np.random.default_rng(0))
  other = candidates.subset(probes, 4, np.random.default_rng(1))

  assert len(few) == 4
  assert sorted(few.probe_id.tolist()) == few.probe_id.tolist()
  for row, number in enumerate(few.probe_id):
    assert few.related[row] == probes.related[number]
  assert few.probe_id.tolist() == again.probe_id.tolist()
  assert few.probe_id.tolist() != other.probe_id.tolist()
  assert candidates.subset(probes, 9, np.random.default_rng(0)) is probes


def _runs(lists, titles):
  return sources.Runs(
    np.array([movie for run in lists for movie in run]),
    np.array([len(run) for run in lists]),
    titles,
  )


def _random_world(options, *, movies=40, runs=400):
  rng = np.random.default_rng(4)
  weights = 1 / np.arange(1, movies + 1) ** 0.5
  weights /= weights.sum()
  lists = [
    rng.choice(movies, 10, replace=False, p=weights) for _ in range(runs)
  ]
  titles = [f"Movie {number} (1999)" for number in range(movies)]
  world = worlds.probed_world(_runs(lists, titles), options)
  matrix = rng.random((len(world.titles), 6)) < [0.9, 0.5, 0.3, 0.2, 0.1, 1.0]
  names = [f"tag {number}" for number in range(6)]
  tags = sources.Tags(scipy.sparse.csr_array(matrix.astype(np.int32)), names)
  return world, tags


@pytest.mark.parametrize("probe", ["recommendation", "combination"])
def test_negative_is_popular_and_not_the_movie_nor_related(probe):
  options = worlds.ProbeOptions(min_count=30, related=5, popular_share=0.4)
  world, tags = _random_world(options)

  probes, _ = worlds.make_probes(probe, world, options, tags=tags)

  assert len(probes) > 50
  assert len(np.unique(probes.negative)) > 5
  for movie, related, negative, tag in _rows(
    probes, "movie", "related", "negative", "tag"
  ):
    assert related in world.related[movie]
    assert negative in world.popular
    assert negative != movie
    assert negative not in world.related[movie]
    if probe == "combination":
      dense = tags.matrix.todense()
      assert dense[movie, tag] and dense[related, tag]
      assert not dense[negative, tag]


def test_attribute_negative_is_popular_and_untagged():
  options = worlds.ProbeOptions(min_count=30, popular_share=0.4)
  world, tags = _random_world(options)
  dense = tags.matrix.todense()

  probes, counts = worlds.make_probes("attribute", world, options, tags=tags)

  for related, negative, tag in _rows(probes, "related", "negative", "tag"):
    assert dense[related, tag]
    assert negative in world.popular
    assert not dense[negative, tag]
  # Every movie carries tag 5, so nothing untagged is left to compare with.
  assert 5 not in probes.tag
  assert counts["probes"] == {
    "read": dense.sum(),
    "kept": len(probes),
    "dropped": {"no admissible negative": dense[:, 5].sum()},
    "noted": {},
  }
  assert probes.probe_id.tolist() == list(range(len(probes)))


def test_sequence_probes_are_the_recommendation_probes():
  options = worlds.ProbeOptions(min_count=30, popular_share=0.3, max_probes=20)
  world, _ = _random_world(options)

  dialogue, counts = worlds.make_probes("recommendation", world, options)
  sequence, _ = worlds.make_probes("recommendation_sequence", world, options)

  for field in dataclasses.fields(dialogue):
    np.testing.assert_array_equal(
      getattr(dialogue, field.name), getattr(sequence, field.name)
    )
  assert counts["probes"]["kept"] == 20
  assert counts["probes"]["dropped"]["over max_probes"] > 0


def test_seed_changes_negatives_only():
  options = worlds.ProbeOptions(min_count=30, popular_share=0.5, seed=1)
  world, _ = _random_world(options)
  first, _ = worlds.make_probes("recommendation", world, options)
  again, _ = worlds.make_probes("recommendation", world, options)
  other, _ = worlds.make_probes(
    "recommendation", world, dataclasses.replace(options, seed=2)
  )

  np.testing.assert_array_equal(first.negative, again.negative)
  assert (first.negative != other.negative).any()


def test_a_world_whose_popular_movies_are_all_related_drops_every_probe():
  # Movie 0 is the only popular one, and related to all others.
  lists = [[0, 1], [0, 2], [0, 3]]
  titles = ["A (1990)", "B (1990)", "C (1990)", "D (1990)"]
  options = worlds.ProbeOptions(min_count=0)
  world = worlds.probed_world(_runs(lists, titles), options)

  probes, counts = worlds.make_probes("recommendation", world, options)

  assert len(probes) == 0
  assert counts["probes"]["dropped"] == {"no admissible negative": 6}


def test_only_movies_over_the_threshold_are_probed():
  # 0 occurs 3 times, 1 twice, 2 twice, 3 once: "over 1" leaves three.
  lists = [[0, 1, 3], [0, 2], [0, 1, 2]]
  titles = ["A (1990)", "B (1990)", "C (1990)", "D (1990)"]

  world = worlds.probed_world(
    _runs(lists, titles), worlds.ProbeOptions(min_count=1)
  )

  assert world.titles == ["A (1990)", "B (1990)", "C (1990)"]
  assert world.frequency.tolist() == [3, 2, 2]
  assert world.related[:, :2].tolist() == [[1, 2], [0, 2], [0, 1]]
  assert world.popular.tolist() == [0]


def test_too_few_movies_say_which_threshold_would_do():
  lists = [[0, 1], [0, 1], [0, 2]]

  with pytest.raises(DataError, match="over 2 times.*but 1 of its 3.*2 times"):
    worlds.probed_world(
      _runs(lists, ["A (1990)", "B (1990)", "C (1990)"]),
      worlds.ProbeOptions(min_count=2),
    )


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"min_count": -1}, "min_count is -1"),
    ({"related": 0}, "related is 0"),
    ({"popular_share": 0.0}, "popular_share is 0"),
    ({"popular_share": 1.5}, "popular_share is 1.5"),
    ({"max_probes": 0}, "max_probes is 0"),
    ({"template": "papers"}, "'papers'.*Did you mean 'paper'"),
  ],
)
def test_options_that_make_no_sense(change, message):
  with pytest.raises(DataError, match=message):
    worlds.ProbeOptions(**change)
