"""Folders with spaces, quotes, new lines and other letters in their names."""

import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

from t5cr import cli, errors
from t5cr.engine import formats, gin_config, main
from t5cr.study import rows, settings, variants

LAUNCH = pathlib.Path(__file__).parents[2] / "launch"
# Read by a shell, gin, YAML, a URL, a pattern or a format as something else.
ODD = "-a 'b\" {x}é—日$(touch EXECUTED)`id`;#%20&|\n\t,=@~"
# What TensorFlow or Orbax would read as another folder.
UNFIT = ("[1]", "a*", "b?", "c\\nd", "\udc80")


def test_the_command_of_a_row_means_the_folder(watched, monkeypatch):
  out = watched.inside / ODD
  out.mkdir()
  made = rows.Made({}, rows.Vocabulary(out / "v'.model", "0"), {})
  chosen = settings.Settings(
    corpus="sample",
    out=out,
    preset="sample",
    rows=("redial",),
    seed=0,
    steps=3,
    max_bad_lines=0,
  )
  job = rows.job(out, chosen, variants.ROWS["redial"], made)
  arguments = [cli.rewrite(word) for word in job.command[4:]]
  values = [word.partition("=") for word in arguments]
  files = [value for flag, _, value in values if flag == "--gin_file"]
  bindings = [value for flag, _, value in values if flag == "--gin_bindings"]
  gin_config.parse(files, bindings)
  assert gin_config.build(main._TRAIN).model_dir == str(out / "rows/redial")
  assert ("--tfds_data_dir", "=", str(out / "data")) in values


def test_gin_files_are_found_under_any_name(watched):
  for name in (ODD.replace("\n", ""), "[x]*?.gin", "d\\e.gin"):
    path = watched.inside / name
    path.write_text("include 't5cr/finetune.gin'\ninclude 'recipe/tiny.gin'\n")
    row, model_dir = "recipe/rows/redial.gin", f"MODEL_DIR = {ODD!r}"
    text = gin_config.parse([path, row], [model_dir])
    assert "MODEL_DIR" in text


@pytest.mark.parametrize("name", UNFIT)
def test_folders_that_would_be_read_as_others_are_told(watched, name, capsys):
  folder = watched.inside / name
  folder.mkdir()
  with pytest.raises(errors.UsageError, match="read as something else"):
    formats.find(folder)
  data = ["data", "vocabulary", "--out", "x", "--tfds_data_dir", str(folder)]
  assert cli.main(data) == 2
  assert cli.main(["reproduce", "--out", str(folder)]) == 2
  said = " ".join(capsys.readouterr().err.replace("│", " ").split())
  assert said.count("read as something else") == 2
  assert not list(folder.iterdir())


WORDS = [ODD, "it's", "$(touch EXECUTED)'`", "\\'", "{a,b}", "!x", "*", "~", ""]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_commands_of_the_launchers_are_the_same_in_any_shell(watched, shell):
  """SLURM's scripts and those of a TPU's machines are read by a shell."""
  source = f"source {shlex.quote(str(LAUNCH / 'lib.sh'))}"
  run = {"capture_output": True, "check": True, "cwd": watched.inside}
  words = [word for word in WORDS if word != "~"]  # of the machine, on purpose
  asked = ["bash", "-c", f'{source}; quoted "$@"', "x", *words]
  line = subprocess.run(asked, **run).stdout
  told = [shell, "-c", b"printf '%s\\0' " + line]
  assert subprocess.run(told, **run).stdout.decode().split("\0") == [*words, ""]


def test_a_job_gets_the_folder_that_was_named(watched):
  out = '/data/it\'s a \\ "$(touch EXECUTED)"'
  command = [LAUNCH / "job.sh", "train", "redial", "--out", out]
  told = subprocess.run(
    [*command, "--recipe", "tiny", "--python", "python", "--dry-run"],
    capture_output=True,
    check=True,
    text=True,
    cwd=watched.inside,
  ).stdout
  (binding,) = [
    cli.rewrite(word)
    for word in shlex.split(told)
    if word.startswith("--gin.MODEL_DIR=")
  ]
  files = ["t5cr/finetune.gin", "recipe/tiny.gin", "recipe/rows/redial.gin"]
  gin_config.parse(files, [binding.partition("=")[2]])
  assert gin_config.build(main._TRAIN).model_dir == f"{out}/rows/redial"


def test_launchers_refuse_control_characters(watched):
  for flag in ("--out=/a\nb", "--gin.MODEL_DIR='\x1b[2J'"):
    ended = subprocess.run(
      [LAUNCH / "job.sh", "report", "--out=/x", flag, "--dry-run"],
      capture_output=True,
      check=False,
    )
    assert ended.returncode == 2 and b"control character" in ended.stderr
    assert b"\x1b" not in ended.stderr


TINY = """
include 't5cr/finetune.gin'
include 'recipe/sample.gin'
include 'recipe/rows/redial.gin'
EMB_DIM = 16
MLP_DIM = 16
NUM_HEADS = 2
HEAD_DIM = 8
NUM_ENCODER_LAYERS = 1
NUM_DECODER_LAYERS = 1
TRAIN_STEPS = 2
BATCH_SIZE = 8
EVAL_NUM_EXAMPLES = 8
EVAL_BATCH_SIZE = 8
TASK_FEATURE_LENGTHS = {'inputs': 32, 'targets': 16}
EVAL_TASKS = ['t5cr_redial_conversation']
"""


@pytest.mark.long
def test_all_commands_work_in_an_odd_folder(watched, monkeypatch):
  """From raw files to a report and an exported model."""
  folder = watched.inside / ODD
  folder.mkdir()
  monkeypatch.chdir(folder)
  raw, data = folder / "-raw [x]*'", folder / "-data {1}"
  vocabulary, job = folder / "-v [x]?'\n.model", folder / "-my 'job [x].gin"
  run = folder / "-run 'y\"\n"
  job.write_text(TINY)
  monkeypatch.setenv("T5CR_VOCABULARY", str(vocabulary))
  read = f"--tfds_data_dir={data}"
  for command in (
    ["data", "sample", f"--raw={raw}"],
    ["data", "build", f"--raw={raw}", read, "--only=t5cr_redial"],
    ["data", "vocabulary", read, f"--out={vocabulary}", "--size=300"],
    ["train", f"--gin_file={job}", f"--gin.MODEL_DIR={str(run)!r}", read],
    [
      *("eval", "--gin_file=t5cr/eval.gin", "--gin_file=recipe/sample.gin"),
      f"--gin.CHECKPOINT_PATH={str(run)!r}",
      f"--gin.EVAL_OUTPUT_DIR={str(folder / '-results')!r}",
      "--gin.EVAL_NUM_EXAMPLES=8",
      "--gin.TASK_FEATURE_LENGTHS={'inputs': 32, 'targets': 16}",
      "--gin.MIXTURE_OR_TASK_NAME='t5cr_redial_conversation'",
      read,
    ],
    ["report", "--", str(run)],
    ["report", "--out=-report x", "--", f"n'm={folder / '-results'}"],
    ["convert", "--to=hf", "--", str(run), "-hf 'x"],
  ):
    assert cli.main(command) == 0, command
  assert {"report.html", "report.json"} <= set(os.listdir("-report x"))
  assert (folder / "-hf 'x" / "model.safetensors").exists()
  assert os.listdir(watched.inside) == [ODD]
  monkeypatch.chdir(watched.root)
  shutil.rmtree(folder)
