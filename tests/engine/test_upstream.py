"""What gin/t5x binds; how it binds it is tested with the gin files."""

import os

import pytest
import tiny

from t5cr import errors
from t5cr.engine import upstream


@pytest.fixture
def tiny_tasks():
  import seqio

  tiny.register()
  yield
  if upstream.SELECTION in seqio.MixtureRegistry.names():
    seqio.MixtureRegistry.remove(upstream.SELECTION)


def steps(folder, *numbers):
  """Folders that look like checkpoints of t5x."""
  for number in numbers:
    (folder / f"checkpoint_{number}" / "state").mkdir(parents=True)
  return folder


def hugging_face(folder):
  folder.mkdir(parents=True)
  (folder / "config.json").write_text("{}")
  return folder


def test_a_run_folder_means_its_latest_checkpoint(tmp_path):
  steps(tmp_path, 9, 10, 100)
  # What a run that was killed leaves, and what is no checkpoint.
  (tmp_path / "checkpoint_200.orbax-checkpoint-tmp").mkdir()
  (tmp_path / "checkpoint_300").mkdir()
  (tmp_path / "train").mkdir()
  assert upstream.checkpoint(tmp_path) == str(tmp_path / "checkpoint_100")


def test_a_checkpoint_is_left_as_it_is(tmp_path, monkeypatch):
  assert upstream.checkpoint(None) is None
  public = "gs://t5-data/pretrained_models/t5x/t5_base/checkpoint_999900"
  assert upstream.checkpoint(public) == public
  monkeypatch.chdir(tmp_path)
  assert upstream.checkpoint("runs/all/checkpoint_5") == os.path.join(
    tmp_path, "runs", "all", "checkpoint_5"
  )


def test_a_folder_without_checkpoints_is_told(tmp_path):
  with pytest.raises(
    errors.UsageError, match=f"No checkpoint at {tmp_path}.*--to t5x"
  ):
    upstream.checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["flan-t5-small", "checkpoint_0", "run"])
def test_a_hugging_face_folder_has_to_be_converted(tmp_path, name):
  given = hugging_face(tmp_path / name)
  if name == "run":
    hugging_face(given / "checkpoint_7")
    (given / "config.json").unlink()
  with pytest.raises(
    errors.UsageError, match=r"cannot read.*t5cr convert SOURCE DEST --to t5x"
  ):
    upstream.checkpoint(given)


def test_output_folders_are_absolute(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert upstream.absolute("runs/all") == os.path.join(tmp_path, "runs", "all")
  assert upstream.absolute("gs://bucket/all") == "gs://bucket/all"


def test_a_run_that_goes_on_draws_its_data_anew(tmp_path):
  run = str(tmp_path)
  assert upstream.data_seed(7, run) == 7
  steps(tmp_path, 0)
  assert upstream.data_seed(7, run) == 7  # Nothing has been trained yet.
  steps(tmp_path, 50)
  at_50 = upstream.data_seed(7, run)
  assert at_50 == upstream.data_seed(7, run) != upstream.data_seed(8, run)
  (tmp_path / "checkpoint_55").mkdir()  # not finished
  assert at_50 == upstream.data_seed(7, run)
  steps(tmp_path, 60)
  assert len({7, at_50, upstream.data_seed(7, run)}) == 3
  assert 0 <= at_50 < 2**31


@pytest.mark.parametrize(
  ("period", "checkpoint_period", "train_steps", "expected"),
  [
    (None, 500, 1000, 1000),
    (None, 500, 1001, 1500),
    (None, 500, 3, 500),
    (None, 500, 0, 500),
    (0, 500, 1001, 1500),
    (100, 500, 1000, 100),
    (1000, 500, 1000, 1000),
  ],
)
def test_evaluation_periods(period, checkpoint_period, train_steps, expected):
  found = upstream.eval_period(period, checkpoint_period, train_steps)
  assert found == expected


def test_periods_that_t5x_cannot_have_are_told():
  with pytest.raises(errors.UsageError, match="EVAL_PERIOD is 300"):
    upstream.eval_period(300, 500, 1000)


class Vocabulary:
  vocab_size = 1636


def test_rows_of_the_embedding():
  assert upstream.vocabulary_rows(None, Vocabulary) == 1664  # 13 x 128
  assert upstream.vocabulary_rows(32128, Vocabulary) == 32128
  with pytest.raises(errors.UsageError, match="VOCAB_SIZE is 1635"):
    upstream.vocabulary_rows(1635, Vocabulary)


def test_names_become_one_mixture(tiny_tasks):
  import seqio

  names = ["tiny_copy", "tiny_scor*"]
  name = upstream.mixture_to_evaluate(names, "validation")
  found = [task.name for task in seqio.get_mixture_or_task(name).tasks]
  assert found == ["tiny_copy", "tiny_score"]
  # Another job in the same process has another selection.
  assert upstream.mixture_to_infer(["tiny_silent"], "train") == name
  (task,) = seqio.get_mixture_or_task(name).tasks
  assert task.name == "tiny_silent"


def test_one_name_is_left_as_it_is(tiny_tasks):
  assert upstream.mixture_to_train("tiny_mixture") == "tiny_mixture"
  assert upstream.mixture_to_evaluate("tiny_copy", "train") == "tiny_copy"
  assert upstream.mixture_to_infer("tiny_mixture", "train") == "tiny_mixture"


def test_nothing_to_evaluate_is_no_data_set():
  assert upstream.evaluation((), lambda: pytest.fail("made")) is None
  assert upstream.evaluation("tiny_copy", lambda: "made") == "made"


def test_a_pattern_without_a_task_to_evaluate_is_told(tiny_tasks):
  with pytest.raises(errors.UsageError, match="match no task"):
    upstream.mixture_to_evaluate("tiny_sil*", "validation")
