import collections

import pytest
import seqio
import tensorflow_datasets as tfds

import t5cr_tasks  # noqa: F401 (registers the mixtures)

CONVERSATION = "t5cr_redial_conversation"
SEQUENCE = "t5cr_movielens_sequence"
TAGS = "t5cr_movielens_tags"
REVIEW = "t5cr_movielens_review"


@pytest.mark.parametrize(
  ("name", "tasks"),
  [
    ("t5cr_redial", {CONVERSATION}),
    ("t5cr_redial_sequence", {CONVERSATION, SEQUENCE}),
    ("t5cr_redial_tags", {CONVERSATION, TAGS}),
    ("t5cr_redial_review", {CONVERSATION, REVIEW}),
    ("t5cr_all", {CONVERSATION, SEQUENCE, TAGS, REVIEW}),
  ],
)
def test_mixtures_are_the_rows_of_table_3(name, tasks):
  mixture = seqio.get_mixture_or_task(name)
  assert {task.name for task in mixture.tasks} == tasks
  assert {mixture.get_rate(task) for task in mixture.tasks} == {1.0}


def test_probes_are_the_columns_of_table_3():
  mixture = seqio.get_mixture_or_task("t5cr_probes")
  assert {task.name for task in mixture.tasks} == {
    f"t5cr_probe_{probe}"
    for probe in ("recommendation", "attribute", "combination", "description")
  }
  for task in mixture.tasks:
    assert list(task.splits) == ["validation"]
    assert task.score_metric_fns


def test_phrasings_are_of_the_columns_of_table_3():
  phrased = seqio.get_mixture_or_task("t5cr_probe_phrasings")
  probes = seqio.get_mixture_or_task("t5cr_probes")
  assert {task.name for task in phrased.tasks} == {
    f"{task.name}_phrasings" for task in probes.tasks
  }


def test_tasks_come_equally_often(tiny_corpus):
  dataset = seqio.get_mixture_or_task("t5cr_all").get_dataset(
    {"inputs": 64, "targets": 32}, "train", num_epochs=None, seed=0
  )
  vocabulary = (
    seqio.get_mixture_or_task("t5cr_all").output_features["inputs"].vocabulary
  )
  prefixes = collections.Counter(
    vocabulary.decode(example["inputs"].tolist()).partition(":")[0]
    for example in tfds.as_numpy(dataset.take(800))
  )
  # 800 draws of 4 equally likely tasks: 200 each, standard deviation 12.
  assert set(prefixes) == {
    "redial conversation",
    "movielens sequence",
    "movielens tags",
    "movielens review",
  }
  assert min(prefixes.values()) > 150


def test_a_seed_fixes_the_order_of_a_mixture(tiny_corpus):
  def first(seed: int) -> list[list[int]]:
    dataset = seqio.get_mixture_or_task("t5cr_redial_tags").get_dataset(
      {"inputs": 64, "targets": 32}, "train", num_epochs=1, seed=seed
    )
    return [
      example["inputs"].tolist() for example in tfds.as_numpy(dataset.take(30))
    ]

  assert first(1) == first(1)
  assert first(1) != first(2)


def test_mixtures_pack_into_model_features(tiny_corpus):
  lengths = {"inputs": 128, "targets": 64}
  dataset = seqio.get_dataset(
    "t5cr_redial_sequence",
    lengths,
    seqio.EncDecFeatureConverter(pack=True),
    shuffle=True,
    num_epochs=2,
    seed=0,
    batch_size=1,
  )
  batch = next(iter(tfds.as_numpy(dataset)))
  assert batch["encoder_input_tokens"].shape == (1, 128)
  assert batch["decoder_target_tokens"].shape == (1, 64)
  assert batch["encoder_segment_ids"].max() > 1
