import json
import os

import pytest

from t5cr import errors, progress
from t5cr.study import opening, stages

SETTINGS = {"corpus": "sample", "steps": None}


def nothing(_):
  return []


def quiet():
  return progress.Reporter("quiet")


@pytest.fixture
def study(tmp_path):
  with opening.open_study(tmp_path / "out", SETTINGS, quiet()) as opened:
    yield opened


def test_a_stage_that_stands_is_skipped(study):
  ran = []
  made = study.out / "made"

  def run():
    ran.append(1)
    made.write_text("x")
    return {"count": 3}

  for _ in range(2):
    assert study.stage("data", {"a": 1}, lambda _: [[made]], run) == {
      "count": 3
    }
  assert len(ran) == 1


@pytest.mark.parametrize("cause", ["inputs", "output", "killed"])
def test_a_stage_is_done_again(study, cause):
  made = study.out / "made"
  made.write_text("x")
  study.stage("data", {"a": 1}, lambda _: [[made]], lambda: "first")
  inputs = {"a": 1}
  if cause == "inputs":
    inputs = {"a": 2}
  elif cause == "output":
    made.unlink()
  else:
    study.begin("data", inputs)
  again = study.stage("data", inputs, lambda _: [[made]], lambda: "second")
  assert again == "second"


def test_a_stage_that_fails_is_not_done(study):
  with pytest.raises(RuntimeError):
    study.stage(
      "data", {}, nothing, lambda: (_ for _ in ()).throw(RuntimeError())
    )
  assert study.record("data")["state"] == "started"
  assert not study.stands("data", {}, ())


def test_other_inputs_below_trained_rows_are_refused(study):
  study.stage("data", {"sha256": "aa"}, nothing, lambda: {})
  study.begin("row_redial", {})
  before = study.record("data")
  with pytest.raises(errors.UsageError, match='sha256: "aa" before, "bb" now'):
    study.stage("data", {"sha256": "bb"}, nothing, lambda: {})
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
  with opening.open_study(tmp_path, SETTINGS, quiet()):
    pass
  other = SETTINGS | {"steps": 10}
  with (
    pytest.raises(errors.UsageError, match="steps: null before, 10 now"),
    opening.open_study(tmp_path, other, quiet()),
  ):
    pass


def test_a_folder_with_something_else_is_left_alone(tmp_path):
  (tmp_path / "thesis.tex").write_text("x")
  with (
    pytest.raises(errors.UsageError, match="thesis.tex"),
    opening.open_study(tmp_path, SETTINGS, quiet()),
  ):
    pass
  assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path):
  path = tmp_path / "out"
  path.write_text("x")
  with (
    pytest.raises(errors.UsageError, match="is a file"),
    opening.open_study(path, SETTINGS, quiet()),
  ):
    pass


def test_two_at_once_are_refused(study):
  with (
    pytest.raises(errors.UsageError, match=f"process {os.getpid()}"),
    opening.open_study(study.out, SETTINGS, quiet()),
  ):
    pass


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


@pytest.mark.parametrize(
  "name",
  ["../kept", "/kept", "linked/kept", "stages/../..", "..", "stages/..", ""],
)
def test_a_record_cannot_have_other_files_removed(tmp_path, name):
  """The folder may be anybody's."""
  kept = tmp_path / "kept"
  kept.write_text("x")
  name = str(kept) if name == "/kept" else name
  with opening.open_study(tmp_path / "out", SETTINGS, quiet()) as study:
    (study.out / "linked").symlink_to(tmp_path)
    study.begin("data", {})
    study.finish("data", {}, 0.0)
    files = {name: {"size": 2, "mtime_ns": 0, "sha256": "aa"}}
    stages.write_json(
      study.out / "stages" / "outputs" / "data.json",
      [{"paths": [name], "files": files}],
    )
    with pytest.raises(errors.UsageError, match="lies outside of"):
      study.stands("data", {}, ())
  assert kept.read_text() == "x"


CLIMBS = """\
[{"paths": ["stages/../.."], "files": {"gone": {"sha256": "0"}}}]"""


@pytest.mark.parametrize(
  "text", ["[", "3", '{"a": 1}', '[{"paths": 1}]', CLIMBS]
)
def test_records_that_make_no_sense_are_removed(tmp_path, text):
  with opening.open_study(tmp_path, SETTINGS, quiet()):
    pass
  for name in ("data", "outputs/data", "files/raw"):
    file = tmp_path / "stages" / f"{name}.json"
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(text)
  with opening.open_study(tmp_path, SETTINGS, quiet()) as study:
    assert not study.stands("data", {}, ())
    assert study.known_files("raw") == {}
