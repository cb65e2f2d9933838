"""gin files of run folders of others, and of one's own."""

import os
import pathlib
import sys

import gin
import pytest
from etils import epath
from gin import config as gin_internals

import t5cr
from t5cr import errors
from t5cr.engine import gin_config, main

JOB = """
include 't5cr/finetune.gin'
include 'recipe/sample.gin'
include 'recipe/rows/redial.gin'
"""


@pytest.fixture
def run(watched, monkeypatch) -> pathlib.Path:
  """A run folder, and a module that must not be imported."""
  folder = watched.inside / "run"
  (folder / "gin").mkdir(parents=True)
  (folder / "run.json").write_text("{}")
  module = f"import pathlib\npathlib.Path({str(watched.sentinel)!r}).touch()\n"
  (watched.inside / "evil.py").write_text(module)
  (watched.inside / "own.gin").write_text("import evil\n")
  monkeypatch.syspath_prepend(str(watched.inside))
  monkeypatch.delitem(sys.modules, "evil", raising=False)
  # MIXTURE_OR_TASK_MODULE is found in the working directory too.
  monkeypatch.chdir(watched.inside)
  return folder


def parse(path: pathlib.Path, *bindings: str):
  gin_config.parse([path], bindings)
  return gin_config.build(main._TRAIN)


ATTACKS = {
  "imports": "import evil",
  "imports from": "from evil import x",
  "calls anything": (
    "from __gin__ import dynamic_registration\nimport os\n"
    "MODEL_DIR = @os.system()\nos.system.command = 'touch EXECUTED'"
  ),
  "calls what is registered": "MODEL_DIR = @gin.singleton()",
  "sets what is not ours": "gin.singleton.constructor = 3",
  "names a module": "MIXTURE_OR_TASK_MODULE = 'evil'",
  "names a module by a macro": (
    "INNOCENT = 'evil'\nMIXTURE_OR_TASK_MODULE = %INNOCENT"
  ),
  "names a module past the macro": "train.module = 'evil'",
  "includes by a path": "include '../own.gin'",
  "writes elsewhere": "MODEL_DIR = '../../..'",
  "writes elsewhere, absolute": "MODEL_DIR = '/etc/t5cr'",
  "writes elsewhere past the macro": "train.model_dir = '/etc/t5cr'",
  "writes elsewhere by a macro": "HOME = '/etc/t5cr'\nMODEL_DIR = %HOME",
  "writes elsewhere by a scope": "x/train.model_dir = '/'\nMODEL_DIR='/etc'",
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", ["config.gin", "gin/config.gin"])
def test_a_gin_file_of_a_run_chooses_neither_code_nor_folders(
  watched, run, attack, place
):
  own = "" if "MODEL_DIR" in ATTACKS[attack] else f"MODEL_DIR = '{run}'\n"
  (run / place).write_text(JOB + own + ATTACKS[attack] + "\n")
  with pytest.raises(errors.UsageError, match="came with the run in"):
    parse(run / place)
  assert "evil" not in sys.modules


@pytest.mark.parametrize(
  "mark",
  [
    "results_of.json",
    "study.json",
    "model-info.txt",
    "checkpoint_12",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "flax_model.msgpack",
  ],
)
def test_all_kinds_of_run_folders_are_known(run, mark):
  (run / mark).parent.mkdir(exist_ok=True)
  (run / "run.json").rename(run / mark)
  (run / "evil.gin").write_text("import evil\n")
  with pytest.raises(errors.UsageError, match="imports evil") as told:
    parse(run / "evil.gin")
  assert f"for its {mark})" in str(told.value)


def test_what_a_run_calls_its_own_is_its_own(run):
  (run / "run.json").unlink()
  (run / "config.gin").write_text("import evil\n")
  (run / "link.gin").symlink_to("config.gin")
  for name in ("config.gin", "link.gin"):
    with pytest.raises(errors.UsageError, match="imports evil"):
      parse(run / name)


def test_weights_beside_ones_own_files_take_no_trust(watched, run, monkeypatch):
  """Where one works, at home, and beside runs that know what they are."""
  project = watched.inside / "home" / "project"
  (project / "gin").mkdir(parents=True)
  (project / "checkpoint_1000000").mkdir()
  (project.parent / "run.json").write_text("{}")
  own = project / "gin" / "own.gin"
  own.write_text(JOB + "import json\nMODEL_DIR = '/data/mine'\n")
  monkeypatch.chdir(project)
  with pytest.raises(errors.UsageError, match="home .it is one for its run"):
    parse(own)
  monkeypatch.setenv("HOME", str(project.parent))
  assert parse(own).model_dir == "/data/mine"
  (run / "checkpoint_1").mkdir()
  beside = watched.inside / "beside.gin"
  beside.write_text(own.read_text())
  assert parse(beside).model_dir == "/data/mine"


def test_a_link_to_it_and_an_inclusion_of_it_are_the_same(watched, run):
  (run / "config.gin").write_text(JOB + "import evil\n")
  link = watched.inside / "link.gin"
  link.symlink_to(run / "config.gin")
  including = watched.inside / "including.gin"
  including.write_text("include 'run/config.gin'\n")
  for path in (link, including):
    with pytest.raises(errors.UsageError, match="imports evil"):
      parse(path)


def test_what_it_includes_is_not_trusted_either(watched, run):
  (watched.inside / "own.gin").write_text("import evil\n")
  (run / "config.gin").write_text("include 'own.gin'\n")
  with pytest.raises(errors.UsageError, match="imports evil"):
    parse(run / "config.gin")


def test_the_command_line_says_what_goes(run):
  text = JOB + "MODEL_DIR = '/etc/t5cr'\nMIXTURE_OR_TASK_MODULE = 'evil'\n"
  (run / "config.gin").write_text(text)
  job = parse(
    run / "config.gin",
    "MODEL_DIR = '/data/mine'",
    "MIXTURE_OR_TASK_MODULE = 'my_tasks'",
  )
  assert (job.model_dir, job.module) == ("/data/mine", "my_tasks")


@epath.register_path_cls("stranger://")
class Stranger:
  """An address that epath alone can open, as gs:// is: of a local folder."""

  root = epath.Path()

  def __new__(cls, address: str):
    return cls.root / address.removeprefix("stranger://")


def test_a_run_of_a_bucket_is_judged_as_a_local_one(watched, run, monkeypatch):
  monkeypatch.setattr(Stranger, "root", epath.Path(watched.inside))
  address = "stranger://run/config.gin"
  for attack in ("import evil", "MODEL_DIR = 'stranger://run/../other'"):
    (run / "config.gin").write_text(JOB + attack + "\n")
    with pytest.raises(errors.UsageError, match="came with the run in str"):
      parse(address)
  (run / "config.gin").write_text(JOB + "MODEL_DIR = 'stranger://run/.'\n")
  assert parse(address).model_dir == "stranger://run/."
  (watched.inside / "mine.gin").write_text(JOB + "MODEL_DIR = '/data/mine'\n")
  assert parse("stranger://mine.gin").model_dir == "/data/mine"


def test_only_what_the_job_reads_matters(run):
  """A run that was copied: where it was written is no matter to eval."""
  evaluation = (
    "include 't5cr/eval.gin'\nCHECKPOINT_PATH = 'x'\n"
    "TASK_FEATURE_LENGTHS = {'inputs': 1, 'targets': 1}\n"
    "MIXTURE_OR_TASK_NAME = 'x'\n"
  )
  elsewhere = "MODEL_DIR = 'runs/elsewhere'\n"
  (run / "config.gin").write_text(JOB + elsewhere + evaluation)
  output = "EVAL_OUTPUT_DIR = '/data/mine'"
  gin_config.parse([run / "config.gin"], [output])
  assert gin_config.build(main._EVAL).output_dir == "/data/mine"
  with pytest.raises(errors.UsageError, match="written to /.*runs/elsewhere"):
    gin_config.build(main._TRAIN)


def test_what_a_files_own_imports_register_is_looked_at_too(
  watched, run, monkeypatch
):
  """It was not registered when the file was looked through."""
  registers = "import gin\ngin.external_configurable(dict, 'x', module='y')\n"
  (watched.inside / "registers.py").write_text(registers)
  monkeypatch.setattr(t5cr, "__path__", [*t5cr.__path__, str(watched.inside)])
  (run / "config.gin").write_text("import t5cr.registers\nMODEL_DIR = @y.x()\n")
  try:
    with pytest.raises(errors.UsageError, match="refers to y.x"):
      parse(run / "config.gin")
  finally:
    gin.clear_config()
    del sys.modules["t5cr.registers"]
    gin_internals._REGISTRY.pop("y.x")


def test_a_runs_own_configuration_goes_on_being_read(run):
  (run / "config.gin").write_text(JOB + f"MODEL_DIR = '{run}'\n")
  assert parse(run / "config.gin").model_dir == str(run)


def test_own_gin_files_do_what_they_did(watched, run):
  own = watched.inside / "mine.gin"
  own.write_text(JOB + "import json\nMODEL_DIR = '/data/mine'\n")
  module = "my_tasks"
  own.write_text(own.read_text() + f"MIXTURE_OR_TASK_MODULE = '{module}'\n")
  assert parse(own).module == module
  assert os.getcwd() == str(watched.inside)


@pytest.mark.parametrize(
  "text",
  ["(" * 999, "X = " + "[" * 999, "X = (", "X = '''", "X = @", "\0", "X = 1 +"],
)
def test_a_gin_file_that_is_none_is_told(run, text):
  (run / "config.gin").write_text(text)
  with pytest.raises(errors.UsageError):
    parse(run / "config.gin")
