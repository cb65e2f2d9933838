"""Every gin file of the project parses, and says what it lacks."""

import pathlib
import re

import pytest

from t5cr import errors
from t5cr.engine import gin_config, main

ROOT = pathlib.Path(__file__).parents[2] / "gin"
ENGINE_FILES = sorted((ROOT / "t5cr").glob("*.gin"))
RECIPES = sorted((ROOT / "recipe").glob("*.gin"))
ROWS = sorted((ROOT / "recipe" / "rows").glob("*.gin"))

RUN_BINDINGS = [
  "MODEL_DIR = 'x'",
  "CHECKPOINT_PATH = 'x'",
  "EVAL_OUTPUT_DIR = 'x'",
  "INFER_OUTPUT_DIR = 'x'",
]


def identifier(path: pathlib.Path) -> str:
  return str(path.relative_to(ROOT))


def bindings(path: pathlib.Path) -> list[str]:
  """The bindings above that the file has a place for."""
  text = path.read_text()
  if path.name == "score.gin":
    text += (path.parent / "infer.gin").read_text()
  return [
    line
    for line in RUN_BINDINGS
    if re.search(rf"^{line.split()[0]} = ", text, re.MULTILINE)
  ]


def test_the_files_are_found_from_the_package():
  assert gin_config.gin_root() == ROOT
  assert main.gin_root() == ROOT


def test_the_tree_is_complete():
  assert {path.stem for path in ENGINE_FILES} >= {
    "finetune",
    "eval",
    "infer",
    "score",
  }
  assert {path.stem for path in RECIPES} >= {
    "paper",
    "sample",
    "small",
    "tiny",
    *(f"t5_1_0_{size}" for size in ("small", "large")),
    *(f"t5_1_1_{size}" for size in ("small", "base", "large")),
  }
  assert {path.stem for path in ROWS} == {
    "none",
    "redial",
    "redial_sequence",
    "redial_tags",
    "redial_review",
    "all",
  }


@pytest.mark.parametrize("recipe", RECIPES, ids=identifier)
@pytest.mark.parametrize("row", ROWS, ids=identifier)
def test_every_recipe_trains_every_row(recipe, row):
  files = ["t5cr/finetune.gin", recipe, row]
  gin_config.parse(files, ["MODEL_DIR = 'x'"])
  run = gin_config.build(main._TRAIN)
  assert run.data.mixture_or_task_name.startswith("t5cr_redial") or (
    run.data.mixture_or_task_name == "t5cr_all"
  )
  assert run.model.emb_dim % 8 == run.model.mlp_dim % 64 == 0
  assert (run.config.train_steps == 0) == (row.stem == "none")


@pytest.mark.parametrize("run_file", ENGINE_FILES, ids=identifier)
@pytest.mark.parametrize("recipe", RECIPES, ids=identifier)
def test_every_run_file_goes_with_every_recipe(run_file, recipe, tmp_path):
  files = [run_file, recipe, ROOT / "recipe" / "rows" / "all.gin"]
  text = gin_config.parse(files, bindings(run_file))
  job = {"finetune": main._TRAIN, "eval": main._EVAL}.get(
    run_file.stem, main._INFER
  )
  run = gin_config.build(job)
  # What is written as config.gin is the same job; a file of that name would be
  # taken for a run's, which may not name a folder elsewhere.
  copy = tmp_path / "copy.gin"
  copy.write_text(text)
  gin_config.parse([copy])
  assert gin_config.build(job) == run


@pytest.mark.parametrize("run_file", ENGINE_FILES, ids=identifier)
def test_required_macros_are_all_reported_with_their_uses(run_file):
  text = run_file.read_text()
  if run_file.name == "score.gin":
    text += (ROOT / "t5cr" / "infer.gin").read_text()
  required = re.findall(r"^(\w+) = %gin\.REQUIRED", text, re.MULTILINE)
  assert required
  with pytest.raises(errors.UsageError) as caught:
    gin_config.parse([run_file])
  for macro in required:
    assert re.search(rf"\b{macro} \(used by ", str(caught.value)), macro


@pytest.mark.parametrize(
  "path", [*ENGINE_FILES, *RECIPES, *ROWS], ids=identifier
)
def test_the_header_says_what_is_required(path):
  header = path.read_text().split("\n\n")[0]
  assert header.startswith("# ")
  if path.parent.name == "t5cr":
    assert "# Command:" in header and "Required" in header
  elif path in RECIPES:
    for word in ("Command:", "Hardware:", "Hours:", "Expected:"):
      assert f"# {word}" in header
  for line in path.read_text().splitlines():
    assert len(line) <= 88 or "://" in line, line


@pytest.mark.parametrize("path", [*RECIPES, *ROWS], ids=identifier)
def test_recipes_hold_macros_only(path):
  for line in path.read_text().splitlines():
    assert not line or re.match(r"#|[A-Z_]+ = |include 'recipe/", line), line


def test_paper_recipe_is_the_papers():
  files = ["t5cr/finetune.gin", "recipe/paper.gin", "recipe/rows/all.gin"]
  gin_config.parse(files, ["MODEL_DIR = 'x'"])
  run = gin_config.build(main._TRAIN)
  assert run.config.learning_rate == 0.003
  assert run.config.train_steps - 999_900 == 40_000
  assert run.data.batch_size == 128
  assert run.data.task_feature_lengths == {"inputs": 512, "targets": 128}
  assert run.config.loss_normalizing_factor == 2048 * 114
