import subprocess
import sys
import types

import pytest

from t5cr import cli, errors


def test_help_loads_nothing_heavy():
  code = (
    "import sys\n"
    "from t5cr import cli\n"
    "status = cli.main(['--help'])\n"
    "heavy = {'jax', 'tensorflow', 'seqio', 'numpy', 'matplotlib'}\n"
    "print(status, sorted(heavy & set(sys.modules)))\n"
  )
  ran = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert ran.stdout.splitlines()[-1] == "0 []"
  assert "reproduce" in ran.stdout


@pytest.mark.parametrize(
  "given, rewritten",
  [
    ("--gin.TRAIN_STEPS=100", "--gin_bindings=TRAIN_STEPS = 100"),
    ("--gin.train/utils.X=@f()", "--gin_bindings=train/utils.X = @f()"),
    ("--gin.A='x=y-z'", "--gin_bindings=A = 'x=y-z'"),
    ("--tfds-data-dir=/a-b", "--tfds_data_dir=/a-b"),
    ("--gin_file=a-b.gin", "--gin_file=a-b.gin"),
    ("some-path", "some-path"),
    ("-h", "-h"),
  ],
)
def test_rewrite(given, rewritten):
  assert cli.rewrite(given) == rewritten


@pytest.mark.parametrize("bad", ["--gin.TRAIN_STEPS", "--gin.=3"])
def test_a_binding_without_name_or_value(bad):
  with pytest.raises(errors.UsageError, match="--gin.NAME=VALUE"):
    cli.rewrite(bad)


@pytest.fixture
def engine(monkeypatch):
  """Stands for the engine; keeps what it was called with."""
  calls = {}
  fake = types.ModuleType("t5cr.engine.main")
  for name in ("train", "eval", "infer", "score"):
    setattr(
      fake, name, lambda _name=name, **given: calls.update({_name: given})
    )
  monkeypatch.setitem(sys.modules, "t5cr.engine.main", fake)
  monkeypatch.setattr("t5cr.engine.main", fake, raising=False)
  monkeypatch.setattr("t5cr.engine.gin_config.parse", lambda *given: "")
  monkeypatch.setattr("t5cr.quiet.import_tensorflow", lambda: None)
  return calls


@pytest.mark.parametrize("action", ["train", "eval", "infer", "score"])
def test_t5x_flags_reach_the_engine(engine, tmp_path, action):
  status = cli.main(
    [
      action,
      "--gin_file=t5cr/finetune.gin",
      "--gin_file=recipe/sample.gin",
      "--gin.TRAIN_STEPS=3",
      '--gin.MODEL_DIR="/x"',
      "--gin_search_paths=a,b",
      f"--tfds_data_dir={tmp_path}",
      "--seqio_additional_cache_dirs=c",
    ]
  )
  assert status == 0
  given = engine[action]
  assert given["gin_files"] == ["t5cr/finetune.gin", "recipe/sample.gin"]
  assert given["gin_bindings"] == ["TRAIN_STEPS = 3", 'MODEL_DIR = "/x"']
  assert given["gin_search_paths"] == ["a", "b"]
  assert given["tfds_data_dir"] == tmp_path
  assert given["seqio_additional_cache_dirs"] == ["c"]


def raising(error):
  def run(**given):
    raise error

  return run


@pytest.mark.parametrize(
  "error, status",
  [
    (errors.UsageError("macro MODEL_DIR has no value"), 2),
    (errors.RunError("row all ended"), 1),
    (KeyboardInterrupt(), 130),
    (PermissionError(13, "Permission denied", "/root/out"), 2),
  ],
)
def test_expected_errors_are_one_message(
  engine, monkeypatch, capsys, error, status
):
  monkeypatch.setattr(sys.modules["t5cr.engine.main"], "train", raising(error))
  assert cli.main(["train", "--gin_file=a.gin"]) == status
  output = capsys.readouterr()
  assert "Traceback" not in output.err
  assert str(error) in output.err


def test_data_errors_are_expected_too(engine, monkeypatch, capsys):
  from t5cr_tasks.errors import DataError

  error = DataError("ratings.csv:3: rating: 'five' is no number.")
  monkeypatch.setattr(sys.modules["t5cr.engine.main"], "train", raising(error))
  assert cli.main(["train", "--gin_file=a.gin"]) == 2
  assert "ratings.csv:3" in capsys.readouterr().err


@pytest.mark.parametrize(
  "arguments",
  [["--debug", "train", "--gin_file=a"], ["train", "--gin_file=a", "--debug"]],
)
def test_debug_shows_where_it_came_from(engine, monkeypatch, arguments):
  error = errors.UsageError("no")
  monkeypatch.setattr(sys.modules["t5cr.engine.main"], "train", raising(error))
  with pytest.raises(errors.UsageError):
    cli.main(arguments)


def test_other_errors_keep_their_traceback(engine, monkeypatch):
  error = ZeroDivisionError()
  monkeypatch.setattr(sys.modules["t5cr.engine.main"], "train", raising(error))
  with pytest.raises(ZeroDivisionError):
    cli.main(["train", "--gin_file=a"])


@pytest.mark.parametrize(
  "arguments",
  [
    ["train"],
    ["train", "--gin_file=a", "--no_such_flag=1"],
    ["no_such_command"],
    ["reproduce", "--out=/tmp/x", "--quick", "--rows=all"],
    ["reproduce", "--out=/tmp/x", "--jobs=0"],
    ["report", "/nowhere"],
  ],
)
def test_wrong_flags_end_with_status_2(engine, arguments, capsys):
  assert cli.main(arguments) == 2
  assert capsys.readouterr().err


def test_version(capsys):
  assert cli.main(["--version"]) == 0
  assert capsys.readouterr().out.startswith("t5cr 0.")
