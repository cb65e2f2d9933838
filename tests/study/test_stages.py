import json
import os
import subprocess
import sys

import pytest

from t5cr import errors, progress
from t5cr.study import stages

SETTINGS = {"corpus": "sample", "steps": None}


def quiet():
  return progress.Reporter("quiet")


@pytest.fixture
def study(tmp_path):
  with stages.open_study(tmp_path / "out", SETTINGS, quiet()) as opened:
    yield opened


def test_a_stage_that_stands_is_skipped(study):
  ran = []
  made = study.out / "made"

  def run():
    ran.append(1)
    made.write_text("x")
    return {"count": 3}

  for _ in range(2):
    assert study.stage("data", {"a": 1}, [made], run) == {"count": 3}
  assert len(ran) == 1


@pytest.mark.parametrize("cause", ["inputs", "output", "killed"])
def test_a_stage_is_done_again(study, cause):
  made = study.out / "made"
  made.write_text("x")
  study.stage("data", {"a": 1}, [made], lambda: "first")
  inputs = {"a": 1}
  if cause == "inputs":
    inputs = {"a": 2}
  elif cause == "output":
    made.unlink()
  else:
    study.begin("data", inputs)
  assert study.stage("data", inputs, [made], lambda: "second") == "second"


def test_a_stage_that_fails_is_not_done(study):
  with pytest.raises(RuntimeError):
    study.stage("data", {}, [], lambda: (_ for _ in ()).throw(RuntimeError()))
  assert study.record("data")["state"] == "started"
  assert not study.stands("data", {}, [])


def test_other_inputs_below_trained_rows_are_refused(study):
  study.stage("data", {"sha256": "aa"}, [], lambda: {})
  study.begin("row_redial", {})
  before = study.record("data")
  with pytest.raises(errors.UsageError, match='sha256: "aa" before, "bb" now'):
    study.stage("data", {"sha256": "bb"}, [], lambda: {})
  assert study.record("data") == before


def test_differences_name_the_innermost_key():
  before = {"data": {"t5cr_redial": "aa", "t5cr_reviews": "bb"}, "seed": 0}
  now = {"data": {"t5cr_redial": "cc", "t5cr_reviews": "bb"}, "seed": 0}
  assert stages.differences(before, now) == [
    'data.t5cr_redial: "aa" before, "cc" now'
  ]


def test_seconds_of_a_resumed_stage_add_up(study):
  study.begin("row_all", {"a": 1})
  study.pause("row_all", 10.0)
  study.begin("row_all", {"a": 1})
  study.finish("row_all", {}, 5.0)
  assert study.record("row_all")["seconds"] == 15.0


def test_other_settings_are_refused_and_named(tmp_path):
  with stages.open_study(tmp_path, SETTINGS, quiet()):
    pass
  other = SETTINGS | {"steps": 10}
  with (
    pytest.raises(errors.UsageError, match="steps: null before, 10 now"),
    stages.open_study(tmp_path, other, quiet()),
  ):
    pass


def test_a_folder_with_something_else_is_left_alone(tmp_path):
  (tmp_path / "thesis.tex").write_text("x")
  with (
    pytest.raises(errors.UsageError, match="thesis.tex"),
    stages.open_study(tmp_path, SETTINGS, quiet()),
  ):
    pass
  assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path):
  path = tmp_path / "out"
  path.write_text("x")
  with (
    pytest.raises(errors.UsageError, match="is a file"),
    stages.open_study(path, SETTINGS, quiet()),
  ):
    pass


def test_two_at_once_are_refused(study):
  with (
    pytest.raises(errors.UsageError, match=f"process {os.getpid()}"),
    stages.open_study(study.out, SETTINGS, quiet()),
  ):
    pass


def test_a_child_of_a_killed_run_is_waited_for(tmp_path):
  """The lock is held by a child whose parent is gone; it ends soon."""
  code = (
    "import os, subprocess, sys, pathlib\n"
    "from t5cr import progress\n"
    "from t5cr.study import stages\n"
    "with stages.open_study(pathlib.Path(sys.argv[1]), {},"
    " progress.Reporter('quiet')) as study:\n"
    "  subprocess.Popen(['sleep', '1'], pass_fds=[study.lock_file])\n"
    "  os._exit(9)\n"
  )
  subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
  with stages.open_study(tmp_path, {}, quiet()) as opened:
    assert opened.trained_rows() == []


def test_a_broken_record_names_the_file(study):
  study.begin("data", {})
  study.record_path("data").write_text("{")
  with pytest.raises(errors.UsageError, match="stages/data.json"):
    study.record("data")


def test_fingerprints_read_a_file_only_when_it_changed(tmp_path):
  path = tmp_path / "raw.csv"
  path.write_text("a")
  first = stages.files_fingerprint({"raw": path}, None)
  trusted = json.loads(json.dumps(first))
  trusted["raw"]["sha256"] = "from before"
  again = stages.files_fingerprint({"raw": path}, trusted)
  assert again["raw"]["sha256"] == "from before"
  path.write_text("ab")
  changed = stages.files_fingerprint({"raw": path}, trusted)
  assert changed["raw"]["sha256"] not in ("from before", first["raw"]["sha256"])


def test_writing_leaves_no_other_file(tmp_path):
  stages.write_json(tmp_path / "deep" / "x.json", {"a": 1})
  assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.json"]
