"""Raw records to text: each task's inputs and targets (paper Table 1).

Every function takes a `tf.data.Dataset` of TFDS records and returns one of
examples with the strings `inputs` and `targets`, lowercased, and the fields
that the task's metrics need. The exact strings are part of the trained model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import seqio
import tensorflow as tf

from t5cr_tasks import blocks, caching

Example = Mapping[str, tf.Tensor]

CONVERSATION_PREFIX = "redial conversation: "
SEQUENCE_PREFIX = "movielens sequence: "
TAGS_PREFIX = "movielens tags: "
REVIEW_PREFIX = "movielens review: "


def conversation(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """A dialogue so far to the recommender's response.

  Before:
    {'roles': ['user', 'assistant', 'user'],
     'turns': ['Hi!', 'Hello. What do you like?', 'Comedies'],
     'response': 'Did you see @ Airplane! (1980) @ ?',
     'dialogue_id': '7', 'turn': 3, 'recommended': ['Airplane! (1980)']}
  After:
    {'inputs': 'redial conversation: [user] hi! [assistant] hello. what do'
               ' you like? [user] comedies',
     'targets': 'did you see @ airplane! (1980) @ ?',
     'dialogue_id': '7', 'turn': 3, 'recommended': ['Airplane! (1980)']}

  Args:
    dataset: records of `t5cr_redial`.

  Returns:
    One example per record, with the fields that the dialogue metrics need.
  """

  def example_of(record: Example) -> Example:
    turns = tf.strings.join(["[", record["roles"], "] ", record["turns"]])
    dialogue = tf.strings.reduce_join(turns, separator=" ")
    return {
      "inputs": _lower(CONVERSATION_PREFIX + dialogue),
      "targets": _lower(record["response"]),
      "dialogue_id": record["dialogue_id"],
      "turn": record["turn"],
      "recommended": record["recommended"],
    }

  return dataset.map(example_of, num_parallel_calls=tf.data.AUTOTUNE)


def sequence(dataset: tf.data.Dataset, min_inputs: int = 1) -> tf.data.Dataset:
  """A run of movies to one example for each of its beginnings.

  Before:
    {'titles': ['Heat (1995)', 'Fargo (1996)', 'Alien (1979)'], …}
  After, two examples:
    {'inputs': 'movielens sequence: @ heat (1995) @',
     'targets': 'fargo (1996)'}
    {'inputs': 'movielens sequence: @ heat (1995) @ fargo (1996) @',
     'targets': 'alien (1979)'}

  Args:
    dataset: records of `t5cr_movielens/sequences`.
    min_inputs: the shortest beginning. Paper section 2.3 says both "1-9 related
      movies" (1, the default) and "1 < n < 10" (2).

  Returns:
    The examples of a run in order: 9 for a run of 10 from `min_inputs` 1.
  """

  def beginnings(record: Example) -> Example:
    titles = _lower(record["titles"])
    lengths = tf.range(min_inputs, tf.maximum(tf.size(titles), min_inputs))
    joined = tf.strings.reduce_join(
      tf.gather(titles, tf.ragged.range(lengths)), axis=1, separator=" @ "
    )
    return {
      "inputs": tf.strings.join([SEQUENCE_PREFIX, "@ ", joined, " @"]),
      "targets": tf.gather(titles, lengths),
    }

  runs = dataset.map(beginnings, num_parallel_calls=tf.data.AUTOTUNE)
  return runs.unbatch()


def tags(dataset: tf.data.Dataset, max_tags: int = 5) -> tf.data.Dataset:
  """Some of a movie's tags, drawn anew each epoch, to its title.

  Before:
    {'title': 'The Book Thief (2013)',
     'tags': ['adapted from:book', 'based on a book', 'drama', 'world war ii']}
  After, for instance:
    {'inputs': 'movielens tags: drama, based on a book, adapted from:book',
     'targets': 'the book thief (2013)'}

  How many tags, which and in what order are uniform draws. They follow from
  seqio's seed, the movie and the epoch alone: not from the order of the records
  nor from who reads them, so that a cache or another number of processes gives
  the same draws.

  Args:
    dataset: records of `t5cr_movielens/tags`, each with at least one tag.
    max_tags: the most tags drawn; paper section 2.4 says 1-5.

  Returns:
    One example per movie.
  """
  seed = _seed()

  def draw(record: Example, epoch: tf.Tensor) -> Example:
    count = tf.size(record["tags"])
    # The first number says how many tags, the others put them in order.
    numbers = tf.random.stateless_uniform(
      [count + 1], seed + tf.stack([record["movie_id"], epoch])
    )
    most = tf.cast(tf.minimum(count, max_tags), tf.float32)
    drawn = tf.cast(numbers[0] * most, tf.int32) + 1
    order = tf.argsort(numbers[1:])
    chosen = tf.gather(record["tags"], order[:drawn])
    joined = tf.strings.reduce_join(chosen, separator=", ")
    return {
      "inputs": _lower(TAGS_PREFIX + joined),
      "targets": _lower(record["title"]),
    }

  epochs = _with_epoch(dataset, "movie_id")
  return epochs.map(draw, num_parallel_calls=tf.data.AUTOTUNE)


def _seed() -> tf.Tensor:
  """The next of seqio's seeds, int64 [2]; another each time without a seed."""
  first: Any = seqio.map_over_dataset(lambda _, seed: seed, num_seeds=1)
  return tf.cast(next(iter(first(tf.data.Dataset.range(1)))), tf.int64)


def _with_epoch(dataset: tf.data.Dataset, key: str) -> tf.data.Dataset:
  """Pairs records with their epoch, which seqio does not tell.

  Args:
    dataset: records, over and over; in each epoch the same ones once, in any
      order.
    key: an int64 field that tells them apart.

  Returns:
    Pairs of (record, int64 epoch from 0).
  """

  def count(state: tuple[tf.Tensor, ...], record: Example):
    # The first record that comes again says how many there are.
    position, size, seen = state
    again = tf.reduce_any(seen == record[key])
    size = tf.where(again, position, size)
    seen = tf.cond(
      size > 0, lambda: seen[:0], lambda: tf.concat([seen, [record[key]]], 0)
    )
    epoch = tf.where(size > 0, position // tf.maximum(size, 1), 0)
    return (position + 1, size, seen), (record, epoch)

  none = tf.constant(0, tf.int64)
  return dataset.scan((none, none, tf.zeros([0], tf.int64)), count)


def review(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """A review to one example for each of its sentences.

  Before:
    {'title': 'Alien (1979)', 'sentences': ['Scary.', 'I liked it.'], …}
  After, two examples:
    {'inputs': 'movielens review: review for @ alien (1979) @:',
     'targets': 'scary.'}
    {'inputs': 'movielens review: review for @ alien (1979) @: scary.',
     'targets': 'i liked it.'}

  Args:
    dataset: records of `t5cr_reviews`.

  Returns:
    The examples of a review in order.
  """

  def sentences_in_turn(record: Example) -> Example:
    header = tf.strings.join(["Review for @ ", record["title"], " @:"])
    parts = _lower(tf.concat([[header], record["sentences"]], axis=0))
    positions = tf.range(1, tf.size(parts))
    before = tf.strings.reduce_join(
      tf.gather(parts, tf.ragged.range(positions)), axis=1, separator=" "
    )
    return {
      "inputs": REVIEW_PREFIX + before,
      "targets": tf.gather(parts, positions),
    }

  reviews = dataset.map(sentences_in_turn, num_parallel_calls=tf.data.AUTOTUNE)
  return reviews.unbatch()


def probe(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """A probe's input and target, lowercased; its other fields stay.

  Before:
    {'inputs': 'redial conversation: [User] Can you recommend me a movie like'
               ' @ Heat (1995) @?',
     'targets': 'Sure, have you seen @ Fargo (1996) @?',
     'probe_id': 3, 'candidate': 0, …}
  After:
    {'inputs': 'redial conversation: [user] can you recommend me a movie like'
               ' @ heat (1995) @?',
     'targets': 'sure, have you seen @ fargo (1996) @?',
     'probe_id': 3, 'candidate': 0, …}

  Args:
    dataset: records of `t5cr_probes/<probe>`.

  Returns:
    One example per record.
  """

  def lowercased(record: Example) -> Example:
    return {
      **record,
      "inputs": _lower(record["inputs"]),
      "targets": _lower(record["targets"]),
    }

  return dataset.map(lowercased, num_parallel_calls=tf.data.AUTOTUNE)


@blocks.on_blocks
def append_eos(
  dataset: tf.data.Dataset,
  output_features: Mapping[str, Any],
  sequence_length: Mapping[str, int] | None = None,
  feature_lengths: Mapping[str, int] | None = None,
) -> tf.data.Dataset:
  """Ends inputs and targets with EOS, truncating them to leave room for it.

  Before, with sequence_length {'inputs': 4, 'targets': 4}:
    {'inputs': [7, 8, 9, 10, 11], 'targets': [5]}
  After:
    {'inputs': [7, 8, 9, 1], 'targets': [5, 1]}

  Args:
    dataset: tokenized examples.
    output_features: the task's features, as seqio passes them.
    sequence_length: the run's lengths in tokens, as seqio passes them.
    feature_lengths: the task's own limits in tokens, where it has any; the
      smaller of the two counts.

  Returns:
    The examples, without the stamp of `caching` if they have one.
  """
  lengths = dict(feature_lengths or {})
  for name, length in (sequence_length or {}).items():
    if length is not None:
      lengths[name] = min(length, lengths.get(name, length))

  def ended(example: Example) -> Example:
    return seqio.preprocessors.append_eos_after_trim_impl(
      caching.unstamped(example), output_features, lengths
    )

  return dataset.map(ended, num_parallel_calls=tf.data.AUTOTUNE)


def _lower(text: tf.Tensor) -> tf.Tensor:
  return tf.strings.lower(text, encoding="utf-8")
