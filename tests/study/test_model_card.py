"""A model card states what was measured, and nothing else."""

import json
import re

import pytest
from etils import epath

from t5cr import errors
from t5cr.engine.config import T5Config
from t5cr.study import collect, model_card, stages

CONFIG = T5Config(
  vocab_size=128,
  emb_dim=32,
  num_heads=4,
  num_encoder_layers=2,
  num_decoder_layers=2,
  head_dim=8,
  mlp_dim=64,
)
ABOUT = {
  "settings": {
    "TrainData": {"task_feature_lengths": {"inputs": 96, "targets": 48}},
    "initial_checkpoint_path": "runs/t5_base",
    "data": {
      "t5cr_redial:1.0.0": "a" * 64,
      "t5cr_movielens/tags:1.0.0": "b" * 64,
      "vocabulary": "c" * 64,
    },
  },
  "versions": {"jax": "0.10.2"},
  "parameters": 12345,
}
GIN = """# Macros:
# =====
BATCH_SIZE = 24
EVAL_TASKS = \\
    ['t5cr_redial_conversation',
     't5cr_probe_attribute']
MODEL_DIR = '/home/someone/run'
TRAIN_STEPS = 1000

# Parameters for train:
# =====
train.model_dir = %MODEL_DIR
"""


@pytest.fixture
def folder(tmp_path):
  evaluated = tmp_path / "inference_eval"
  evaluated.mkdir()
  lines = [
    {"step": 500, "bleu": 11.5, "bleu_count": 7, "recall": 1.25},
    {"step": 1000, "bleu": 12.75, "bleu_count": 9, "recall": 2.5},
  ]
  (evaluated / "t5cr_redial_conversation-metrics.jsonl").write_text(
    "".join(json.dumps(line) + "\n" for line in lines)
  )
  (evaluated / "t5cr_probe_attribute-metrics.jsonl").write_text(
    '{"step": 1000, "accuracy": 0.625, "count": 1234, "ties": 2}\n'
  )
  (tmp_path / "run.json").write_text(json.dumps(ABOUT))
  (tmp_path / "config.gin").write_text(GIN)
  return tmp_path


def front_matter(card: str) -> dict:
  yaml = pytest.importorskip("yaml")
  return yaml.safe_load(card.split("---\n")[1])


def test_the_card_holds_what_was_measured_at_the_step(folder):
  card = model_card.model_card(
    "my model", CONFIG, model_card.read_run(folder, 1000)
  )
  assert re.findall(r"^\| `t5cr.*", card, re.MULTILINE)[:3] == [
    "| `t5cr_probe_attribute` | `accuracy` | 0.625 | 1,234 |",
    "| `t5cr_redial_conversation` | `bleu` | 12.75 | 9 |",
    "| `t5cr_redial_conversation` | `recall` | 2.5 |  |",
  ]
  assert "at step 1,000" in card
  assert "11.5" not in card
  (index,) = front_matter(card)["model-index"]
  assert [result["metrics"] for result in index["results"]] == [
    [{"type": "accuracy", "value": 0.625}],
    [{"type": "bleu", "value": 12.75}, {"type": "recall", "value": 2.5}],
  ]


def test_the_metrics_of_another_step_are_not_told(folder):
  card = model_card.model_card(
    "my model", CONFIG, model_card.read_run(folder, 700)
  )
  assert "No measured metrics of step 700" in card
  assert "bleu" not in card
  assert "model-index" not in front_matter(card)


def test_without_a_run_the_card_says_that_nothing_is_known(tmp_path):
  for run in (None, model_card.read_run(tmp_path, 3)):
    card = model_card.model_card("my model", CONFIG, run)
    assert "No measured metrics" in card
    assert "No record of the training" in card
    assert "is not recorded here" in card
    assert front_matter(card)["license"] == "other"
    for source in ("CC BY 4.0", "no commercial use", "no licence is stated"):
      assert source in card


def test_the_recipe_is_the_runs_macros_without_its_folders(folder):
  card = model_card.model_card(
    "my model", CONFIG, model_card.read_run(folder, 1000)
  )
  block = card.partition("\n\n```\n")[2].partition("\n```")[0]
  assert block == (
    "BATCH_SIZE = 24\nEVAL_TASKS = \\\n    ['t5cr_redial_conversation',\n"
    "     't5cr_probe_attribute']\nTRAIN_STEPS = 1000"
  )
  assert "/home" not in card
  assert "runs/t5_base" not in card
  assert "Finetuned from a checkpoint; which one is not recorded" in card
  assert "max_new_tokens=48" in card
  assert "12,345 parameters" in card


@pytest.mark.parametrize(
  ("macro", "kept"),
  [
    ("INITIAL_CHECKPOINT_PATH = '/home/someone/t5'", False),
    ("INITIAL_CHECKPOINT_PATH = 'runs/t5'", False),
    ("INITIAL_CHECKPOINT_PATH = \\\n    '~/a/very/long/path'", False),
    ("VOCABULARY_FILE = '/home/someone/spm.model'", False),
    ("INITIAL_CHECKPOINT_PATH = 'gs://t5-data/t5_base'", True),
    ("INITIAL_CHECKPOINT_PATH = None", True),
    ("MIXTURE_OR_TASK_NAME = 't5cr_all'", True),
  ],
)
def test_only_local_paths_are_left_out(folder, macro, kept):
  (folder / "config.gin").write_text(f"# Macros:\n# =====\n{macro}\nSEED = 1\n")
  card = model_card.model_card(
    "my model", CONFIG, model_card.read_run(folder, 1000)
  )
  block = card.partition("\n\n```\n")[2].partition("\n```")[0]
  assert block == (f"{macro}\nSEED = 1" if kept else "SEED = 1")


@pytest.mark.parametrize(
  ("start", "base_model", "expected"),
  [
    ("gs://t5-data/t5_base", None, "Finetuned from `gs://t5-data/t5_base`."),
    ("/home/someone/t5", "google-t5/t5-base", "from `google-t5/t5-base`."),
    (None, None, "Trained from random weights."),
  ],
)
@pytest.mark.parametrize("macros", [True, False])
def test_the_start_is_told_but_no_local_path(
  folder, start, base_model, expected, macros
):
  settings = {**ABOUT["settings"], "initial_checkpoint_path": start}
  (folder / "run.json").write_text(json.dumps({"settings": settings}))
  if not macros:
    (folder / "config.gin").unlink()
  run = model_card.read_run(folder, 1000)
  card = model_card.model_card("my model", CONFIG, run, base_model=base_model)
  assert expected in card
  assert "/home" not in card


@epath.register_path_cls("bucket://")
class Bucket:
  """An address that epath alone can open, as gs:// is: of a local folder."""

  root = epath.Path()

  def __new__(cls, address: str):
    return cls.root / address.removeprefix("bucket://")


def test_a_run_elsewhere_is_read_as_a_local_one_is(folder, monkeypatch):
  monkeypatch.setattr(Bucket, "root", epath.Path(folder.parent))
  address = f"bucket://{folder.name}"
  run = model_card.read_run(address, 1000)
  assert run == model_card.read_run(folder, 1000)
  assert len(run.metrics) == 2
  assert run.about == stages.read_json(f"{address}/run.json") == ABOUT
  assert "TRAIN_STEPS = 1000" in run.macros
  name = "t5cr_probe_attribute-metrics.jsonl"
  (line,) = collect.read_lines(f"{address}/inference_eval/{name}")
  assert line["accuracy"] == 0.625


def test_terms_are_those_of_the_data_that_was_used(folder):
  card = model_card.model_card(
    "my model", CONFIG, model_card.read_run(folder, 1000)
  )
  assert "MovieLens 25M" in card
  assert "Penha" not in card
  assert front_matter(card)["license"] == "other"
  only = {**ABOUT, "settings": {"data": {"t5cr_redial:1.0.0": "a" * 64}}}
  (folder / "run.json").write_text(json.dumps(only))
  card = model_card.model_card(
    "my model", CONFIG, model_card.read_run(folder, 1000)
  )
  assert front_matter(card)["license"] == "cc-by-4.0"
  assert "MovieLens 25M" not in card


def test_names_of_the_hub_are_in_the_front_matter(folder):
  card = model_card.model_card(
    'a "quoted": name',
    CONFIG,
    model_card.read_run(folder, 1000),
    base_model="google-t5/t5-base",
    datasets=["community-datasets/re_dial"],
  )
  matter = front_matter(card)
  assert matter["base_model"] == "google-t5/t5-base"
  assert matter["datasets"] == ["community-datasets/re_dial"]
  assert matter["model-index"][0]["name"] == 'a "quoted": name'
  assert matter["library_name"] == "transformers"


def test_a_damaged_run_is_named(folder):
  (folder / "run.json").write_text("{")
  with pytest.raises(errors.UsageError, match=r"run\.json"):
    model_card.read_run(folder, 1000)
