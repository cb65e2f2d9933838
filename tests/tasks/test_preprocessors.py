import collections

import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from t5cr_tasks import preprocessors

assert_dataset = seqio.test_utils.assert_dataset


def _dataset(**columns) -> tf.data.Dataset:
  return tf.data.Dataset.from_tensors(columns)


def _inputs(dataset: tf.data.Dataset) -> list[str]:
  return [example["inputs"].decode() for example in tfds.as_numpy(dataset)]


def test_conversation_is_the_string_of_the_papers_example():
  record = _dataset(
    dialogue_id="7",
    turn=3,
    roles=["user", "assistant", "user"],
    turns=[
      "I'm in the mood to watch a romantic comedy. What do you suggest?",
      "@ 50 First Dates (2004) @ Have you seen that one?",
      "Oh, I've seen that one. I really like Drew Barrymore.",
    ],
    response="Yes she is good. Do you like @ The Wedding Singer (1998) @",
    recommended=["50 First Dates (2004)", "The Wedding Singer (1998)"],
  )
  assert_dataset(
    preprocessors.conversation(record),
    {
      "inputs": (
        "redial conversation: [user] i'm in the mood to watch a romantic"
        " comedy. what do you suggest? [assistant] @ 50 first dates (2004) @"
        " have you seen that one? [user] oh, i've seen that one. i really like"
        " drew barrymore."
      ),
      "targets": "yes she is good. do you like @ the wedding singer (1998) @",
      "dialogue_id": "7",
      "turn": 3,
      "recommended": ["50 First Dates (2004)", "The Wedding Singer (1998)"],
    },
  )


def test_text_beyond_ascii_is_lowercased_too():
  record = _dataset(inputs="ÉCLAT @ Ōkami @", targets="Élan")
  assert_dataset(
    preprocessors.probe(record),
    {"inputs": "éclat @ ōkami @", "targets": "élan"},
  )


def test_sequence_expands_every_beginning():
  record = _dataset(
    titles=["The Incredibles (2004)", "Heat (1995)", "Fargo (1996)"]
  )
  assert_dataset(
    preprocessors.sequence(record),
    [
      {
        "inputs": "movielens sequence: @ the incredibles (2004) @",
        "targets": "heat (1995)",
      },
      {
        "inputs": (
          "movielens sequence: @ the incredibles (2004) @ heat (1995) @"
        ),
        "targets": "fargo (1996)",
      },
    ],
  )


@pytest.mark.parametrize(
  ("min_inputs", "lengths"), [(1, range(1, 10)), (2, range(2, 10))]
)
def test_sequence_of_ten_has_one_to_nine_inputs(min_inputs, lengths):
  record = _dataset(titles=[f"m{i}" for i in range(10)])
  inputs = _inputs(preprocessors.sequence(record, min_inputs=min_inputs))
  assert [text.count("m") - 1 for text in inputs] == list(lengths)


_ID = tf.constant(7, tf.int64)


def _draws(tags: list[str], count: int, seed: int | None) -> list[list[str]]:
  record = _dataset(movie_id=_ID, title="Heat (1995)", tags=tags)
  with seqio.map_seed_manager(seed):
    inputs = _inputs(preprocessors.tags(record.repeat(count)))
  return [text.removeprefix("movielens tags: ").split(", ") for text in inputs]


def test_tags_of_a_movie_with_one():
  with seqio.map_seed_manager(0):
    examples = preprocessors.tags(
      _dataset(
        movie_id=_ID, title="The Book Thief (2013)", tags=["Based on a Book"]
      )
    )
  assert_dataset(
    examples,
    {
      "inputs": "movielens tags: based on a book",
      "targets": "the book thief (2013)",
    },
  )


def test_tags_draws_one_to_five_different_tags_in_any_order():
  tags = list("abcdefg")
  draws = _draws(tags, 500, seed=1)
  sizes = collections.Counter(map(len, draws))
  # 500 draws of 5 equally likely sizes: 100 each, standard deviation 9.
  assert set(sizes) == {1, 2, 3, 4, 5}
  assert min(sizes.values()) > 60
  assert all(len(set(draw)) == len(draw) for draw in draws)
  assert {draw[0] for draw in draws} == set(tags)
  assert any(draw != sorted(draw) for draw in draws)


def test_tags_draws_at_most_the_tags_there_are():
  assert {len(draw) for draw in _draws(["a", "b"], 50, seed=1)} == {1, 2}


def test_tags_are_reproducible_with_a_seed():
  tags = list("abcdefg")
  assert _draws(tags, 20, seed=1) == _draws(tags, 20, seed=1)
  assert _draws(tags, 20, seed=1) != _draws(tags, 20, seed=2)


def _movies(ids: list[int]) -> tf.data.Dataset:
  tags = [[f"{movie}{letter}" for letter in "abcdefg"] for movie in ids]
  return tf.data.Dataset.from_tensor_slices(
    {
      "movie_id": tf.constant(ids, tf.int64),
      "title": [f"Movie {movie} (1990)" for movie in ids],
      "tags": tags,
    }
  )


def _draws_by_epoch(
  epochs: list[list[int]], seed: int = 1
) -> list[list[tuple[str, str]]]:
  """(inputs, targets) of each epoch, in no order."""
  dataset = _movies(epochs[0])
  for ids in epochs[1:]:
    dataset = dataset.concatenate(_movies(ids))
  with seqio.map_seed_manager(seed):
    examples = [
      (example["inputs"].decode(), example["targets"].decode())
      for example in tfds.as_numpy(preprocessors.tags(dataset))
    ]
  size = len(epochs[0])
  return [
    sorted(examples[size * epoch : size * (epoch + 1)])
    for epoch in range(len(epochs))
  ]


def test_tags_of_a_movie_and_epoch_are_the_same_in_any_order():
  draws = _draws_by_epoch([[1, 2, 3, 4]] * 3)
  assert draws == _draws_by_epoch([[3, 1, 4, 2], [2, 3, 4, 1], [4, 3, 2, 1]])
  assert draws != _draws_by_epoch([[1, 2, 3, 4]] * 3, seed=2)
  # And of a reader that has only some of the movies.
  assert [
    [example for example in epoch if example[1] < "movie 3"] for epoch in draws
  ] == _draws_by_epoch([[2, 1], [1, 2], [1, 2]])


def test_tags_are_drawn_anew_in_each_epoch():
  draws = _draws_by_epoch([[1, 2, 3]] * 40)
  assert len({tuple(epoch) for epoch in draws}) == 40


def test_tags_are_drawn_each_time_without_a_seed():
  assert _draws(list("abcdefg"), 20, None) != _draws(list("abcdefg"), 20, None)


def test_review_predicts_each_sentence_from_those_before():
  record = _dataset(title="Alien (1979)", sentences=["Scary.", "I LIKED it."])
  assert_dataset(
    preprocessors.review(record),
    [
      {
        "inputs": "movielens review: review for @ alien (1979) @:",
        "targets": "scary.",
      },
      {
        "inputs": "movielens review: review for @ alien (1979) @: scary.",
        "targets": "i liked it.",
      },
    ],
  )


def test_probe_keeps_its_other_fields():
  record = _dataset(
    inputs="redial conversation: [User] Hi",
    targets="Sure",
    probe_id=3,
    movie="Heat (1995)",
  )
  assert_dataset(
    preprocessors.probe(record),
    {
      "inputs": "redial conversation: [user] hi",
      "targets": "sure",
      "probe_id": 3,
      "movie": "Heat (1995)",
    },
  )


@pytest.mark.parametrize(
  ("sequence_length", "feature_lengths", "expected"),
  [
    (None, None, [7, 8, 9, 1]),
    ({"targets": 3}, None, [7, 8, 1]),
    (None, {"targets": 2}, [7, 1]),
    ({"targets": 3}, {"targets": 2}, [7, 1]),
    ({"targets": 2}, {"targets": 3}, [7, 1]),
    ({"targets": None}, {"targets": 3}, [7, 8, 1]),
  ],
)
def test_append_eos_leaves_room_within_the_smaller_limit(
  sequence_length, feature_lengths, expected
):
  feature = seqio.Feature(seqio.ByteVocabulary())
  dataset = preprocessors.append_eos(
    _dataset(targets=[7, 8, 9]),
    {"targets": feature},
    sequence_length,
    feature_lengths,
  )
  assert_dataset(dataset, {"targets": expected})
