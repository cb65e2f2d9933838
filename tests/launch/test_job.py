"""What launch/job.sh runs: gin files that parse, and a run for real."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from t5cr.engine import gin_config, main
from t5cr.study import variants

ROOT = pathlib.Path(__file__).parents[2]
ROWS = tuple(variants.ROWS)
CLASSES = {"train": "_TRAIN", "eval": "_EVAL", "score": "_INFER"}
FUNCTIONS = {"train": "train", "eval": "evaluate", "score": "infer"}
RUNS = [(verb, row) for verb in CLASSES for row in ROWS]


def command(*words: str) -> list[str]:
  """The gin-configured command of a job, as `local.sh --dry-run` shows it."""
  said = subprocess.run(
    [ROOT / "launch" / "local.sh", *words, "--out", "/study", "--dry-run"],
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  (line,) = (line for line in said.splitlines() if " --gin_file=" in line)
  return shlex.split(line)


def values(words: list[str], flag: str) -> list[str]:
  return [w.partition("=")[2] for w in words if w.startswith(f"--{flag}=")]


def bindings(words: list[str]) -> list[str]:
  """`--gin.NAME=VALUE` as gin reads it."""
  named = [w.removeprefix("--gin.") for w in words if w.startswith("--gin.")]
  return [word.replace("=", " = ", 1) for word in named]


@pytest.mark.parametrize("recipe", ["paper", "tiny"])
@pytest.mark.parametrize("verb", CLASSES)
def test_the_engine_takes_the_gin_files_and_macros(verb, recipe):
  row = "redial_tags"
  words = command(verb, row, "--recipe", recipe, "--gin.SEED=3")
  assert words[1:4] == ["-m", "t5cr.cli", verb]
  extra = [] if verb == "train" else ["SEED = 3"]  # of training only
  given = [b for b in bindings(words) if b not in extra]
  gin_config.parse(values(words, "gin_file"), given)
  run = gin_config.build(getattr(main, CLASSES[verb]))
  if verb == "train":
    assert run.model_dir == f"/study/rows/{row}"
    assert run.data.mixture_or_task_name == variants.ROWS[row].mixture
    assert run.config.seed == 3
  else:
    assert run.checkpoint_path == f"/study/rows/{row}"
  assert values(words, "tfds_data_dir") == ["/study/data"]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_trained_on_its_mixture(row):
  words = command("train", row)
  gin_config.parse(values(words, "gin_file"), bindings(words))
  run = gin_config.build(main._TRAIN)
  expected = variants.ROWS[row].mixture
  assert run.data.mixture_or_task_name == expected or expected is None
  assert (run.config.train_steps == 0) == (row == "none")


def test_t5x_takes_the_gin_files_and_macros(tmp_path, character_vocabulary):
  cases, recipe = {}, "paper"
  for verb, row in [("train", "all"), *((v, "all") for v in ("eval", "score"))]:
    words = command(verb, row, "--engine", "t5x", "--recipe", recipe)
    script = {"train": "train", "eval": "eval", "score": "infer"}[verb]
    assert words[1:3] == ["-m", f"t5x.{script}"]
    assert values(words, "gin_search_paths") == ["gin"]
    cases[verb] = {
      "function": FUNCTIONS[verb],
      "files": values(words, "gin_file"),
      "bindings": bindings(words),
      "steps": [0],
    }
  words = command("eval", "none", "--engine", "t5x", "--recipe", recipe)
  # A path on gs:// is not looked for: it can be read without a network.
  cases["none"] = {**cases["eval"], "bindings": bindings(words)}
  for name in ("eval", "score"):
    place = tmp_path / "checkpoint_5"
    cases[name]["bindings"].append(f"CHECKPOINT_PATH = '{place}'")
  (tmp_path / "checkpoint_5").mkdir()
  ran = subprocess.run(
    [sys.executable, ROOT / "tests" / "gin" / "t5x_jobs.py", "standin"],
    input=json.dumps({"search_paths": [str(ROOT / "gin")], "cases": cases}),
    env={
      **os.environ,
      "PYTHONPATH": str(ROOT),
      "JAX_PLATFORMS": "cpu",
      "T5CR_VOCABULARY": str(character_vocabulary),
    },
    capture_output=True,
    text=True,
  )
  assert ran.returncode == 0, ran.stderr
  results = json.loads(ran.stdout)
  for name, result in results.items():
    assert "error" not in result, (name, result)
  restored = results["none"]["value"]["restore_checkpoint_cfg"]["path"]
  assert restored.startswith("gs://t5-data/pretrained_models/t5x/t5_base/")


def near(out: str, corpus: str) -> tuple[str, list[str]]:
  """The folder that `local.sh data` removes, and those of raw files."""
  said = subprocess.run(
    [ROOT / "launch" / "local.sh", "data", "--out", out, "--corpus", corpus]
    + ["--dry-run"],
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  (removed,) = re.findall("^rm -rf (.*)", said, re.M)
  return removed, re.findall(r"--raw (\S+) --tfds_data_dir", said)


def test_no_two_studies_or_corpora_share_a_folder_here():
  places = {
    (out, corpus): near(out, corpus)
    for out in ("gs://a/study", "gs://b/study", "gs://a/more/study")
    for corpus in ("sample", "published", "gs://a/raw")
  }
  removed = {folder for folder, _ in places.values()}
  assert len(removed) == 3
  for folder in removed:
    assert pathlib.Path(folder).parent == ROOT / "build" / "launch"
  raw = {one for _, folders in places.values() for one in folders}
  assert len(raw) == len(places)


@pytest.mark.parametrize(
  ("answer", "built"), [(0, False), (1, True), (2, False)]
)
def test_data_are_built_where_there_are_none(tmp_path, answer, built):
  """Whatever transfer.py answers: whole, none, or those of another corpus."""
  python = tmp_path / "python"
  python.write_text(
    '#!/usr/bin/env bash\necho "$@"\n'
    f"[[ $* != *--is-whole* ]] || exit {answer}\n"
  )
  python.chmod(0o755)
  ran = subprocess.run(
    [ROOT / "launch" / "job.sh", "data", "--out", "gs://bucket/study"]
    + ["--python", python],
    capture_output=True,
    text=True,
  )
  assert ran.returncode == (2 if answer == 2 else 0), ran.stderr
  lines = ran.stdout.splitlines()
  whole = "launch/transfer.py --is-whole gs://bucket/study/data published"
  assert lines[0] == whole
  assert any("data build" in line for line in lines) == built
  if built:  # The last thing that is written says of what it is.
    assert lines[-1].endswith(" gs://bucket/study/data published")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> pathlib.Path:
  """A study's folder with dialogues and a vocabulary of an invented corpus."""
  from t5cr_tasks import sample, vocabulary
  from t5cr_tasks.datasets import build

  out = tmp_path_factory.mktemp("study")
  size = sample.Size(
    users=2, dialogues=40, test_dialogues=3, reviews_per_movie=1
  )
  sample.write_corpus(out / "raw", size=size)
  build.build(out / "raw", out / "data", only=["t5cr_redial"])
  vocabulary.train(out / "data", out / "vocabulary" / "spm.model", size=400)
  return out


@pytest.mark.long
def test_a_row_is_trained_and_scored_here(study):
  def launch(verb: str, *flags: str) -> str:
    ran = subprocess.run(
      [
        *(ROOT / "launch" / "local.sh", verb, "redial", *flags),
        *("--out", study, "--recipe", "tiny", "--python", sys.executable),
        *("--vocabulary", study / "vocabulary" / "spm.model"),
      ],
      env={**os.environ, "T5CR_PROGRESS": "plain"},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    return ran.stdout

  task = "t5cr_redial_conversation"
  flags = ("--gin.TRAIN_STEPS=2", "--gin.CHECKPOINT_PERIOD=2")
  launch("train", *flags)
  run = study / "rows" / "redial"
  assert (run / "checkpoint_2").is_dir()
  replies = (run / "inference_eval" / f"{task}-000002.jsonl").read_text()
  launch("score", f"--gin.MIXTURE_OR_TASK_NAME='{task}'")
  (scores,) = (study / "scores" / "redial").glob("*-score.jsonl-*")
  lines = scores.read_text().splitlines()
  assert len(lines) == len(replies.splitlines()) > 0
