"""The engine's batches are seqio's: the same examples in the same order."""

import functools
import itertools

import caches
import numpy as np
import pytest
import seqio

from t5cr.engine import feed
from t5cr.engine.feed import blocks
from t5cr.engine.train_config import TrainData

LENGTHS = {"inputs": 48, "targets": 12}
TASKS = (
  "t5cr_redial_conversation",
  "t5cr_movielens_sequence",
  "t5cr_movielens_tags",
  "t5cr_movielens_review",
)


@pytest.fixture
def cache_dir(tiny_corpus, tmp_path):
  """A folder with caches of all tasks, for this test alone."""
  before = list(seqio.get_global_cache_dirs())
  seqio.add_global_cache_dirs([str(tmp_path)])
  for name in TASKS:
    caches.write(tmp_path, name)
  yield tmp_path
  seqio.set_global_cache_dirs(before)
  for name in TASKS:
    caches.forget(name)


def data(name: str, **settings) -> TrainData:
  return TrainData(name, LENGTHS, batch_size=2, seed=5, **settings)


def seqio_batches(given: TrainData):
  """What upstream t5x trains on."""
  dataset = seqio.get_dataset(
    given.mixture_or_task_name,
    dict(given.task_feature_lengths),
    seqio.EncDecFeatureConverter(pack=given.pack),
    dataset_split=given.split,
    use_cached=given.use_cached,
    shuffle=given.shuffle,
    num_epochs=None,
    shard_info=seqio.ShardInfo(index=0, num_shards=1),
    seed=given.seed,
    batch_size=given.batch_size,
    verbose=False,
  )
  return dataset.as_numpy_iterator()


def assert_same(ours, theirs, count: int) -> None:
  pairs = itertools.islice(zip(ours, theirs, strict=False), count)
  compared = 0
  for left, right in pairs:
    assert left.keys() == right.keys()
    for name in left:
      np.testing.assert_array_equal(left[name], right[name], name)
    compared += 1
  assert compared == count


def batches(iterator):
  while True:
    yield next(iterator)


@pytest.mark.parametrize(
  ("name", "use_cached"), [("t5cr_redial_tags", True), ("t5cr_all", False)]
)
def test_a_mixture_is_that_of_seqio(cache_dir, name, use_cached):
  given = data(name, use_cached=use_cached)
  ours = batches(feed.train_batches(given))
  assert_same(ours, seqio_batches(given), 40)


@pytest.mark.parametrize("use_cached", [True, False])
def test_one_example_a_row_in_the_stored_order(cache_dir, use_cached):
  settings = {"pack": False, "shuffle": False, "use_cached": use_cached}
  given = data("t5cr_redial_conversation", **settings)
  ours = batches(feed.train_batches(given))
  assert_same(ours, seqio_batches(given), 10)


@pytest.mark.parametrize(
  ("name", "use_cached"),
  [(TASKS[0], False), (TASKS[1], True), (TASKS[2], True)],
)
def test_the_tasks_here_are_made_in_blocks(cache_dir, name, use_cached):
  request = blocks.Request(
    split="train",
    use_cached=use_cached,
    shuffle=True,
    seed=0,
    num_epochs=None,
    lengths=LENGTHS,
    threads=1,
  )
  assert blocks._blocks(seqio.TaskRegistry.get(name), request) is not None


def test_a_position_can_be_kept(cache_dir):
  given = data("t5cr_redial_tags", use_cached=True)
  first = feed.train_batches(given)
  for _ in range(7):
    next(first)
  first.save(cache_dir / "position")
  expected = [next(first) for _ in range(20)]
  second = feed.train_batches(given)
  second.restore(cache_dir / "position")
  assert_same(batches(second), iter(expected), 20)


def test_a_cache_of_another_vocabulary_is_refused(
  cache_dir, tiny_corpus, tmp_path_factory, monkeypatch
):
  from t5cr_tasks import vocabulary
  from t5cr_tasks.errors import DataError

  other = tmp_path_factory.mktemp("vocabulary") / "spm.model"
  vocabulary.train(tiny_corpus, other, size=200)
  monkeypatch.setenv(vocabulary.ENVIRONMENT_VARIABLE, str(other))
  with pytest.raises(DataError, match="another vocabulary"):
    feed.train_batches(data("t5cr_movielens_review", use_cached=True))


@pytest.fixture
def add_task():
  """Registers tasks for one test."""
  names = []

  def add(name, **settings):
    names.append(name)
    return seqio.TaskRegistry.add(name, **settings)

  yield add
  for name in names:
    seqio.TaskRegistry.remove(name)


def text(split, shuffle_files, seed=None):
  import tensorflow as tf

  del split, shuffle_files, seed
  words = ["ape", "bee cat", "dog eel fox", "gnu"] * 5
  columns = {"inputs": words, "targets": words[::-1], "number": list(range(20))}
  return tf.data.Dataset.from_tensor_slices(columns)


@seqio.map_over_dataset(num_seeds=1)
def drawn(example, seed):
  import tensorflow as tf

  cut = tf.random.stateless_uniform([], seed, 0, 2, tf.int32)
  return {**example, "inputs": tf.strings.substr(example["inputs"], cut, 9)}


@seqio.map_over_dataset
def shortened(example):
  """A step that knows nothing of blocks."""
  return {**example, "targets": example["targets"][:1]}


STEPS = seqio.preprocessors
PLACEHOLDER = seqio.CacheDatasetPlaceholder()


@pytest.mark.parametrize(
  "steps",
  [
    [drawn, STEPS.tokenize, STEPS.append_eos_after_trim],
    [STEPS.tokenize, PLACEHOLDER, STEPS.append_eos],
    [drawn, PLACEHOLDER, drawn, STEPS.tokenize, STEPS.append_eos],
    [PLACEHOLDER, STEPS.tokenize, shortened],
    [STEPS.tokenize],
    [functools.partial(STEPS.tokenize, with_eos=True)],
  ],
  ids=lambda steps: f"{len(steps)} steps",
)
@pytest.mark.parametrize("kind", ["sentencepiece", "byte"])
def test_tasks_of_other_projects_are_those_of_seqio(
  tiny_corpus, tiny_vocabulary, add_task, steps, kind
):
  vocabularies = {
    "sentencepiece": lambda: seqio.SentencePieceVocabulary(
      str(tiny_vocabulary)
    ),
    "byte": seqio.ByteVocabulary,
  }
  feature = seqio.Feature(vocabularies[kind](), add_eos=True)
  add_task(
    "their_task",
    source=seqio.FunctionDataSource(text, splits=["train"]),
    preprocessors=steps,
    output_features={"inputs": feature, "targets": feature},
  )
  given = data("their_task")
  assert_same(batches(feed.train_batches(given)), seqio_batches(given), 12)
