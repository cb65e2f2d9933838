"""Cached tasks give the same examples, and refuse what does not belong."""

import collections
import json
import os

import caches
import pytest
import seqio

import t5cr_tasks
from t5cr_tasks import caching, vocabulary
from t5cr_tasks.errors import DataError

TAGS = "t5cr_movielens_tags"
REVIEW = "t5cr_movielens_review"
# The tasks whose data the tiny corpus has.
TASKS = (
  "t5cr_redial_conversation",
  "t5cr_movielens_sequence",
  TAGS,
  REVIEW,
  "t5cr_probe_recommendation",
)


@pytest.fixture
def cache_dir(tiny_corpus, tmp_path):
  """An empty folder that seqio looks into, for this test alone."""
  before = list(seqio.get_global_cache_dirs())
  seqio.add_global_cache_dirs([str(tmp_path)])
  yield tmp_path
  seqio.set_global_cache_dirs(before)
  for name in seqio.TaskRegistry.names():
    caches.forget(name)


@pytest.mark.parametrize("name", TASKS)
def test_cached_examples_are_the_same(name, cache_dir):
  caches.write(cache_dir, name)
  caches.assert_same(name)


def test_fields_of_any_length_survive(cache_dir):
  name = "t5cr_redial_conversation"
  caches.write(cache_dir, name)
  examples = [json.loads(e) for e in caches.examples(name, "validation", True)]
  assert sorted(example["recommended"] for example in examples) == [
    [],
    ["Airplane! (1980)", "The Naked Gun (1988)"],
  ]
  assert {example["turn"] for example in examples} == {1, 3}


def test_cached_tokens_are_of_the_shapes_of_fresh_ones(cache_dir):
  for name in TASKS:
    caches.write(cache_dir, name)
    task = seqio.TaskRegistry.get(name)
    split = task.splits[0]
    cached, fresh = (
      task.get_dataset(
        caches.LENGTHS, split, use_cached=use_cached, shuffle=False
      ).element_spec
      for use_cached in (True, False)
    )
    assert cached == fresh


def test_a_cache_does_not_freeze_the_draw_of_tags(cache_dir):
  caches.write(cache_dir, TAGS)
  count = len(caches.examples(TAGS, "train", False))

  def epochs(use_cached: bool, seed: int) -> list[list[str]]:
    drawn = caches.examples(
      TAGS, "train", use_cached, seed=seed, num_epochs=30, shuffle=False
    )
    return [
      sorted(drawn[count * epoch : count * (epoch + 1)]) for epoch in range(30)
    ]

  cached = epochs(True, 3)
  assert len({tuple(epoch) for epoch in cached}) > 15
  assert cached == epochs(False, 3)
  assert cached != epochs(True, 4)


def test_shuffled_epochs_draw_the_same_tags(cache_dir):
  caches.write(cache_dir, TAGS)

  def drawn(use_cached: bool) -> collections.Counter:
    return collections.Counter(
      caches.examples(
        TAGS, "train", use_cached, seed=5, num_epochs=10, shuffle=True
      )
    )

  assert drawn(True) == drawn(False)


def test_a_mixture_reads_caches(cache_dir):
  for name in TASKS[:4]:
    caches.write(cache_dir, name)
  dataset = seqio.get_dataset(
    "t5cr_all",
    {"inputs": 64, "targets": 32},
    seqio.EncDecFeatureConverter(pack=True),
    use_cached=True,
    num_epochs=2,
    seed=0,
    batch_size=1,
  )
  batch = next(iter(dataset.as_numpy_iterator()))
  assert batch["encoder_segment_ids"].max() > 1


def test_cached_probes_are_scored_the_same(cache_dir):
  name = "t5cr_probe_recommendation"
  caches.write(cache_dir, name)

  def score(dataset):
    # Any function of the tokens, so that the order must not matter.
    return [
      (int(index), -float(example["decoder_target_tokens"].sum()))
      for index, example in dataset.as_numpy_iterator()
    ]

  def metrics(use_cached: bool) -> dict:
    evaluator = seqio.Evaluator(
      name,
      seqio.EncDecFeatureConverter(pack=False),
      sequence_length={"inputs": 64, "targets": 32},
      use_cached=use_cached,
    )
    result, _ = evaluator.evaluate(compute_metrics=True, score_fn=score)
    return result.result()[name]

  assert metrics(True) == metrics(False)
  assert metrics(True)["count"] == 1


def test_a_cache_of_another_vocabulary_is_refused(
  cache_dir, tiny_corpus, tmp_path_factory, monkeypatch
):
  caches.write(cache_dir, REVIEW)
  caches.write(cache_dir, TAGS)
  other = tmp_path_factory.mktemp("vocabulary") / "spm.model"
  vocabulary.train(tiny_corpus, other, size=200)
  monkeypatch.setenv(vocabulary.ENVIRONMENT_VARIABLE, str(other))
  with pytest.raises(DataError, match="another vocabulary") as caught:
    caches.examples(REVIEW, "train", True)
  assert REVIEW in str(caught.value)
  assert str(cache_dir) in str(caught.value)
  assert "T5CR_VOCABULARY" in str(caught.value)
  # The cache of this task holds text, which suits any vocabulary.
  caches.assert_same(TAGS)


def test_the_same_vocabulary_elsewhere_is_read(
  cache_dir, tiny_vocabulary, tmp_path_factory, monkeypatch
):
  caches.write(cache_dir, REVIEW)
  copy = tmp_path_factory.mktemp("vocabulary") / "copy.model"
  copy.write_bytes(tiny_vocabulary.read_bytes())
  monkeypatch.setenv(vocabulary.ENVIRONMENT_VARIABLE, str(copy))
  caches.assert_same(REVIEW)


def test_a_cache_of_another_data_set_is_refused(
  cache_dir, tiny_corpus, tmp_path_factory
):
  caches.write(cache_dir, REVIEW)
  cached = caches.examples(REVIEW, "train", True)
  moved = tmp_path_factory.mktemp("tfds")
  seqio.set_tfds_data_dir_override(str(moved))
  # A machine that has the cache need not have the data.
  assert caches.examples(REVIEW, "train", True) == cached

  source = os.path.join(tiny_corpus, "t5cr_reviews")
  folder = moved / "t5cr_reviews" / "1.0.0"
  folder.mkdir(parents=True)
  for path in os.scandir(os.path.join(source, "1.0.0")):
    with open(path, "rb") as file:
      (folder / path.name).write_bytes(file.read())
  info = json.loads((folder / "dataset_info.json").read_text())
  info["description"] = "Other reviews."
  (folder / "dataset_info.json").write_text(json.dumps(info))
  with pytest.raises(DataError, match="another data set"):
    caches.examples(REVIEW, "train", True)


def test_a_cache_without_a_stamp_is_refused(cache_dir):
  folder = caches.write(cache_dir, REVIEW)
  path = folder / "info.train.json"
  info = json.loads(path.read_text())
  (stamp,) = (f for f in info["features"] if f.startswith(caching.STAMP))
  del info["features"][stamp]
  path.write_text(json.dumps(info))
  with pytest.raises(DataError, match="not written by this version"):
    caches.examples(REVIEW, "train", True)


def test_caching_is_never_required(tiny_corpus):
  for name in t5cr_tasks.tasks.TASKS:
    task = seqio.TaskRegistry.get(name)
    assert task.supports_caching
    assert not task.requires_caching


@pytest.mark.parametrize(
  ("left", "right", "same"),
  [
    (seqio.ByteVocabulary(), seqio.ByteVocabulary(), True),
    (seqio.ByteVocabulary(), seqio.ByteVocabulary(extra_ids=100), False),
    (seqio.ByteVocabulary(), seqio.FullCodepointVocabulary(), False),
  ],
)
def test_vocabularies_are_told_apart(left, right, same):
  fingerprints = map(caching.vocabulary_fingerprint, (left, right))
  assert (len(set(fingerprints)) == 1) == same


def test_the_engine_asks_for_caches_before_it_starts(cache_dir):
  from t5cr import errors
  from t5cr.engine import feed

  caches.write(cache_dir, TAGS)
  feed.check_cached([TAGS], use_cached=True)
  feed.check_cached(["t5cr_redial_tags"], use_cached=False)
  with pytest.raises(errors.UsageError, match="USE_CACHED_TASKS") as caught:
    feed.check_cached(["t5cr_redial_tags"], use_cached=True)
  assert "no cache of t5cr_redial_conversation (" in str(caught.value)
  assert str(cache_dir) in str(caught.value)
