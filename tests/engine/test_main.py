"""The commands from gin files to run folders, on a tiny model."""

import dataclasses
import html
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import event_files
import jax
import numpy as np
import pytest
import tiny
from etils import epath

from t5cr import errors
from t5cr.engine import (
  checkpoints,
  convert,
  feed,
  formats,
  gin_config,
  main,
  partitioning,
  runs,
  saving,
  train_config,
)
from t5cr.engine import train as training
from t5cr.engine.formats import Format

RECIPE = f"{tiny.RECIPE}BATCH_SIZE = 4\nSEED = 2\n"


@pytest.fixture(scope="module", autouse=True)
def tasks():
  tiny.register()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
  path = tmp_path_factory.mktemp("gin") / "tiny.gin"
  path.write_text(RECIPE)
  return path


def train(recipe, folder, *bindings, **kwargs):
  return main.train(
    gin_files=["t5cr/finetune.gin", recipe],
    gin_bindings=[f"MODEL_DIR = {str(folder)!r}", *bindings],
    **kwargs,
  )


@pytest.fixture(scope="module")
def run_folder(recipe, tmp_path_factory):
  """A complete run."""
  folder = tmp_path_factory.mktemp("runs") / "run"
  train(recipe, folder)
  return folder


def snapshot(folder):
  return {
    path: path.stat().st_mtime_ns
    for path in pathlib.Path(folder).rglob("*")
    if path.is_file()
  }


def test_a_run_folder_has_the_layout_of_t5x(run_folder):
  names = {path.name for path in run_folder.iterdir()}
  assert names == {
    "config.gin",
    "run.json",
    "train",
    "inference_eval",
    "checkpoint_2",
    "checkpoint_4",
  }
  files = {
    path.name for path in (run_folder / "inference_eval").glob("*.jsonl")
  }
  assert files == {
    "tiny_copy-000004.jsonl",
    "tiny_copy-metrics.jsonl",
    "tiny_score-000004.jsonl",
    "tiny_score-metrics.jsonl",
  }


def test_run_json_says_what_the_run_is(run_folder):
  record = json.loads((run_folder / "run.json").read_text())
  params, config, step = checkpoints.restore_params(
    run_folder, main.partitioning.make_mesh()
  )
  assert (record["step"], step, record["seed"]) == (4, 4, 2)
  assert record["parameters"] == sum(p.size for p in jax.tree.leaves(params))
  assert record["settings"]["T5Config"]["vocab_size"] == config.vocab_size
  assert config.vocab_size == 384
  assert record["seconds"]["total"] > record["seconds"]["evaluate"] > 0
  assert record["versions"]["jax"] == jax.__version__
  assert len(record["data_fingerprint"]) == 64


def test_tensorboard_shows_the_training(recipe, run_folder):
  numbers = event_files.scalars(run_folder / "train")
  assert set(numbers) == {
    "loss",
    "learning_rate",
    "gradient_norm",
    "nonfinite_steps",
    "tokens_per_second",
    "target_tokens_per_second",
    "steps_per_second",
    "padding_share",
    "data_wait_share",
  }
  # A checkpoint's step ends an interval.
  assert all(sorted(values) == [2, 4] for values in numbers.values())
  data = train_config.TrainData(
    "tiny_mixture", tiny.LENGTHS, batch_size=4, seed=2
  )
  batches = feed.train_batches(data)
  for step in (2, 4):
    tokens = np.concatenate(
      [
        batch[name].ravel()
        for batch in (next(batches), next(batches))
        for name in ("encoder_input_tokens", "decoder_target_tokens")
      ]
    )
    padding = np.mean(tokens == 0)
    assert 0.05 < padding < 0.9
    assert numbers["padding_share"][step] == pytest.approx(padding)
    assert numbers["learning_rate"][step] == pytest.approx(0.01)
    assert 2 < numbers["loss"][step] < 9
    assert 0 <= numbers["data_wait_share"][step] <= 1
    seconds = 2 / numbers["steps_per_second"][step]
    # All of the two batches' tokens went through in that time.
    assert numbers["tokens_per_second"][step] * seconds == pytest.approx(
      np.count_nonzero(tokens), rel=1e-3
    )


@pytest.mark.parametrize(
  ("task", "answer"), [("tiny_copy", "output"), ("tiny_score", "score")]
)
def test_tensorboard_shows_metrics_and_samples(run_folder, task, answer):
  results = run_folder / "inference_eval"
  numbers = event_files.scalars(results / task)
  (line,) = (results / f"{task}-metrics.jsonl").read_text().splitlines()
  metrics = json.loads(line)
  step = metrics.pop("step")
  assert numbers.keys() == {f"eval/{name}" for name in metrics}
  for name, value in metrics.items():
    assert numbers[f"eval/{name}"] == {step: pytest.approx(value)}
  ((tag, shown),) = event_files.texts(results / task).items()
  assert (tag, list(shown)) == ("eval/samples", [step])
  head, _, *rows = shown[step].splitlines()
  assert head.split("|")[1:3] == [" input ", " target "]
  lines = (results / f"{task}-{step:06}.jsonl").read_text().splitlines()
  assert len(rows) == len(lines) == 7
  for row, line in zip(rows, map(json.loads, lines), strict=True):
    cells = [html.unescape(cell.strip()) for cell in row.split("|")[1:-1]]
    assert cells[1] == line["target"]
    assert cells[0] == line["input"]["inputs_pretokenized"]
    if answer == "score":
      assert float(cells[2]) == pytest.approx(line["score"], abs=1e-4)
    else:
      assert cells[2] == " ".join(line[answer].split())


def test_started_again_a_complete_run_only_reads(recipe, run_folder):
  before = snapshot(run_folder / "inference_eval")
  results = train(recipe, run_folder)
  assert snapshot(run_folder / "inference_eval") == before
  assert results["tiny_copy"]["exact_count"] == 7
  record = json.loads((run_folder / "run.json").read_text())
  assert record["starts"] >= 2


def test_a_killed_run_goes_on_and_ends_the_same(recipe, run_folder, tmp_path):
  class Killed(Exception):
    pass

  def kill(stage, done, total, unit):
    if (stage, done) == ("train", 3):
      raise Killed

  with pytest.raises(Killed):
    train(recipe, tmp_path / "run", progress=kill)
  assert formats.steps(tmp_path / "run") == [2]
  train(recipe, tmp_path / "run")
  mesh = main.partitioning.make_mesh()
  jax.tree.map(
    np.testing.assert_array_equal,
    checkpoints.restore_params(tmp_path / "run", mesh)[0],
    checkpoints.restore_params(run_folder, mesh)[0],
  )
  for name in ("tiny_copy-000004.jsonl", "tiny_score-000004.jsonl"):
    assert (tmp_path / "run" / "inference_eval" / name).read_text() == (
      run_folder / "inference_eval" / name
    ).read_text()


# Gets a signal after a step, once the checkpoint of step 2 is whole.
_DIES = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
import tiny
tiny.register()
from t5cr.engine import formats, main

def progress(stage, done, total, unit):
  if (stage, done) == ("train", int(sys.argv[5])):
    deadline = time.monotonic() + 120
    while formats.steps(sys.argv[3]) != [2]:
      if time.monotonic() > deadline:
        raise SystemExit("checkpoint_2 was never finished")
      time.sleep(0.05)
    os.kill(os.getpid(), int(sys.argv[4]))

main.train(
  gin_files=["t5cr/finetune.gin", sys.argv[2]],
  gin_bindings=[f"MODEL_DIR = {sys.argv[3]!r}"],
  progress=progress,
)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
  ("sent", "after", "status", "steps"),
  [
    # As a power cut does; and as a scheduler asks: step 3 is finished, saved.
    pytest.param(
      *(signal.SIGKILL, 3, -signal.SIGKILL, [2]), marks=pytest.mark.long
    ),
    (signal.SIGTERM, 2, 143, [2, 3]),
  ],
)
def test_a_process_that_dies_leaves_a_run_that_goes_on(
  recipe, run_folder, tmp_path, sent, after, status, steps
):
  tests = pathlib.Path(__file__).parent
  folder = tmp_path / "run"
  died = subprocess.run(
    [sys.executable, "-c", _DIES, str(tests), str(recipe), str(folder)]
    + [str(int(sent)), str(after)],
    env={**os.environ, "PYTHONPATH": str(tests.parents[1])},
    capture_output=True,
    check=False,
  )
  assert died.returncode == status, died.stderr[-2000:]
  assert formats.steps(folder) == steps
  train(recipe, folder)
  assert not list(folder.glob("*tmp*"))
  mesh = main.partitioning.make_mesh()
  jax.tree.map(
    np.testing.assert_array_equal,
    checkpoints.restore_params(folder, mesh)[0],
    checkpoints.restore_params(run_folder, mesh)[0],
  )


@pytest.mark.parametrize(
  ("binding", "message"),
  [
    ("LEARNING_RATE = 0.02", "learning_rate is 0.01 there and 0.02 here"),
    ("EMB_DIM = 32", "T5Config.emb_dim is 16 there and 32 here"),
    ("SEED = 3", "seed is 2 there and 3 here"),
    ("MIXTURE_OR_TASK_NAME = 'tiny_copy'", "'tiny_mixture' there"),
  ],
)
def test_a_folder_with_another_run_is_refused_and_unchanged(
  recipe, run_folder, binding, message
):
  before = snapshot(run_folder)
  with pytest.raises(errors.UsageError, match=message) as caught:
    train(recipe, run_folder, binding)
  assert str(run_folder) in str(caught.value)
  assert snapshot(run_folder) == before


def test_other_checkpoints_are_not_taken_for_ours(recipe, tmp_path):
  (tmp_path / "checkpoint_5" / "config").mkdir(parents=True)
  with pytest.raises(errors.UsageError, match="no run.json"):
    train(recipe, tmp_path)


def test_other_files_in_a_new_folder_do_not_matter(recipe, tmp_path):
  (tmp_path / "log.txt").write_text("started")
  train(recipe, tmp_path, "TRAIN_STEPS = 0", "EVAL_TASKS = ()")
  assert formats.steps(tmp_path) == [0]
  record = json.loads((tmp_path / "run.json").read_text())
  assert record["step"] == 0


def test_config_gin_repeats_the_run(run_folder, tmp_path):
  gin_config.parse([run_folder / "config.gin"])
  run = gin_config.build(main._TRAIN)
  assert run.model_dir == str(run_folder)
  assert run.config.train_steps == 4
  assert run.data.mixture_or_task_name == "tiny_mixture"


def test_another_evaluation_replaces_the_results(recipe, run_folder, tmp_path):
  folder = tmp_path / "run"
  train(recipe, folder, "TRAIN_STEPS = 0", "EVAL_TASKS = ('tiny_score',)")
  metrics = folder / "inference_eval" / "tiny_score-metrics.jsonl"
  assert json.loads(metrics.read_text())["count"] == 7
  bindings = ["TRAIN_STEPS = 0", "EVAL_TASKS = ('tiny_score',)"]
  train(recipe, folder, *bindings, "EVAL_NUM_EXAMPLES = 5")
  assert json.loads(metrics.read_text())["count"] == 5


def test_eval_repeats_the_runs_own_evaluation(recipe, run_folder, tmp_path):
  results = main.eval(
    gin_files=["t5cr/eval.gin", recipe],
    gin_bindings=[
      "MIXTURE_OR_TASK_NAME = 'tiny_mixture'",
      f"CHECKPOINT_PATH = {str(run_folder)!r}",
      f"EVAL_OUTPUT_DIR = {str(tmp_path)!r}",
    ],
  )
  assert set(results) == {"tiny_copy", "tiny_score"}
  for name in ("tiny_copy-metrics.jsonl", "tiny_score-000004.jsonl"):
    assert (tmp_path / "inference_eval" / name).read_text() == (
      run_folder / "inference_eval" / name
    ).read_text()


@pytest.mark.parametrize("to", [Format.T5X, Format.T5X_LEGACY, Format.HF])
def test_every_format_is_evaluated_and_trained_from(
  recipe, run_folder, tmp_path, to
):
  place = convert.convert(run_folder, tmp_path / "there", to)
  results = main.eval(
    gin_files=["t5cr/eval.gin", recipe],
    gin_bindings=[
      "MIXTURE_OR_TASK_NAME = 'tiny_score'",
      f"CHECKPOINT_PATH = {str(place)!r}",
      f"EVAL_OUTPUT_DIR = {str(tmp_path / 'out')!r}",
    ],
  )
  metrics = run_folder / "inference_eval" / "tiny_score-metrics.jsonl"
  expected = json.loads(metrics.read_text())
  assert results["tiny_score"]["mean_score"] == expected["mean_score"]

  first = 0 if to is Format.HF else 4
  start = f"INITIAL_CHECKPOINT_PATH = {str(place)!r}"
  bindings = [start, f"TRAIN_STEPS = {first + 1}", "EVAL_TASKS = ()"]
  train(recipe, tmp_path / "on", *bindings)
  assert formats.steps(tmp_path / "on") == [first + 1]


def test_a_run_that_would_not_train_is_refused(recipe, run_folder, tmp_path):
  start = f"INITIAL_CHECKPOINT_PATH = {str(run_folder)!r}"
  with pytest.raises(errors.UsageError, match="TRAIN_STEPS is 3, but .* at st"):
    train(recipe, tmp_path / "on", start, "TRAIN_STEPS = 3")
  assert not (tmp_path / "on").exists()


def test_evaluation_in_another_precision(recipe, run_folder, tmp_path):
  scores = {}
  for dtype in ("None", "'float32'", "'bfloat16'"):
    folder = tmp_path / dtype.strip("'")
    scores[dtype] = main.eval(
      gin_files=["t5cr/eval.gin", recipe],
      gin_bindings=[
        "MIXTURE_OR_TASK_NAME = 'tiny_score'",
        f"CHECKPOINT_PATH = {str(run_folder)!r}",
        f"EVAL_OUTPUT_DIR = {str(folder)!r}",
        f"DTYPE = {dtype}",
      ],
    )["tiny_score"]["mean_score"]
  assert scores["None"] == scores["'float32'"] != scores["'bfloat16'"]


def infer_flags(recipe, run_folder, tmp_path, tasks, file="infer"):
  return {
    "gin_files": [f"t5cr/{file}.gin", recipe],
    "gin_bindings": [
      f"MIXTURE_OR_TASK_NAME = {tasks!r}",
      f"CHECKPOINT_PATH = {str(run_folder / 'checkpoint_2')!r}",
      f"INFER_OUTPUT_DIR = {str(tmp_path)!r}",
    ],
  }


def test_infer_and_score_write_the_files_of_t5x(recipe, run_folder, tmp_path):
  tasks = ["tiny_score", "tiny_silent"]
  predicted = main.infer(**infer_flags(recipe, run_folder, tmp_path, tasks))
  scored = main.score(
    **infer_flags(recipe, run_folder, tmp_path, "tiny_score", "score")
  )
  assert [path.name for path in (*predicted, *scored)] == [
    "tiny_score-predict.jsonl-00000-of-00001",
    "tiny_silent-predict.jsonl-00000-of-00001",
    "tiny_score-score.jsonl-00000-of-00001",
  ]
  for path in (*predicted, *scored):
    assert len(path.read_text().splitlines()) == 7


def test_results_of_two_runs_do_not_mix(recipe, run_folder, tmp_path):
  flags = infer_flags(recipe, run_folder, tmp_path, "tiny_score")
  main.infer(**flags)
  other = tmp_path / "other"
  shutil.copytree(run_folder, other)
  before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*")}
  with pytest.raises(errors.UsageError, match="holds results of .*new folder"):
    main.infer(**infer_flags(recipe, other, tmp_path, "tiny_score"))
  assert before == {
    path: path.stat().st_mtime_ns for path in tmp_path.glob("*")
  }
  with pytest.raises(errors.UsageError, match="holds a run"):
    main.infer(**infer_flags(recipe, run_folder, run_folder, "tiny_score"))


def test_results_on_other_data_do_not_mix(tmp_path):
  folder = epath.Path(tmp_path)
  runs.claim_output(folder, "", "run", {"a:1.0.0": "x"})
  runs.claim_output(folder, "", "run", {"b:1.0.0": "y"})
  known = json.loads((tmp_path / runs.RESULTS_FILE).read_text())
  assert known["data"] == {"a:1.0.0": "x", "b:1.0.0": "y"}
  assert known["versions"]["t5cr"]
  with pytest.raises(errors.UsageError, match="another edition of a:1.0.0. Ch"):
    runs.claim_output(folder, "", "run", {"a:1.0.0": "z", "b:1.0.0": "y"})
  assert json.loads((tmp_path / runs.RESULTS_FILE).read_text()) == known


@pytest.mark.parametrize(
  ("binding", "message"),
  [
    ("infer.mode = 'guess'", "'guess' is unknown"),
    ("EVAL_SPLIT = 'dev'", "no split 'dev'"),
  ],
)
def test_infer_checks_before_it_writes(
  recipe, run_folder, tmp_path, binding, message
):
  flags = infer_flags(recipe, run_folder, tmp_path / "new", "tiny_score")
  flags["gin_bindings"].append(binding)
  with pytest.raises(errors.UsageError, match=message):
    main.infer(**flags)
  assert not (tmp_path / "new").exists()


def test_score_scores_whatever_the_file_says(recipe, run_folder, tmp_path):
  (path,) = main.score(
    **infer_flags(recipe, run_folder, tmp_path, "tiny_score", "infer")
  )
  assert path.name.startswith("tiny_score-score.jsonl")


@pytest.mark.parametrize(
  ("bindings", "message"),
  [
    (["TRIAN_STEPS = 5"], "TRIAN_STEPS.*Did you mean TRAIN_STEPS"),
    (["TRAIN_STEPS = %NOWHERE"], "NOWHERE .used by TRAIN_STEPS"),
    (["T5Config.emb_dims = 5"], "emb_dims"),
    (["Transformer.emb_dim = 5"], "Transformer"),
    (["TRAIN_STEPS = five"], "five"),
    (["LEARNING_RATE_SCHEDULE = 'steep'"], "'steep' is unknown"),
    (["MIXTURE_OR_TASK_NAME = 'tiny_mixtrue'"], "Nearest: tiny_mixture"),
    (["EVAL_TASKS = ['tiny_silent']"], "tiny_silent cannot be evaluated"),
    (["VOCAB_SIZE = 128"], "128 rows.*259 tokens"),
    (["MESH_MODEL = 3"], "MESH_MODEL"),
    (["INITIAL_CHECKPOINT_PATH = '/nowhere'"], "No checkpoint at /nowhere"),
    (["MIXTURE_OR_TASK_MODULE = 'no_such'"], "no module 'no_such'"),
    (["TASK_FEATURE_LENGTHS = {'inputs': 32}"], "TASK_FEATURE_LENGTHS"),
    (["EVAL_TASKS = ['tinny_*']"], "No seqio Task matches 'tinny_"),
    (["MODEL_DIR = /tmp/x"], r"--gin.MODEL_DIR=/tmp/x: .*\"'text'\""),
  ],
)
def test_what_is_wrong_is_named_before_anything_is_written(
  recipe, tmp_path, bindings, message
):
  with pytest.raises(errors.UsageError, match=message) as caught:
    train(recipe, tmp_path / "run", *bindings)
  assert "In call to configurable" not in str(caught.value)
  assert not (tmp_path / "run").exists()


def test_an_initial_checkpoint_of_another_model_is_refused(
  recipe, run_folder, tmp_path
):
  start = f"INITIAL_CHECKPOINT_PATH = {str(run_folder)!r}"
  with pytest.raises(errors.UsageError, match="mlp_dim is 32 there and 64"):
    train(recipe, tmp_path / "run", start, "MLP_DIM = 64")
  assert not (tmp_path / "run").exists()


def test_a_gin_file_that_is_not_there_is_named(tmp_path):
  with pytest.raises(errors.UsageError, match="absent.gin.*search_paths"):
    main.train(gin_files=["absent.gin"])


def test_gin_search_paths_are_searched(recipe, tmp_path):
  (tmp_path / "found.gin").write_text("TRAIN_STEPS = -5\n")
  with pytest.raises(errors.UsageError, match="TRAIN_STEPS is -5"):
    main.train(
      gin_files=["t5cr/finetune.gin", recipe, "found.gin"],
      gin_bindings=["MODEL_DIR = 'x'"],
      gin_search_paths=[tmp_path],
    )


def test_a_recipe_alone_asks_for_a_run_file():
  with pytest.raises(errors.UsageError, match="t5cr/finetune.gin"):
    main.train(gin_files=["recipe/sample.gin"])


def test_eval_with_another_vocabulary_is_refused(recipe, tmp_path):
  config = dataclasses.replace(tiny.CONFIG, vocab_size=128)
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  small = training.initial_state(
    training.TrainConfig(train_steps=0), config, mesh
  )
  with saving.Writer(tmp_path / "small") as writer:
    writer.save(1, small, config, None)
  with pytest.raises(errors.UsageError, match="128 rows.*259 tokens"):
    main.eval(
      gin_files=["t5cr/eval.gin", recipe],
      gin_bindings=[
        "MIXTURE_OR_TASK_NAME = 'tiny_score'",
        f"CHECKPOINT_PATH = {str(tmp_path / 'small')!r}",
        f"EVAL_OUTPUT_DIR = {str(tmp_path / 'out')!r}",
      ],
    )


def test_a_damaged_record_is_not_overwritten(recipe, tmp_path):
  (tmp_path / "run.json").write_text("{")
  with pytest.raises(errors.UsageError, match="run.json is no JSON"):
    train(recipe, tmp_path)
  assert (tmp_path / "run.json").read_text() == "{"
  with pytest.raises(errors.UsageError):
    runs.check_same(tmp_path, {})


def test_a_module_in_the_working_directory_registers_tasks(
  tmp_path, monkeypatch
):
  from t5cr.engine import feed

  (tmp_path / "lies_here.py").write_text("FOUND = True\n")
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  feed.import_tasks("lies_here")
  assert sys.modules.pop("lies_here").FOUND
