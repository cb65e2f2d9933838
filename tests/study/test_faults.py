"""What is damaged, changed or unwritable between two runs of a study."""

import contextlib
import shutil
import subprocess

import pytest
import stand_ins

from t5cr import errors
from t5cr.study import stages
from t5cr.study.baselines import build as baselines

EVERY = ["raw", "data", "vocabulary", "probes", "baselines", "row redial"]


def report_of(out):
  files = {path.name: path.read_bytes() for path in (out / "report").iterdir()}
  del files["timing.json"]
  return files


def halve(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_what_is_gone_or_damaged_is_made_again(world):
  world.run(("redial",))
  out, before = world.out, report_of(world.out)

  def again(*calls):
    world.run(("redial",))
    assert world.calls == list(calls)
    assert report_of(out) == before
    return world.said.getvalue()

  results = out / "rows" / "redial" / "inference_eval"
  halve(out / "raw" / "movielens" / "ratings.csv")
  shutil.rmtree(out / "data" / "t5cr_redial")
  halve(out / "data/t5cr_probes/recommendation/1.0.0/metadata.json")
  (sequences,) = out.glob("data/t5cr_movielens/sequences/*/metadata.json")
  sequences.write_text("{}")
  halve(out / "vocabulary" / "sentencepiece.model")
  halve(next((out / "baselines" / "als" / "inference_eval").glob("*-0*")))
  halve(next(results.glob("*conversation-0*")))
  (out / "report" / ".report.md.1.tmp").write_text("# Rep")
  (out / "baselines" / ".als.1.tmp").mkdir()
  said = again(*EVERY)
  assert "t5cr_redial is gone, so" in said
  assert "ratings.csv is damaged, so" in said
  assert not (out / "baselines" / ".als.1.tmp").exists()

  halve(out / "report" / "report.html")
  again()
  next((out / "report").glob("*.png")).unlink()
  again()

  for record in out.glob("stages/**/*.json"):
    halve(record)
  halve(out / "study.json")
  said = again(*EVERY)
  assert "stages/data.json was damaged and is removed" in said
  assert stages.read_json(out / "study.json")["settings"]["seed"] == 0
  world.run(("redial",))
  assert not world.calls and "Nothing to do" in world.said.getvalue()


def test_a_row_whose_run_is_not_known_is_not_trusted(world):
  world.run(("redial",))
  about = world.out / "rows" / "redial" / "run.json"
  halve(about)
  with pytest.raises(errors.UsageError, match="Move .*rows/redial away"):
    world.run(("redial",))
  about.parent.rename(world.out.parent / "away")
  world.run(("redial",))
  assert world.calls == ["row redial"]


def test_what_depends_on_changed_inputs_is_done_again(
  world, tmp_path, monkeypatch
):
  raw = tmp_path / "raw"
  (raw / "redial").mkdir(parents=True)
  file = raw / "redial" / "train_data.jsonl"
  file.write_text("{}")

  def fails(*given, **options):
    raise errors.UsageError("no room for factors")

  measure = baselines.run
  monkeypatch.setattr(baselines, "run", fails)
  with pytest.raises(errors.UsageError, match="no room"):
    world.run(("redial",), corpus=str(raw))
  assert world.calls == ["data", "vocabulary", "probes"]
  monkeypatch.setattr(baselines, "run", measure)
  file.write_text("{ }")
  world.edition = "2"
  world.run(("redial",), corpus=str(raw))
  assert world.calls == EVERY[1:]
  # From now on there are rows of it.
  file.write_text("{}")
  before = stand_ins.snapshot(world.out)
  with pytest.raises(errors.UsageError, match="train_data.jsonl"):
    world.run(("redial",), corpus=str(raw))
  assert stand_ins.snapshot(world.out) == before


@pytest.fixture
def disk(tmp_path):
  """Mounts a small file system; gives the function that changes it."""
  place = tmp_path / "disk"
  place.mkdir()

  def mount(options):
    command = ("mount", "-t", "tmpfs", "-o", options, "none", str(place))
    return subprocess.run(command, capture_output=True, check=False)

  if mount("size=64k").returncode:
    pytest.skip("mounting a small file system needs privileges")
  yield place, lambda options: mount(f"remount,{options}")
  with contextlib.suppress(OSError):
    subprocess.run(("umount", str(place)), check=False)


def test_a_full_or_read_only_disk_loses_nothing(world, disk):
  place, remount = disk
  world.out = place / "out"
  for size in ("64k", "160k", "300k"):
    remount(f"size={size}")
    with pytest.raises(errors.RunError, match="No space left on device"):
      world.run(("redial",))
    done = [
      stages.read_json(path)["state"]
      for path in world.out.glob("stages/*.json")
    ]
  assert done.count("done") >= 4
  remount("size=64m")
  world.run(("redial",))
  assert "data" not in world.calls
  halve(world.out / "report" / "report.html")
  remount("ro,size=64m")
  with pytest.raises(errors.RunError, match="Read-only file system"):
    world.run(("redial",))
  remount("rw,size=64m")
  world.run(("redial",))
  assert world.calls == []
