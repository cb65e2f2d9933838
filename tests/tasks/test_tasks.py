import json
import pathlib
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import seqio
import tensorflow_datasets as tfds

import t5cr_tasks
from t5cr_tasks import tasks
from t5cr_tasks.datasets.probes import T5crProbes
from t5cr_tasks.errors import DataError
from t5cr_tasks.probes import build

LENGTHS = {"inputs": 512, "targets": 128}
VERSION = T5crProbes.VERSION


def test_all_tasks_are_registered():
  assert set(tasks.TASKS) == {
    "t5cr_redial_conversation",
    "t5cr_movielens_sequence",
    "t5cr_movielens_tags",
    "t5cr_movielens_review",
    "t5cr_probe_recommendation",
    "t5cr_probe_attribute",
    "t5cr_probe_combination",
    "t5cr_probe_description",
    "t5cr_probe_recommendation_sequence",
    "t5cr_probe_recommendation_phrasings",
    "t5cr_probe_attribute_phrasings",
    "t5cr_probe_combination_phrasings",
    "t5cr_probe_description_phrasings",
  }
  assert set(tasks.TASKS) <= set(seqio.TaskRegistry.names())


def test_every_probe_set_has_a_task():
  names = {f"t5cr_probes/{name}:{VERSION}": name for name in build.SETS}
  found = {
    spec.tfds_name: name.removeprefix("t5cr_probe_")
    for name, spec in tasks.TASKS.items()
    if name.startswith("t5cr_probe_")
  }
  assert found == names


def test_probe_tasks_read_scores_and_dialogues_read_predictions():
  for name in tasks.TASKS:
    task = seqio.TaskRegistry.get(name)
    assert bool(task.score_metric_fns) == ("probe" in name)
    assert bool(task.predict_metric_fns) == (name == "t5cr_redial_conversation")


# Names what happens to a file that is neither code nor the system's, and to
# every TensorFlow file call and connection, while the tasks are imported.
_IMPORT = """
import os, socket, sys
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

def refuse(*args, **kwargs):
  raise AssertionError(f"access while importing: {args}")

def audit(event, args):
  if event.startswith("socket.") and event != "socket.__new__":
    refuse(event, args)
  if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
    path = os.path.realpath(os.fsdecode(args[0]))
    code = path.endswith((".py", ".pyc", ".so")) or "site-packages" in path
    if not code and not path.startswith(("/proc", "/sys", "/dev")):
      refuse(event, path)

for name in dir(tf.io.gfile):
  if not name.startswith("_"):
    setattr(tf.io.gfile, name, refuse)
tfds.builder = tfds.load = refuse
os.environ["T5CR_VOCABULARY"] = "/nowhere/vocabulary.model"
sys.addaudithook(audit)

import t5cr_tasks
t5cr_tasks.register()
assert "t5cr_redial_conversation" in seqio.TaskRegistry.names()
assert "t5cr_all" in seqio.MixtureRegistry.names()
assert not {"nltk", "polars", "apache_beam"} & set(sys.modules)
print("imported")
"""


def test_import_reads_no_file_and_opens_no_connection(repository):
  done = subprocess.run(
    [sys.executable, "-c", textwrap.dedent(_IMPORT)],
    capture_output=True,
    text=True,
    cwd=repository,
  )
  assert done.stdout == "imported\n", done.stderr[-2000:]


def _texts(name: str, split: str) -> list[tuple[str, str]]:
  dataset = seqio.TaskRegistry.get(name).get_dataset(
    LENGTHS, split, shuffle=False, seed=0
  )
  return [
    (
      example["inputs_pretokenized"].decode(),
      example["targets_pretokenized"].decode(),
    )
    for example in tfds.as_numpy(dataset)
  ]


@pytest.mark.parametrize(
  ("name", "split", "count", "inputs", "targets"),
  [
    (
      "t5cr_redial_conversation",
      "train",
      2,
      "redial conversation: [user] hi! [assistant] hello. what do you like?"
      " [user] comedies",
      "did you see @ airplane! (1980) @ ?",
    ),
    (
      "t5cr_movielens_sequence",
      "train",
      18,
      "movielens sequence: @ movie a (1990) @",
      "movie b (1990)",
    ),
    (
      "t5cr_movielens_review",
      "train",
      3,
      "movielens review: review for @ alien (1979) @:",
      "scary.",
    ),
    (
      "t5cr_probe_recommendation",
      "validation",
      2,
      "redial conversation: [user] a movie like @ heat (1995) @?",
      "sure: @ fargo (1996) @?",
    ),
  ],
)
def test_task_reads_its_data_set(
  name, split, count, inputs, targets, tiny_corpus
):
  texts = _texts(name, split)
  assert len(texts) == count
  assert (inputs, targets) in texts


def test_tags_task_draws_anew_each_epoch_and_the_same_with_a_seed(tiny_corpus):
  task = seqio.TaskRegistry.get("t5cr_movielens_tags")

  def epochs() -> list[bytes]:
    dataset = task.get_dataset(
      LENGTHS, "train", shuffle=False, seed=3, num_epochs=8
    )
    examples = list(tfds.as_numpy(dataset))
    return [example["inputs_pretokenized"] for example in examples[::2]]

  assert len(set(epochs())) > 1
  assert epochs() == epochs()


def test_tokens_end_in_eos_and_decode_to_the_text(tiny_corpus):
  task = seqio.TaskRegistry.get("t5cr_redial_conversation")
  example = next(
    tfds.as_numpy(
      task.get_dataset(LENGTHS, "train", shuffle=False).take(1)
    ).__iter__()
  )
  assert set(task.output_features) == {"inputs", "targets"}
  for name, feature in task.output_features.items():
    ids = example[name].tolist()
    assert ids[-1] == 1
    assert ids.count(1) == 1
    text = example[f"{name}_pretokenized"].decode()
    assert feature.vocabulary.decode(ids) == text


def test_long_text_is_truncated_and_still_ends_in_eos(tiny_corpus):
  task = seqio.TaskRegistry.get("t5cr_movielens_sequence")
  dataset = task.get_dataset(
    {"inputs": 5, "targets": 2}, "train", shuffle=False
  )
  examples = list(tfds.as_numpy(dataset))
  assert len(examples) == 18  # nine of each run of ten movies
  for example in examples:
    assert len(example["inputs"]) == 5
    assert len(example["targets"]) == 2
    assert example["inputs"][-1] == example["targets"][-1] == 1


def test_tasks_shard_between_processes(tiny_corpus):
  task = seqio.TaskRegistry.get("t5cr_redial_conversation")
  shards = [
    list(
      task.get_dataset(
        LENGTHS,
        "train",
        shuffle=False,
        shard_info=seqio.ShardInfo(index=index, num_shards=2),
      ).as_numpy_iterator()
    )
    for index in range(2)
  ]
  ids = [[example["dialogue_id"] for example in shard] for shard in shards]
  assert ids == [[b"7"], [b"8"]]


def test_another_data_directory_is_followed(tiny_corpus, tmp_path):
  task = seqio.TaskRegistry.get("t5cr_movielens_review")
  assert task.num_input_examples("train") == 1
  seqio.set_tfds_data_dir_override(str(tmp_path))
  with pytest.raises(
    DataError,
    match=r"t5cr_reviews:1\.0\.0 is not built.*t5cr data build",
  ) as caught:
    task.get_dataset(LENGTHS, "train")
  assert str(tmp_path) in str(caught.value)
  seqio.set_tfds_data_dir_override(tiny_corpus)
  assert task.num_input_examples("train") == 1


def test_data_of_an_older_version_asks_to_be_built_anew(tiny_corpus, tmp_path):
  new = pathlib.Path(tiny_corpus, "t5cr_probes", "recommendation", "1.1.0")
  old = tmp_path / "t5cr_probes" / "recommendation" / "1.0.0"
  shutil.copytree(new, old)
  info = json.loads((old / "dataset_info.json").read_text())
  (old / "dataset_info.json").write_text(
    json.dumps(info | {"version": "1.0.0"})
  )
  seqio.set_tfds_data_dir_override(str(tmp_path))
  source = seqio.TaskRegistry.get("t5cr_probe_recommendation").source
  assert source.other_versions() == ["1.0.0"]
  with pytest.raises(
    DataError, match="recommendation holds version 1.0.0.*t5cr probes build"
  ):
    seqio.TaskRegistry.get("t5cr_probe_recommendation").get_dataset(
      LENGTHS, "validation"
    )


def test_registering_twice_changes_nothing():
  names = set(seqio.TaskRegistry.names()) | set(seqio.MixtureRegistry.names())
  task = seqio.TaskRegistry.get("t5cr_movielens_tags")
  assert set(t5cr_tasks.register()) <= names
  assert seqio.TaskRegistry.get("t5cr_movielens_tags") is task
  assert names == (
    set(seqio.TaskRegistry.names()) | set(seqio.MixtureRegistry.names())
  )


def test_a_project_registers_its_own_copies(tiny_corpus):
  names = t5cr_tasks.register(
    prefix="bytes_",
    vocabulary=seqio.ByteVocabulary(),
    feature_lengths={"inputs": 20, "targets": 4},
  )
  assert "bytes_t5cr_movielens_review" in names
  assert "bytes_t5cr_all" in names
  mixture = seqio.get_mixture_or_task("bytes_t5cr_redial_review")
  assert {task.name for task in mixture.tasks} == {
    "bytes_t5cr_redial_conversation",
    "bytes_t5cr_movielens_review",
  }
  task = seqio.TaskRegistry.get("bytes_t5cr_movielens_review")
  example = next(iter(task.get_dataset(LENGTHS, "train", shuffle=False)))
  vocabulary = seqio.ByteVocabulary()
  assert vocabulary.decode(example["inputs"]) == "movielens review: r"
  assert example["inputs"].shape == (20,)
  assert vocabulary.decode(example["targets"]) == "sca"


def test_one_name_cannot_have_two_vocabularies():
  with pytest.raises(DataError, match="another prefix"):
    t5cr_tasks.register(vocabulary=seqio.ByteVocabulary())


def test_one_name_cannot_have_two_lengths():
  with pytest.raises(DataError, match="feature_lengths.*another prefix"):
    t5cr_tasks.register(feature_lengths={"inputs": 5, "targets": 5})


@pytest.mark.parametrize(
  ("lengths", "told"),
  [
    ({"input": 5}, "no feature 'input'"),
    ({"inputs": 5, "target": 5}, "no feature 'target'"),
    ({"inputs": 0}, "'inputs' is 0"),
    ({"targets": 1.5}, "'targets' is 1.5"),
    ({"targets": True}, "'targets' is True"),
    ({"targets": "64"}, "'targets' is '64'"),
  ],
)
def test_lengths_that_would_cut_nothing_are_told(lengths, told):
  before = list(seqio.TaskRegistry.names())
  with pytest.raises(DataError, match=f"feature_lengths.*{told}"):
    t5cr_tasks.register("wrong_lengths_", feature_lengths=lengths)
  assert list(seqio.TaskRegistry.names()) == before


def _evaluator(name: str, folder: pathlib.Path) -> seqio.Evaluator:
  return seqio.Evaluator(
    name,
    seqio.EncDecFeatureConverter(pack=False),
    sequence_length=LENGTHS,
    logger_cls=[seqio.JSONLogger],
    log_dir=str(folder),
  )


def _lines(path: pathlib.Path) -> list[dict]:
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_seqio_evaluates_and_writes_dialogues(tiny_corpus, tmp_path):
  name = "t5cr_redial_conversation"
  evaluator = _evaluator(name, tmp_path)

  def predict(dataset):
    return [
      (int(index), example["decoder_target_tokens"])
      for index, example in dataset.as_numpy_iterator()
    ]

  metrics, _ = evaluator.evaluate(
    compute_metrics=True, step=5, predict_fn=predict
  )
  values = metrics.result()[name]
  assert values["bleu"] == pytest.approx(100)
  assert values["bleu_count"] == 2
  assert values["recall"] == 100
  evaluator.close()
  assert _lines(tmp_path / f"{name}-metrics.jsonl") == [{"step": 5, **values}]
  first, second = _lines(tmp_path / f"{name}-000005.jsonl")
  assert first["prediction"] == "did you see @ airplane! (1980) @ ?"
  assert first["target"] == {
    "text": "did you see @ airplane! (1980) @ ?",
    "dialogue_id": "7",
    "turn": 3,
    "recommended": ["Airplane! (1980)", "The Naked Gun (1988)"],
  }
  assert first["input"]["dialogue_id"] == "7"
  assert second["target"]["recommended"] == []


def test_seqio_scores_and_writes_probes(tiny_corpus, tmp_path):
  name = "t5cr_probe_recommendation"
  evaluator = _evaluator(name, tmp_path)

  def score(dataset):
    scores = [(int(index), -1.0 - float(index)) for index, _ in dataset]
    return scores[::-1]

  metrics, _ = evaluator.evaluate(compute_metrics=True, step=5, score_fn=score)
  assert metrics.result()[name] == {"accuracy": 1.0, "count": 1, "ties": 0}
  evaluator.close()
  first, second = _lines(tmp_path / f"{name}-000005.jsonl")
  assert (first["score"], second["score"]) == (-1.0, -2.0)
  assert first["target"] == {
    "probe_id": 3,
    "candidate": 0,
    "rank": 2,
    "decile": 1,
    "named": 0,
    "tag": "",
    "movie": "Heat (1995)",
    "related": "Fargo (1996)",
    "negative": "Jaws (1975)",
    "template": "paper",
    "target_tokens": len(first["input"]["targets"]),
  }
  assert first["input"]["targets"][-1] == 1  # EOS counts.
  assert second["target"]["candidate"] == 1


def test_sums_of_the_written_lines_give_the_written_metrics(
  tiny_corpus, tmp_path
):
  name = "t5cr_redial_conversation"
  evaluator = _evaluator(name, tmp_path)
  ids = np.array(
    seqio.TaskRegistry.get(name)
    .output_features["targets"]
    .vocabulary.encode("did you like @ airplane! (1980) @ ?")
  )
  metrics, _ = evaluator.evaluate(
    compute_metrics=True,
    step=0,
    predict_fn=lambda dataset: [(int(i), ids) for i, _ in dataset],
  )
  written = metrics.result()[name]
  evaluator.close()
  lines = _lines(tmp_path / f"{name}-000000.jsonl")
  targets = [line["target"] for line in lines]
  predictions = [line["prediction"] for line in lines]
  assert len(lines) == 2
  statistics = t5cr_tasks.metrics.DIALOGUE_STATISTICS
  assert {"bleu", "recall"} <= statistics.keys()
  for statistic in statistics.values():
    computed = statistic.compute(targets, predictions)
    assert computed.items() <= written.items()
