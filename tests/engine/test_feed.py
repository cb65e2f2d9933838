"""Batches: packed as seqio packs, reproducible, resumable at any place."""

import json

import numpy as np
import pytest
import tiny

from t5cr import errors
from t5cr.engine import feed, vocabulary
from t5cr.engine.train_config import TrainData

DATA = TrainData("tiny_mixture", tiny.LENGTHS, batch_size=4, seed=3)


@pytest.fixture(scope="module", autouse=True)
def tasks():
  tiny.register()


def take(iterator, count):
  return [next(iterator) for _ in range(count)]


def assert_same(a, b):
  for left, right in zip(a, b, strict=True):
    assert left.keys() == right.keys()
    for name in left:
      np.testing.assert_array_equal(left[name], right[name])


@pytest.fixture(scope="module")
def reference(tasks):
  """Batches of several passes over the data."""
  return take(feed.train_batches(DATA), 40)


def test_batches_have_the_features_of_a_packed_encoder_decoder(reference):
  lengths = {"encoder": 32, "decoder": 16}
  assert set(reference[0]) == {
    "encoder_input_tokens",
    "decoder_input_tokens",
    "decoder_target_tokens",
    "decoder_loss_weights",
    "encoder_segment_ids",
    "decoder_segment_ids",
    "encoder_positions",
    "decoder_positions",
  }
  for name, array in reference[0].items():
    assert array.dtype == np.int32
    assert array.shape == (4, lengths[name.split("_")[0]])
  assert reference[0]["encoder_segment_ids"].max() > 1


def test_segments_hold_whole_examples(reference):
  """Each segment's target is the first word of its input, as in the tasks."""
  vocabulary = feed.provider("tiny_copy").output_features["inputs"].vocabulary
  row = {name: array[0] for name, array in reference[0].items()}
  segments = row["encoder_segment_ids"].max()
  assert segments == row["decoder_segment_ids"].max() >= 2
  for segment in range(1, segments + 1):
    inputs, targets = (
      vocabulary.decode(
        row[tokens][row[f"{side}_segment_ids"] == segment].tolist()
      )
      for side, tokens in (
        ("encoder", "encoder_input_tokens"),
        ("decoder", "decoder_target_tokens"),
      )
    )
    assert inputs.split()[0] == targets or targets.endswith(inputs.split()[0])


def test_the_same_seed_gives_the_same_batches(reference):
  assert_same(take(feed.train_batches(DATA), 10), reference[:10])


def test_another_seed_gives_other_batches(reference):
  other = TrainData("tiny_mixture", tiny.LENGTHS, batch_size=4, seed=4)
  (batch,) = take(feed.train_batches(other), 1)
  assert not np.array_equal(
    batch["encoder_input_tokens"], reference[0]["encoder_input_tokens"]
  )


@pytest.mark.parametrize("position", [0, 1, 17])
def test_a_saved_position_is_that_of_the_last_batch_taken(
  tmp_path, reference, position
):
  first = feed.train_batches(DATA)
  take(first, position)
  first.save(tmp_path / "position")
  second = feed.train_batches(DATA)
  take(second, 2)
  second.restore(tmp_path / "position")
  assert_same(take(second, 40 - position), reference[position:])


def test_saving_does_not_disturb(tmp_path, reference):
  iterator = feed.train_batches(DATA)
  take(iterator, 5)
  iterator.save(tmp_path / "position")
  assert_same(take(iterator, 10), reference[5:15])


def test_without_packing_a_row_is_an_example():
  data = TrainData(
    "tiny_score", tiny.LENGTHS, batch_size=2, pack=False, shuffle=False
  )
  (batch,) = take(feed.train_batches(data), 1)
  inputs, _ = tiny.pairs("train")[0]
  expected = [byte + 3 for byte in inputs.encode()] + [1]
  assert batch["encoder_input_tokens"][0, : len(expected)].tolist() == expected
  assert not batch["encoder_input_tokens"][0, len(expected) :].any()
  assert "encoder_segment_ids" not in batch


def test_an_unknown_name_comes_with_the_nearest():
  with pytest.raises(errors.UsageError, match="'tiny_mixtrue'.*tiny_mixture"):
    feed.provider("tiny_mixtrue")


def test_expand_takes_names_mixtures_and_patterns_once():
  assert feed.expand(["tiny_score", "tiny_mixture"], "validation") == [
    "tiny_score",
    "tiny_copy",
  ]
  assert feed.expand(["tiny_*"], "validation") == ["tiny_copy", "tiny_score"]
  assert feed.expand(["tiny_*"], "test") == []


@pytest.mark.parametrize(
  ("name", "split", "message"),
  [
    ("tiny_silent", "validation", "tiny_silent.*no metrics"),
    ("tiny_copy", "test", "no split 'test', only train, validation"),
    ("tiny_kopy", "validation", "tiny_copy"),
  ],
)
def test_a_name_that_cannot_be_evaluated_is_refused(name, split, message):
  with pytest.raises(errors.UsageError, match=message):
    feed.expand([name], split)


def test_a_split_that_is_not_there_cannot_be_trained_on():
  with pytest.raises(errors.UsageError, match="'test', only train, valid"):
    feed.check_trainable("tiny_mixture", "test")


def test_an_embedding_has_rows_for_the_vocabulary_and_some_more():
  assert feed.vocabulary_size("tiny_mixture") == 259
  assert vocabulary.embedding_rows(259) == vocabulary.embedding_rows(384) == 384


def test_data_that_is_not_built_is_named(tmp_path):
  import seqio

  features = feed.provider("tiny_copy").output_features
  seqio.TaskRegistry.add(
    "absent_task",
    source=seqio.TfdsDataSource(
      "absent_data:1.0.0", splits=["train"], tfds_data_dir=str(tmp_path)
    ),
    preprocessors=[],
    output_features=features,
  )
  try:
    assert not feed.is_built("absent_task")
    data = TrainData("absent_task", tiny.LENGTHS, batch_size=4)
    with pytest.raises(
      errors.UsageError, match="absent_data:1.0.0.*t5cr data build"
    ):
      feed.train_batches(data)
  finally:
    seqio.TaskRegistry.remove("absent_task")


def build(folder, fingerprint):
  """A small TFDS data set whose build wrote a fingerprint."""
  import tensorflow as tf
  import tensorflow_datasets as tfds

  builder = tfds.dataset_builders.store_as_tfds_dataset(
    name="feed_data",
    version="1.0.0",
    data_dir=str(folder),
    features=tfds.features.FeaturesDict({"inputs": tf.string}),
    split_datasets={"train": [(0, {"inputs": "a"})]},
  )
  about = json.dumps({"fingerprint": fingerprint})
  (builder.data_path / "metadata.json").write_text(about)
  return str(folder)


def fingerprint_in(folder, source_class):
  import seqio

  seqio.TaskRegistry.add(
    "feed_built",
    source=source_class(
      "feed_data:1.0.0", splits=["train"], tfds_data_dir=folder
    ),
    preprocessors=[],
    output_features=feed.provider("tiny_copy").output_features,
  )
  try:
    return feed.fingerprints(["feed_built"])["feed_data:1.0.0"]
  finally:
    seqio.TaskRegistry.remove("feed_built")


def test_a_source_tells_its_own_fingerprint(tmp_path):
  from t5cr_tasks import sources

  folder = build(tmp_path, "x")
  assert fingerprint_in(folder, sources.BuiltDataSource) == "x"


def test_another_source_has_that_of_its_description(tmp_path):
  import seqio

  first, other = (build(tmp_path / name, name) for name in ("x", "y"))
  known = fingerprint_in(first, seqio.TfdsDataSource)
  assert len(known) == 64
  assert known == fingerprint_in(first, seqio.TfdsDataSource)
  assert known != fingerprint_in(other, seqio.TfdsDataSource)


def test_a_data_folder_that_is_not_there_is_refused(tmp_path):
  with pytest.raises(errors.UsageError, match="--tfds_data_dir.*nowhere"):
    feed.use_data_dir(tmp_path / "nowhere")


def test_a_task_module_that_is_not_there_is_refused():
  with pytest.raises(errors.UsageError, match="MIXTURE_OR_TASK_MODULE"):
    feed.import_tasks("no_such_tasks")


def test_evaluator_hands_over_every_example_once():
  evaluator = feed.evaluator(
    "tiny_score",
    output_dir=None,
    task_feature_lengths=tiny.LENGTHS,
    split="validation",
  )
  found = feed.examples(evaluator.cached_model_datasets["tiny_score"])
  assert found.indices == list(range(7))
  vocabulary = feed.provider("tiny_score").output_features["inputs"].vocabulary
  texts = [
    (vocabulary.decode(i), vocabulary.decode(t))
    for i, t in zip(found.inputs, found.targets, strict=True)
  ]
  assert texts == tiny.pairs("validation")
  assert all(tokens[-1] == 1 for tokens in found.inputs + found.targets)


def test_records_keep_text_and_other_fields():
  fields, tokens = feed.records(
    "tiny_score",
    task_feature_lengths=tiny.LENGTHS,
    split="validation",
    num_examples=3,
  )
  inputs, targets = tiny.pairs("validation")[2]
  assert len(fields) == 3
  assert fields[2] == {
    "inputs_pretokenized": inputs,
    "targets_pretokenized": targets,
    "number": 2,
  }
  assert feed.detokenize("tiny_score", tokens.inputs)[2] == inputs


def log(folder, step, value, prediction):
  import seqio
  import tensorflow as tf

  feed.JSONLogger(str(folder))(
    task_name="tiny_copy",
    step=step,
    metrics={"exact": seqio.metrics.Scalar(value)},
    dataset=tf.data.Dataset.from_tensors({"inputs_pretokenized": "a"}),
    inferences={"prediction": [prediction]},
    targets=["a"],
  )


def test_logger_writes_the_files_of_seqio_and_replaces_a_step(tmp_path):
  for step, value, prediction in [(10, 0.5, "b"), (20, 0.6, "c"), (10, 1, "a")]:
    log(tmp_path, step, value, prediction)
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    "tiny_copy-000010.jsonl",
    "tiny_copy-000020.jsonl",
    "tiny_copy-metrics.jsonl",
  ]
  lines = (tmp_path / "tiny_copy-metrics.jsonl").read_text().splitlines()
  assert [json.loads(line) for line in lines] == [
    {"step": 20, "exact": 0.6},
    {"step": 10, "exact": 1},
  ]
  record = json.loads((tmp_path / "tiny_copy-000010.jsonl").read_text())
  assert record == {
    "input": {"inputs_pretokenized": "a"},
    "target": "a",
    "prediction": "a",
  }
