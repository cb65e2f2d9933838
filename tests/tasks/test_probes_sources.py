"""Titles as the identity of movies, and the reviews that are taken."""

import numpy as np
import pytest

from t5cr_tasks.probes import sources

TITLES = ["War of the Worlds (2005)", "Up (2009)", "Heat (1995)"]


def test_ids_of_one_title_are_one_movie():
  merged, titles = sources.merge_titles(
    np.array([3, 8, 9, 40]),
    ["Up (2009)", "Heat (1995)", "UP  (2009)", "Alien (1979)"],
  )

  assert merged.tolist() == [0, 1, 0, 2]
  assert titles == ["Up (2009)", "Heat (1995)", "Alien (1979)"]


def test_tags_of_one_title_add_up_and_other_movies_are_passed_over():
  tags = sources.tag_matrix(
    iter(
      [
        ("Up (2009)", ["pixar", "balloon"]),
        ("Jaws (1975)", ["shark"]),
        ("up  (2009)", ["pixar", "dog"]),
        ("Heat (1995)", ["heist"]),
      ]
    ),
    TITLES,
  )

  assert tags.names == ["balloon", "dog", "heist", "pixar"]
  np.testing.assert_array_equal(
    tags.matrix.todense(), [[0, 0, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0]]
  )


def _sentences(reviews_per_movie):
  reviews = [
    (7, "Up (2009)", ["Seven.", "Late."]),
    (2, "Up (2009)", ["One.", " ", "Two.", "Three.", "Four.", "Five."]),
    (5, "Heat (1995)", ["Robbers.", "Police."]),
    (1, "Jaws (1975)", ["Not probed."]),
    (4, "up  (2009)", ["Fourth review."]),
    (0, "Heat (1995)", [" "]),
  ]
  return sources.first_sentences(
    iter(reviews),
    TITLES,
    reviews_per_movie=reviews_per_movie,
    sentences_per_review=4,
  )


def test_first_four_sentences_of_the_first_review():
  sentences = _sentences(1)

  assert list(
    zip(sentences.movie, sentences.number, sentences.texts, strict=True)
  ) == [
    (1, 1, "One."),
    (1, 2, "Two."),
    (1, 3, "Three."),
    (1, 4, "Four."),
    (2, 1, "Robbers."),
    (2, 2, "Police."),
  ]


def test_more_reviews_come_by_ascending_id():
  sentences = _sentences(2)

  assert sentences.texts == [
    *["One.", "Two.", "Three.", "Four."],
    "Fourth review.",
    *["Robbers.", "Police."],
  ]
  assert _sentences(3).texts[5:7] == ["Seven.", "Late."]


@pytest.mark.parametrize("top", [9, 1 << 40])
def test_distinct_ids_and_their_places(top):
  ids = np.array([top, 3, 3, 0, top])
  found, places = sources.distinct(ids)
  assert found.tolist() == [0, 3, top]
  assert places.tolist() == [2, 1, 1, 0, 2]
  empty, none = sources.distinct(ids[:0])
  assert (len(empty), len(none)) == (0, 0)
