import numpy as np
import pytest
import seqio
from rich.console import Console

from t5cr_tasks import show
from t5cr_tasks.errors import DataError


def _printed(renderable) -> str:
  console = Console(width=200, no_color=True)
  with console.capture() as capture:
    console.print(renderable)
  return capture.get()


def test_task_is_shown_as_text_tokens_and_lengths(tiny_corpus):
  text = _printed(show.describe("t5cr_redial_conversation", num_examples=1))
  assert (
    "redial conversation: [user] hi! [assistant] hello. what do you like?"
    " [user] comedies" in text
  )
  assert "▁[" in text
  assert "</s>" in text
  assert "Airplane! (1980), The Naked Gun (1988)" in text
  assert "t5cr_redial_conversation, train" in text
  assert "éclat" not in text  # The second example.
  assert "tokens in the first 2 examples" in text


def test_truncation_is_counted(tiny_corpus):
  name = "t5cr_redial_conversation"
  examples = list(
    seqio.TaskRegistry.get(name)
    .get_dataset(split="train", shuffle=False)
    .as_numpy_iterator()
  )
  lengths = show.measure(examples, {"inputs": 0})[0].lengths
  limit = int(lengths.min())
  text = _printed(show.describe(name, feature_lengths={"inputs": limit}))
  rows = [line.strip(" │").split() for line in text.splitlines()]
  assert rows.count(
    ["inputs", f"{lengths.mean():.1f}", f"{np.median(lengths):.0f}"]
    + [str(lengths.max()), str(limit), "1", "(50.0%)"]
  )
  assert text.count(f"truncated to {limit}") == 1


def test_lengths_are_measured_before_truncation():
  examples = [
    {"inputs": np.arange(5), "targets": np.arange(2)},
    {"inputs": np.arange(3), "targets": np.arange(2)},
  ]
  inputs, targets = show.measure(examples, {"inputs": 4, "targets": 2})
  assert inputs.lengths.tolist() == [5, 3]
  assert inputs.truncated == 1
  assert targets.truncated == 0


def test_mixture_shows_all_its_tasks(tiny_corpus):
  text = _printed(show.describe("t5cr_all", num_examples=1))
  for prefix in (
    "redial conv",
    "movielens seq",
    "movielens tags",
    "movielens r",
  ):
    assert f"{prefix}" in text


def test_probe_task_shows_its_fields(tiny_corpus):
  text = _printed(show.describe("t5cr_probe_recommendation"))
  assert "Jaws (1975)" in text
  assert "t5cr_probe_recommendation, validation" in text


def test_unknown_name_gives_the_nearest():
  with pytest.raises(DataError, match="t5cr_redial_tags") as caught:
    show.describe("t5cr_redial_tag")
  assert "'t5cr_redial_tag'" in str(caught.value)


def test_name_like_no_other_points_to_the_list():
  with pytest.raises(DataError, match="no task or mixture 'qqq'.*tasks list"):
    show.describe("qqq")


def test_unknown_split_gives_those_there_are():
  with pytest.raises(DataError, match="no split 'dev'; it has train, valid"):
    show.describe("t5cr_redial_conversation", split="dev")


def test_data_that_is_not_built_is_named(tiny_corpus):
  with pytest.raises(DataError, match="t5cr_probes/attribute.*probes build"):
    show.describe("t5cr_probe_attribute")


def test_vocabulary_that_cannot_be_read_is_named(tiny_corpus, monkeypatch):
  monkeypatch.setenv("T5CR_VOCABULARY", "/no/such.model")
  with pytest.raises(DataError, match="/no/such.model.*T5CR_VOCABULARY"):
    show.describe("t5cr_redial_conversation")


def test_overview_lists_tasks_and_mixtures():
  text = _printed(show.overview())
  assert "t5cr_probe_recommendation_sequence" in text
  assert "redial_conversation + movielens_tags" in text


def test_overview_gives_the_splits_of_a_mixture():
  lines = _printed(show.overview()).splitlines()
  rows = {line.split()[0]: line for line in lines if line.split()}
  assert rows["t5cr_probes"].split()[1:3] == ["mixture", "validation"]
  assert rows["t5cr_redial"].split()[1:4] == ["mixture", "train,", "validation"]
  assert rows["t5cr_all"].split()[1:3] == ["mixture", "train"]
