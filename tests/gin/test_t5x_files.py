"""gin/t5x: every file parses, and a macro means what it means to the engine."""

import functools
import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from t5cr.engine import gin_config, main, schedules

ROOT = pathlib.Path(__file__).parents[2] / "gin"
T5X_FILES = sorted((ROOT / "t5x").glob("*.gin"))
RECIPES = sorted(path.stem for path in (ROOT / "recipe").glob("*.gin"))
ROWS = sorted(path.stem for path in (ROOT / "recipe" / "rows").glob("*.gin"))
FUNCTIONS = {
  "finetune": "train",
  "eval": "evaluate",
  "infer": "infer",
  "score": "infer",
}
# What a user gives with flags; the recipes and rows give the rest.
_OF_CHECKPOINT = {
  "MIXTURE_OR_TASK_NAME": "'t5cr_redial_conversation'",
  "CHECKPOINT_PATH": "'/x/checkpoint_5'",
}
FLAGS = {
  "finetune": {"MODEL_DIR": "'/x/run'"},
  "eval": {**_OF_CHECKPOINT, "EVAL_OUTPUT_DIR": "'/x/o'"},
  "infer": {**_OF_CHECKPOINT, "INFER_OUTPUT_DIR": "'/x/o'"},
  "score": {**_OF_CHECKPOINT, "INFER_OUTPUT_DIR": "'/x/o'"},
}
STEPS = (0, 1, 49, 50, 51, 300, 599, 999)


def case(
  run_file: str,
  recipe: str | None = "tiny",
  row: str | None = "all",
  without: tuple[str, ...] = (),
  **macros: str,
) -> dict[str, Any]:
  files = [f"t5x/{run_file}.gin"]
  files += [f"recipe/{recipe}.gin"] if recipe else []
  files += [f"recipe/rows/{row}.gin"] if row else []
  flags = {**FLAGS[run_file], **macros}
  return {
    "function": FUNCTIONS[run_file],
    "files": files,
    "bindings": [f"{k} = {v}" for k, v in flags.items() if k not in without],
    "steps": STEPS,
  }


GRID = {
  f"{run_file}/{recipe}/{row}": case(run_file, recipe, row)
  for run_file in FUNCTIONS
  for recipe in RECIPES
  for row in ROWS
}


def run(kind: str, cases: dict[str, Any], vocabulary: pathlib.Path, *folders):
  request = {"search_paths": [*map(str, folders), str(ROOT)], "cases": cases}
  done = subprocess.run(
    [
      sys.executable,
      str(pathlib.Path(__file__).with_name("t5x_jobs.py")),
      kind,
    ],
    input=json.dumps(request),
    capture_output=True,
    text=True,
    env={
      **os.environ,
      "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path),
      "T5CR_VOCABULARY": str(vocabulary),
      "JAX_PLATFORMS": "cpu",
    },
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def required(run_file: str) -> list[str]:
  """Macros that a run file, or one that it includes, leaves to be given."""
  text = (ROOT / "t5x" / f"{run_file}.gin").read_text()
  found = re.findall(r"^(\w+) = %gin\.REQUIRED", text, re.MULTILINE)
  for included in re.findall(r"^include 't5x/(\w+)\.gin'", text, re.MULTILINE):
    found += required(included)
  return found


GIVEN = {
  "TASK_FEATURE_LENGTHS": "{'inputs': 8, 'targets': 8}",
  "MIXTURE_OR_TASK_NAME": "'t5cr_redial'",
}
LACKING = {
  f"{run_file} without {macro}": case(
    run_file,
    recipe=None,
    row=None,
    without=(macro,),
    **{name: "1" for name in required(run_file)} | GIVEN | FLAGS[run_file],
  )
  for run_file in FUNCTIONS
  for macro in required(run_file)
}
WRONG = {
  "a misspelt parameter": {
    **case("finetune"),
    "files": ["misspelt.gin", "recipe/tiny.gin", "recipe/rows/all.gin"],
  },
  "an unknown task": case("eval", MIXTURE_OR_TASK_NAME="'t5cr_probe'"),
  "an unknown decoder": case("eval", DECODER="'bean'"),
  "too long a decode": case("eval", MAX_DECODE_LENGTH="33"),
  "too few rows": case("eval", VOCAB_SIZE="16"),
  "periods that do not fit": case("finetune", EVAL_PERIOD="15"),
  "no checkpoint": case("eval", CHECKPOINT_PATH="'/no/such/run'"),
}
SET = {
  "beam": case(
    "eval",
    DECODER="'beam'",
    NUM_DECODES="4",
    BEAM_ALPHA="0.8",
    MAX_DECODE_LENGTH="7",
  ),
  "sample": case(
    "eval", DECODER="'sample'", NUM_DECODES="2", TEMPERATURE="0.5", TOP_K="9"
  ),
  "evaluated each": case("finetune", EVAL_PERIOD="10"),
  "evaluated last": case("finetune", EVAL_PERIOD="0"),
  "not evaluated": case("finetune", EVAL_TASKS="()"),
  "several": case(
    "eval", row=None, MIXTURE_OR_TASK_NAME="['t5cr_redial', 't5cr_probe_a*']"
  ),
  "pattern": case("eval", row=None, MIXTURE_OR_TASK_NAME="'t5cr_probe_*'"),
  "partitions": case("eval", MESH_MODEL="4", DTYPE="'bfloat16'"),
}


@pytest.fixture(scope="session")
def results(character_vocabulary, tmp_path_factory) -> dict[str, Any]:
  folder = tmp_path_factory.mktemp("gin")
  finetune = (ROOT / "t5x" / "finetune.gin").read_text()
  (folder / "misspelt.gin").write_text(
    finetune.replace("random_seed =", "random_sed =")
  )
  cases = {**GRID, **LACKING, **WRONG, **SET}
  return run("standin", cases, character_vocabulary, folder)


@functools.cache
def engine_run(recipe: str, row: str):
  """What `t5cr train` makes of the same recipe and row."""
  files = [
    "t5cr/finetune.gin",
    f"recipe/{recipe}.gin",
    f"recipe/rows/{row}.gin",
  ]
  gin_config.parse(files, ["MODEL_DIR = '/x/run'"])
  return gin_config.build(main._TRAIN)


def value(results, name: str) -> Any:
  assert "value" in results[name], results[name]["error"]
  return results[name]["value"]


@pytest.mark.parametrize("name", GRID)
def test_every_file_goes_with_every_recipe_and_row(results, name):
  found = value(results, name)
  assert found["called"] == GRID[name]["function"]
  assert "REQUIRED" not in json.dumps(found)


@pytest.mark.parametrize("name", LACKING)
def test_a_macro_that_is_lacking_is_told(results, name):
  assert re.search("(?i)required", results[name].get("error", "")), results[
    name
  ]


@pytest.mark.parametrize(
  ("name", "told"),
  [
    ("a misspelt parameter", "random_sed"),
    ("an unknown task", "Nearest: .*t5cr_probe_attribute"),
    ("an unknown decoder", "DECODER is 'bean'"),
    ("too long a decode", "MAX_DECODE_LENGTH is 33.*32 tokens"),
    ("too few rows", "VOCAB_SIZE is 16"),
    ("periods that do not fit", "EVAL_PERIOD is 15 and CHECKPOINT_PERIOD 20"),
    ("no checkpoint", "No checkpoint at /no/such/run.*--to t5x"),
  ],
)
def test_what_is_wrong_is_told(results, name, told):
  assert re.search(told, results[name].get("error", "")), results[name]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_the_same_training_under_both_engines(results, recipe, row):
  found = value(results, f"finetune/{recipe}/{row}")
  expected = engine_run(recipe, row)
  data, config = expected.data, expected.config
  train = found["train_dataset_cfg"]
  assert train["mixture_or_task_name"] == data.mixture_or_task_name
  assert train["task_feature_lengths"] == dict(data.task_feature_lengths)
  assert train["batch_size"] == data.batch_size
  assert (train["seed"], train["pack"]) == (data.seed, data.pack)
  assert (train["split"], train["shuffle"]) == (data.split, data.shuffle)
  assert found["total_steps"] == config.train_steps
  assert found["stats_period"] == config.log_period
  assert found["random_seed"] == config.seed
  save, restore = (found["checkpoint_cfg"][key] for key in ("save", "restore"))
  assert save["period"] == config.checkpoint_period
  assert save["keep"] == config.checkpoints_to_keep
  assert restore["path"] == expected.initial_checkpoint_path
  model = found["model"]
  assert model["loss_normalizing_factor"] == config.loss_normalizing_factor
  assert model["z_loss"] == config.z_loss
  rate = schedules.learning_rate_schedule(
    schedule=config.learning_rate_schedule,
    learning_rate=config.learning_rate,
    warmup_steps=config.warmup_steps,
    train_steps=config.train_steps,
  )
  assert found["rates"] == pytest.approx(np.stack([rate(s) for s in STEPS]))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_the_same_model_under_both_engines(results, recipe):
  model = value(results, f"finetune/{recipe}/all")["model"]
  network, shape = model["module"]["config"], engine_run(recipe, "all").model
  for name in (
    "emb_dim",
    "num_heads",
    "num_encoder_layers",
    "num_decoder_layers",
    "head_dim",
    "mlp_dim",
    "dropout_rate",
    "logits_via_embedding",
    "dtype",
  ):
    assert network[name] == getattr(shape, name), name
  assert tuple(network["mlp_activations"]) == shape.mlp_activations
  # The vocabulary of the test has fewer than 128 tokens.
  assert network["vocab_size"] == (shape.vocab_size or 128)
  for other in ("eval", "infer", "score"):
    assert value(results, f"{other}/{recipe}/all")["model"] == model


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_the_same_evaluation_under_both_engines(results, recipe):
  found = value(results, f"finetune/{recipe}/all")
  expected = engine_run(recipe, "all").evaluation
  data = found["infer_eval_dataset_cfg"]
  assert data["mixture_or_task_name"] == "t5cr_selection"
  assert data["batch_size"] == expected.batch_size
  assert data["split"] == expected.split
  assert data["task_feature_lengths"] == dict(expected.task_feature_lengths)
  assert found["evaluator"]["num_examples"] == expected.num_examples
  # Greedy, as far as the targets, after the last step only.
  decoder = {"partial": "temperature_sample", "temperature": 0.0}
  assert found["model"]["decode_fn"].items() >= decoder.items()
  period = found["eval_period"]
  assert period >= found["total_steps"]
  assert period % found["checkpoint_cfg"]["save"]["period"] == 0


def test_paper_recipe_is_the_papers(results):
  found = value(results, "finetune/paper/all")
  assert found["total_steps"] - 999_900 == 40_000
  assert found["checkpoint_cfg"]["restore"]["path"] == (
    "gs://t5-data/pretrained_models/t5x/t5_base/checkpoint_999900"
  )
  assert found["rates"] == pytest.approx([0.003] * len(STEPS))
  assert found["model"]["loss_normalizing_factor"] == 2048 * 114
  assert found["model"]["module"]["config"]["dropout_rate"] == 0.1
  train = found["train_dataset_cfg"]
  assert train["batch_size"] == 128
  assert train["task_feature_lengths"] == {"inputs": 512, "targets": 128}


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r.startswith("t5_")])
def test_recipes_of_public_models_add_40000_steps(results, recipe):
  found = value(results, f"finetune/{recipe}/all")
  path = found["checkpoint_cfg"]["restore"]["path"]
  version = "" if "t5_1_0" in recipe else "1_1_"
  name = f"t5_{version}{recipe.rpartition('_')[2]}"
  assert f"/t5x/{name}/checkpoint_{found['total_steps'] - 40_000}" in path
  gated = found["model"]["module"]["config"]["mlp_activations"]
  assert gated == (["gelu", "linear"] if version else ["relu"])


def test_decoders_are_those_of_t5x(results):
  model = value(results, "beam")["model"]
  assert model["default_decoder_params"]["num_decodes"] == 4
  assert model["decode_fn"] == {
    "partial": "beam_search",
    "alpha": 0.8,
    "max_decode_len": 7,
  }
  model = value(results, "sample")["model"]
  assert model["default_decoder_params"]["num_decodes"] == 2
  assert model["decode_fn"] == {
    "partial": "temperature_sample",
    "temperature": 0.5,
    "topk": 9,
    "topp": 0.0,
    "max_decode_steps": None,
    "rescale_log_probs": False,
  }


def test_an_evaluation_period_is_taken_as_it_is(results):
  assert value(results, "evaluated each")["eval_period"] == 10
  default = value(results, "finetune/tiny/all")["eval_period"]
  assert value(results, "evaluated last")["eval_period"] == default


def test_no_tasks_to_evaluate_are_no_evaluation(results):
  found = value(results, "not evaluated")
  assert found["infer_eval_dataset_cfg"] is None
  assert found["train_dataset_cfg"]["mixture_or_task_name"] == "t5cr_all"


@pytest.mark.parametrize("name", ["several", "pattern"])
def test_names_and_patterns_become_one_mixture(results, name):
  dataset = value(results, name)["dataset_cfg"]
  assert dataset["mixture_or_task_name"] == "t5cr_selection"


def test_partitions_and_precision_reach_t5x(results):
  found = value(results, "partitions")
  assert found["partitioner"]["num_partitions"] == 4
  assert found["model"]["module"]["config"]["dtype"] == "bfloat16"


def test_scores_carry_what_a_report_reads(results):
  found = value(results, "score/tiny/all")
  assert found["mode"] == "score"
  fields = set(found["written"]["input_fields_to_include"])
  assert fields >= {"probe_id", "candidate", "movie", "related", "dialogue_id"}
  assert "inputs" not in fields  # the tokens


@pytest.mark.parametrize("path", T5X_FILES, ids=lambda path: path.name)
def test_the_header_says_what_is_required(path):
  text = path.read_text()
  header = text.split("\n\n")[0]
  assert header.startswith("# ") and "Required" in header
  if path.stem in FUNCTIONS:
    assert "# Command:  python -m t5x." in header
  for macro in re.findall(r"^(\w+) = %gin\.REQUIRED", text, re.MULTILINE):
    assert macro in header
  for line in text.splitlines():
    assert len(line) <= 88, line


def test_the_same_under_t5x_itself(results, character_vocabulary):
  """The stand-ins are what t5x has: every file is read by t5x itself too."""
  pytest.importorskip("t5x", reason="upstream t5x is not installed")
  found = run("real", {**GRID, **SET}, character_vocabulary)
  errors = {name: r["error"] for name, r in found.items() if "error" in r}
  assert not errors
  for name, result in found.items():
    expected = value(results, name)
    assert "REQUIRED" not in json.dumps(result["value"])
    for key, one in result["value"].items():
      if isinstance(one, (int, float)) or one is None:
        assert one == expected[key], (name, key)
