"""Folders of studies that somebody else made, and goes on from here."""

import pathlib

import pytest

from t5cr import errors, progress
from t5cr.study import children, opening, report, sources, stages

SETTINGS = {"corpus": "sample", "steps": None}
GONE = {"gone": {"sha256": "0"}}


def go_on(out: pathlib.Path) -> None:
  """Opens a study, and does the stage `raw` again."""
  reporter = progress.Reporter("quiet")
  with opening.open_study(out, SETTINGS, reporter) as study:
    study.stage("raw", {}, lambda _: (), dict)


@pytest.fixture
def out(watched) -> pathlib.Path:
  """A study with neighbours."""
  folder = watched.inside / "study"
  go_on(folder)
  for place in (watched.inside, watched.root):
    (place / "neighbour.json").write_text("[]")
  watched.taken()
  return folder


@pytest.mark.parametrize(
  "name", ["stages/../..", "..", "stages/..", ".", "", "/", "a/./../.."]
)
def test_a_record_removes_nothing_around_the_study(watched, out, name):
  record = out / "stages" / "outputs" / "raw.json"
  stages.write_json(record, [{"paths": [name], "files": GONE}])
  go_on(out)
  assert (watched.inside / "neighbour.json").exists()
  assert (out / "study.json").exists()


@pytest.mark.parametrize("name", [".lock", ".rows.lock"])
def test_locks_are_not_written_through_links(watched, out, name):
  (out / name).unlink()
  (out / name).symlink_to(watched.root / "neighbour.json")
  with pytest.raises(errors.UsageError, match="lock is a link"):
    go_on(out)


@pytest.mark.parametrize(
  "place",
  [
    "stages",
    "stages/outputs",
    "stages/files",
    "data",
    "data/t5cr_redial",
    "vocabulary",
    "baselines",
    "baselines/als",
    "rows",
    "rows/all",
    "rows/all/inference_eval",
    "rows/all/log.txt",
    "report",
    "raw",
  ],
)
def test_a_study_with_a_link_that_leads_out_is_refused(watched, out, place):
  path = out / place
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.exists():
    path.rename(watched.inside / "away")
  target = "neighbour.json" if place.endswith(".txt") else "."
  path.symlink_to(watched.root / target)
  with pytest.raises(errors.UsageError, match="is a link to"):
    go_on(out)


def test_a_link_within_the_study_is_followed(watched, out):
  (out / "rows").symlink_to("raw")
  (out / "raw").mkdir()
  (out / "raw" / "all").symlink_to(watched.root)
  settings = SETTINGS | {"corpus": str(out / "raw")}
  stages.write_json(out / "study.json", {"settings": settings})
  with (
    pytest.raises(errors.UsageError, match="all is a link to"),
    opening.open_study(out, settings, progress.Reporter("quiet")),
  ):
    pass


def test_links_that_go_in_circles_end(out):
  (out / "rows").mkdir()
  (out / "rows" / "up").symlink_to(out / "rows")
  (out / "rows" / "self").symlink_to("self")
  go_on(out)


def test_links_of_ones_own_stay_legal(watched, out):
  """Of the study's folder, of the corpus, and within the study."""
  (out / "raw").symlink_to(watched.root)
  link = watched.inside / "link"
  link.symlink_to(out)
  (out / "rows").mkdir()
  (out / "rows" / "all").symlink_to(out / "stages")
  settings = SETTINGS | {"corpus": str(watched.root)}
  stages.write_json(out / "study.json", {"settings": settings})
  with opening.open_study(link, settings, progress.Reporter("quiet")):
    pass


def test_a_report_is_not_noted_through_a_link(watched, out):
  stages.remove(out / "stages" / "outputs")
  (out / "stages" / "outputs").symlink_to(watched.root)
  with pytest.raises(errors.UsageError, match="outputs is a link to"):
    report.write_several([sources.Source(out)], out / "report")


def test_a_log_is_not_written_through_a_link(watched, out):
  log = out / "log.txt"
  log.symlink_to(watched.root / "neighbour.json")
  with pytest.raises(OSError, match="log.txt"):
    list(children.run([children.Job("row", ("true",), log, {})], 1))
