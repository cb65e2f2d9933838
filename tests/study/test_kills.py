"""Studies that are killed again and again, and what their reports say then."""

import collections
import contextlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from t5cr.study import stages
from t5cr_tasks import sample

STAGES = ("data", "vocabulary", "probes", "baselines", "rows", "report")
OF_EACH = 5
# The preset probes movies of over 30 runs: with fewer users there are none.
SIZE = sample.Size(
  users=150, dialogues=120, test_dialogues=10, reviews_per_movie=2
)


def row_processes(out: pathlib.Path) -> list[int]:
  file = out / ".rows.lock"
  ids = file.read_text().split() if file.exists() else []
  return [int(one) for one in ids if pathlib.Path("/proc", one).exists()]


def kill_parent(process, out):
  process.kill()


def kill_group(process, out):
  os.killpg(process.pid, signal.SIGKILL)


def kill_all(process, out):
  """As a power cut does."""
  rows = row_processes(out)
  os.killpg(process.pid, signal.SIGKILL)
  for row in rows:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(row, signal.SIGKILL)


def interrupt(process, out):
  process.send_signal(signal.SIGINT)


def terminate(process, out):
  process.send_signal(signal.SIGTERM)


# How to end a study -> the status that it ends with.
WAYS = {
  kill_parent: -signal.SIGKILL,
  interrupt: 130,
  kill_group: -signal.SIGKILL,
  terminate: 143,
  kill_all: -signal.SIGKILL,
}


class Runner:
  """Starts `t5cr reproduce` and ends it at random moments."""

  def __init__(self, repository, corpus):
    self.command = (
      *(sys.executable, "-m", "t5cr.cli", "reproduce", "--preset", "sample"),
      *("--corpus", str(corpus), "--rows", "redial,all", "--steps", "2"),
    )
    self.environment = {
      **os.environ,
      "PYTHONPATH": str(repository),
      "T5CR_PROGRESS": "plain",
    }
    self.random = random.Random(7)
    self.ways = collections.Counter()

  def start(self, out, said):
    return subprocess.Popen(
      (*self.command, "--out", str(out)),
      env=self.environment,
      stdout=said,
      stderr=subprocess.STDOUT,
      start_new_session=True,
    )

  def finish(self, out) -> None:
    said = out.with_suffix(".log")
    with said.open("ab") as file:
      status = self.start(out, file).wait()
    assert status == 0, said.read_text()[-4000:]

  def kill(self, out, stage: str, most: float) -> str | None:
    """Ends a study so many seconds after a stage begins; the stage, if any."""
    said = out.with_suffix(".log")
    begin = said.stat().st_size if said.exists() else 0
    with said.open("ab") as file:
      process = self.start(out, file)
    while process.poll() is None:
      if stage in begun(said, begin):
        break
      time.sleep(0.02)
    with contextlib.suppress(subprocess.TimeoutExpired):
      process.wait(self.random.uniform(0, most))
    if process.returncode is not None:
      assert process.returncode == 0, said.read_text()[-4000:]
      return None
    way = list(WAYS)[self.ways.total() % len(WAYS)]
    during = begun(said, begin)[-1]
    way(process, out)
    status = process.wait()
    if status == 0:  # It was done just then.
      return None
    assert status == WAYS[way], (way.__name__, said.read_text()[-4000:])
    self.ways[way] += 1
    if way in (interrupt, terminate):
      assert not row_processes(out)
    return during


def begun(said: pathlib.Path, begin: int) -> list[str]:
  """The stages that a run said it began."""
  lines = said.read_bytes()[begin:].decode("utf-8", "replace").splitlines()
  words = [line[3:].partition(":")[0] for line in lines if line[:3] == "== "]
  return ["", *words]


def report_files(out: pathlib.Path) -> dict[str, bytes]:
  files = {file.name: file.read_bytes() for file in (out / "report").iterdir()}
  # When it was made is told apart from what was found.
  del files["timing.json"]
  return files


def seconds(out: pathlib.Path) -> dict[str, float]:
  found = {
    file.stem: stages.read_json(file)["seconds"]
    for file in out.glob("stages/*.json")
  }
  of_rows = [found[name] for name in found if name.startswith("row_")]
  return {**found, "rows": max(of_rows), "report": 6.0}


def assert_same_report(out: pathlib.Path, other: pathlib.Path) -> None:
  files, others = report_files(out), report_files(other)
  assert {"report.json", "report.md", "report.html"} <= files.keys()
  assert files.keys() == others.keys()
  assert [name for name in files if files[name] != others[name]] == []
  left = [str(path) for path in out.rglob("*") if path.suffix == ".tmp"]
  left += map(str, out.glob("data/.*"))
  assert not left


@pytest.mark.long
def test_killed_at_any_time_it_resumes_to_the_same_report(
  repository, tmp_path, capsys
):
  corpus = tmp_path / "raw"
  sample.write_corpus(corpus, size=SIZE)
  runner = Runner(repository, corpus)
  whole = tmp_path / "whole"
  runner.finish(whole)
  spent = seconds(whole)

  kills = collections.Counter()
  studies = [tmp_path / "killed0"]
  while any(kills[stage] < OF_EACH for stage in STAGES):
    out = studies[-1]
    if (out / "stages" / "files" / "results.json").exists():
      runner.finish(out)
      studies.append(tmp_path / f"killed{len(studies)}")
      continue
    stage = next(stage for stage in STAGES if kills[stage] < OF_EACH)
    during = runner.kill(out, stage, spent[stage])
    if during:
      kills[during] += 1
    else:  # It came too late, where the machine was busier before.
      spent[stage] /= 2
  runner.finish(studies[-1])
  with capsys.disabled():
    ways = {way.__name__: count for way, count in runner.ways.items()}
    print(f"\n{len(studies)} studies, killed in {dict(kills)}, by {ways}")
  for out in studies:
    assert_same_report(out, whole)


@pytest.mark.long
def test_killed_while_it_writes_the_sample_corpus(repository, tmp_path):
  runner = Runner(repository, "sample")
  out = tmp_path / "out"
  killed = 0
  while killed < OF_EACH:
    during = runner.kill(out, "raw", 0.6)
    killed += during == "raw"
    if (out / "stages" / "data.json").exists():
      break
  while runner.kill(out, "data", 0.0) is None:
    pass
  sample.write_corpus(tmp_path / "whole")
  first, second = (
    {
      str(path.relative_to(raw)): path.read_bytes()
      for path in raw.rglob("*")
      if path.is_file()
    }
    for raw in (out / "raw", tmp_path / "whole")
  )
  assert killed and first == second
  assert [path.name for path in out.glob("raw*")] == ["raw"]
