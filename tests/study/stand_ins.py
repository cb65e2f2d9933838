"""Small stand-ins for the data sets and the training of a study."""

import dataclasses
import io
import json
import pathlib
import sys

import baseline_folders

from t5cr import progress
from t5cr.study import locks, reproduce, rows, settings, variants

FIXTURES = str(pathlib.Path(__file__).parent)
# Stands for `t5cr train`: writes a run folder as that would.
TRAIN = """\
import pathlib, sys
sys.path[:0] = {paths!r}
import run_folders
from t5cr import progress
report = progress.Reporter()
for step in range(0, 101, 50):
  report('train', step, 100, 'steps')
if pathlib.Path({fail!r}).exists():
  raise SystemExit('out of memory')
run_folders.write_run(pathlib.Path({run!r}), {name!r})
"""


@dataclasses.dataclass
class World:
  """What the stand-ins were asked to do, and what they will say."""

  out: pathlib.Path
  calls: list[str]
  missing: set[str]
  said: io.StringIO
  # A row fails while this file is there.
  fail: pathlib.Path
  # Of the data sets: a part of their fingerprints.
  edition: str = ""

  def run(
    self, names=("redial", "all"), corpus="sample", steps=None, bad_lines=0
  ):
    preset = "sample" if corpus == "sample" else "small"
    chosen = settings.Settings(
      corpus=corpus,
      out=self.out,
      preset=preset,
      rows=names,
      steps=steps,
      max_bad_lines=bad_lines,
    )
    self.said.truncate(0)
    self.calls.clear()
    with progress.Reporter("plain", stream=self.said) as reporter:
      return reproduce.reproduce(chosen, jobs=2, reporter=reporter)


def built(name: str) -> dict:
  tally = {"read": 5, "kept": 5, "dropped": {}, "noted": {}}
  return {"status": "built", "counts": {"x": tally}, "fingerprint": name}


def write_set(folder: pathlib.Path, about: dict) -> None:
  """What TFDS leaves of a data set."""
  version = folder / "1.0.0"
  version.mkdir(parents=True, exist_ok=True)
  (version / "records").write_text(about["fingerprint"])
  metadata = {"fingerprint": about["fingerprint"]}
  (version / "metadata.json").write_text(json.dumps(metadata))


def make(tmp_path: pathlib.Path, monkeypatch) -> World:
  """A world whose data sets, vocabulary, probes and rows are stand-ins."""
  made = World(
    tmp_path / "out", [], set(), io.StringIO(), tmp_path / "fail-all"
  )

  def write_corpus(raw_dir, *, seed=0):
    made.calls.append("raw")
    for name in settings.PUBLISHED_FILES:
      path = pathlib.Path(raw_dir) / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(name)
    return {"movies": 3}

  def build_data(raw_dir, data_dir, **options):
    made.calls.append("data")
    found = {}
    for name in variants.RAW_SOURCES:
      if name in made.missing:
        status = {"status": "skipped: no file", "counts": {}}
        found[name] = status | {"fingerprint": None}
      else:
        found[name] = built(name + made.edition)
        write_set(pathlib.Path(data_dir) / name, found[name])
    return found

  def train_vocabulary(data_dir, path, size, seed=0, **options):
    made.calls.append("vocabulary")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{size} pieces")
    return size + 100

  def build_probes(data_dir, **options):
    made.calls.append("probes")
    path = pathlib.Path(data_dir) / "t5cr_probes" / "recommendation"
    write_set(path, built("r"))
    leak = {"pairs": 10, "named": 1, "share": 0.1}
    return {"recommendation": built("r") | {"counts": {}, "leak": leak}}

  def measure(data_dir, out, **options):
    made.calls.append("baselines")
    baseline_folders.write(out / "als", "als")
    return {"als": "measured", "retrieval": "skipped: no dialogues"}

  real_job = rows.job

  def job(out, chosen, row, vocabulary):
    made.calls.append(f"row {row.name}")
    command = real_job(out, chosen, row, vocabulary)
    code = TRAIN.format(
      paths=[FIXTURES],
      fail=str(made.fail) if row.name == "all" else "/nowhere",
      run=str(out / "rows" / row.name),
      name=row.name,
    )
    return dataclasses.replace(command, command=(sys.executable, "-c", code))

  monkeypatch.setattr("t5cr_tasks.sample.write_corpus", write_corpus)
  monkeypatch.setattr("t5cr_tasks.datasets.build.build", build_data)
  monkeypatch.setattr("t5cr_tasks.vocabulary.train", train_vocabulary)
  monkeypatch.setattr("t5cr_tasks.probes.build.build", build_probes)
  monkeypatch.setattr("t5cr.study.baselines.build.run", measure)
  monkeypatch.setattr(rows, "job", job)
  return made


def snapshot(folder: pathlib.Path) -> dict[str, tuple[int, bytes]]:
  """Every file of a folder, with its time and content."""
  return {
    str(path): (path.stat().st_mtime_ns, path.read_bytes())
    for path in sorted(folder.rglob("*"))
    if path.is_file() and path.name not in locks.FILES
  }
