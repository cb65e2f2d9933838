"""The whole study, with small stand-ins for the data sets and the training."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
import stand_ins

from t5cr import errors, progress
from t5cr.study import children, reproduce, rows, settings, variants
from t5cr.study.baselines import options
from t5cr_tasks.probes import worlds

built = stand_ins.built
snapshot = stand_ins.snapshot


def test_everything_once_then_nothing(world):
  report_dir = world.run()
  stages = ["raw", "data", "vocabulary", "probes", "baselines"]
  assert world.calls == [*stages, "row redial", "row all"]
  report = json.loads((report_dir / "report.json").read_text())
  assert [row["name"] for row in report["rows"]] == ["redial", "all"]
  assert [entry["name"] for entry in report["baselines"]] == ["als"]
  said = world.said.getvalue()
  assert "Baseline 'retrieval' is left out: no dialogues." in said
  assert report["corpus"]["invented"]
  before = snapshot(world.out)
  world.run()
  assert world.calls == []
  assert "Nothing to do" in world.said.getvalue()
  assert snapshot(world.out) == before


def test_other_options_of_baselines_are_no_other_study(world, monkeypatch):
  world.run(("redial",))
  monkeypatch.setattr(options, "_VERSION", options._VERSION + 1)
  report_dir = world.run(("redial",))
  assert world.calls == ["baselines"]
  report = json.loads((report_dir / "report.json").read_text())
  assert [row["name"] for row in report["rows"]] == ["redial"]
  # A study of before there were baselines gets them.
  shutil.rmtree(world.out / "baselines")
  (world.out / "stages" / "baselines.json").unlink()
  world.run(("redial",))
  assert world.calls == ["baselines"]


def test_rows_can_be_added(world):
  world.run(("redial",))
  report_dir = world.run(("redial", "none"))
  assert world.calls == ["row none"]
  report = json.loads((report_dir / "report.json").read_text())
  assert [row["name"] for row in report["rows"]] == ["none", "redial"]


def test_other_settings_change_nothing(world):
  world.run(("redial",))
  before = snapshot(world.out)
  with pytest.raises(errors.UsageError, match="steps: null before, 7 now"):
    world.run(("redial",), steps=7)
  assert snapshot(world.out) == before


@pytest.mark.parametrize("name", ["t5cr_redial", "t5cr_probes/recommendation"])
def test_data_that_something_else_built_are_refused(world, name):
  world.run(("redial",))
  metadata = world.out / "data" / name / "1.0.0" / "metadata.json"
  own = metadata.read_text()
  metadata.write_text('{"fingerprint": "another"}')
  with pytest.raises(errors.UsageError, match="is not the set .* Remove that"):
    world.run(("redial", "all"))
  assert "row all" not in world.calls
  # An older version may stand beside the one that is used.
  metadata.parent.with_name("0.9.0").mkdir()
  metadata.rename(metadata.parent.with_name("0.9.0") / metadata.name)
  metadata.write_text(own)
  world.run(("redial", "all"))
  assert world.calls == ["row all"]


def test_a_row_that_failed_is_run_again_alone(world):
  world.fail.touch()
  with pytest.raises(errors.RunError, match="out of memory"):
    world.run()
  assert "✗ row all failed" in world.said.getvalue()
  world.fail.unlink()
  world.run()
  assert world.calls == ["row all"]
  log = (world.out / "rows" / "all" / "log.txt").read_text()
  assert log.count("== ") == 2


def test_rows_without_data_are_left_out_with_a_word(world):
  world.missing = {variants.REVIEWS}
  report_dir = world.run(tuple(variants.ROWS))
  assert "row redial_review" not in world.calls
  words = "Row 'all' is left out: the corpus has no reviews/reviews.csv."
  assert words in world.said.getvalue()
  text = (report_dir / "report.md").read_text()
  assert "- **All (T5-CR)**: the corpus has no reviews/reviews.csv." in text


def test_no_row_can_run(world):
  world.missing = {variants.REVIEWS}
  with pytest.raises(errors.UsageError, match="none of the rows all can"):
    world.run(("all",))


def test_dialogues_alone_make_no_probes(world):
  world.missing = {variants.SEQUENCES, variants.TAGS, variants.REVIEWS}
  report_dir = world.run(("none", "redial"))
  assert "probes" not in world.calls
  assert "No probes are built" in world.said.getvalue()
  assert (report_dir / "report.md").exists()


def test_raw_files_that_changed_are_refused(world, tmp_path):
  raw = tmp_path / "raw"
  (raw / "redial").mkdir(parents=True)
  file = raw / "redial" / "train_data.jsonl"
  file.write_text("{}")
  world.run(("redial",), corpus=str(raw))
  before = snapshot(world.out)
  file.write_text("{ }")
  with pytest.raises(errors.UsageError, match="redial/train_data.jsonl"):
    world.run(("redial",), corpus=str(raw))
  assert snapshot(world.out) == before


def test_bad_lines_can_be_allowed_until_rows_are_trained(world, monkeypatch):
  from t5cr_tasks.datasets import build
  from t5cr_tasks.errors import DataError

  build_data = build.build

  def strict(raw_dir, data_dir, *, max_bad_lines, **options):
    if not max_bad_lines:
      raise DataError("ratings.csv:3: rating: 'five' is no number.")
    return build_data(raw_dir, data_dir, **options)

  monkeypatch.setattr(build, "build", strict)
  with pytest.raises(DataError):
    world.run(("redial",))
  world.run(("redial",), bad_lines=1)
  with pytest.raises(errors.UsageError, match="max_bad_lines: 1 before, 2"):
    world.run(("redial",), bad_lines=2)


@pytest.mark.parametrize(
  "change, words",
  [
    ({"rows": ("everything",)}, "no row of Table 3"),
    ({"preset": "huge"}, "The presets are sample, small, paper"),
    ({"steps": 0}, "--steps 0"),
    ({"corpus": "/nowhere"}, "--corpus /nowhere is no folder"),
  ],
)
def test_bad_settings_make_nothing(world, change, words):
  chosen = settings.Settings("sample", world.out, "sample")
  chosen = dataclasses.replace(chosen, **change)
  with pytest.raises(errors.UsageError, match=words):
    reproduce.reproduce(chosen, jobs=1, reporter=progress.Reporter("quiet"))
  assert not world.out.exists()


def test_a_corpus_without_raw_files(tmp_path):
  chosen = settings.Settings(str(tmp_path), tmp_path / "out", "small")
  with pytest.raises(errors.UsageError, match="holds none of the raw files"):
    settings.check(chosen)


def test_the_command_of_a_row(tmp_path):
  made = rows.Made(
    data={},
    vocabulary=rows.Vocabulary(tmp_path / "v.model", "aa"),
    probes={"attribute": built("a"), "description": {"status": "skipped: x"}},
  )
  chosen = settings.Settings("sample", tmp_path, "sample", steps=7, seed=3)
  tagged = rows.job(tmp_path, chosen, variants.ROWS["redial_tags"], made)
  assert "--gin_file=recipe/sample.gin" in tagged.command
  assert "--gin_file=recipe/rows/redial_tags.gin" in tagged.command
  assert "--gin.TRAIN_STEPS=7" in tagged.command
  tasks = "['t5cr_redial_conversation', 't5cr_probe_attribute']"
  assert f"--gin.EVAL_TASKS={tasks}" in tagged.command
  assert tagged.environment["T5CR_VOCABULARY"] == str(tmp_path / "v.model")
  untrained = rows.job(tmp_path, chosen, variants.ROWS["none"], made)
  assert not [a for a in untrained.command if "TRAIN_STEPS" in a]


def test_the_untrained_row_comes_last():
  waiting = {
    name: children.Job(name, (), pathlib.Path("log"), {})
    for name in variants.ROWS
  }
  names = [job.name for job in rows.order(waiting)]
  assert names == [*(n for n in variants.ROWS if n != "none"), "none"]


def test_a_folder_that_tensorflow_misreads_is_refused(world, monkeypatch):
  place = world.out.parent / "a[1]"
  place.mkdir()
  monkeypatch.chdir(place)
  world.out = pathlib.Path("out")
  with pytest.raises(errors.UsageError, match="TensorFlow and Orbax"):
    world.run()
  assert not list(place.iterdir())


def test_a_corpus_too_small_for_probes_is_told(world, monkeypatch):
  def build(data_dir, *, min_count, **options):
    return worlds.over_threshold(
      np.array([3, 1]), worlds.ProbeOptions(min_count=min_count)
    )

  monkeypatch.setattr("t5cr_tasks.probes.build.build", build)
  with pytest.raises(errors.UsageError, match="--preset small") as told:
    world.run()
  assert "min_count" not in str(told.value)
  assert "over 30 times" in str(told.value)
