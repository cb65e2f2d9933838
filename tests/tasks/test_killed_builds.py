"""Builds that are killed, and two builds at once: nothing half-made."""

import functools
import hashlib
import multiprocessing
import os
import pathlib
import random
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver

import pytest

from t5cr_tasks import folders, sample, vocabulary
from t5cr_tasks.datasets import build
from t5cr_tasks.errors import DataError
from t5cr_tasks.probes import build as probes_build

# A server that has imported all once, and forks for each build.
CONTEXT = multiprocessing.get_context("forkserver")
SIZE = sample.Size(
  obscure_movies=5,
  users=90,
  dialogues=40,
  test_dialogues=8,
  reviews_per_movie=1,
)
BUSY = "another build is writing there"


def digests(folder: pathlib.Path) -> dict[str, str]:
  """Hash of each file below a folder, by name; hidden folders are left out."""
  return {
    path.relative_to(folder).as_posix(): hashlib.sha256(
      path.read_bytes()
    ).hexdigest()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
    and not any(p.startswith(".") for p in path.relative_to(folder).parts)
  }


def of_sets(found: dict[str, str]) -> dict[str, dict[str, str]]:
  """What `digests` gives, by data set."""
  sets: dict[str, dict[str, str]] = {}
  for name, digest in found.items():
    folder, _, file = name.rpartition("/")
    sets.setdefault(folder, {})[file] = digest
  return sets


def hidden(folder: pathlib.Path) -> list[str]:
  return [p.name for p in folder.iterdir() if p.name.startswith(".")]


def build_data(raw: pathlib.Path, data_dir: pathlib.Path, run_length: int = 5):
  build.build(raw, data_dir, options=build.BuildOptions(run_length=run_length))


def build_probes(data_dir: pathlib.Path, seed: int = 0):
  probes_build.build(
    data_dir, min_count=1, max_probes=40, phrased_probes=10, seed=seed
  )


def train_vocabulary(data_dir: pathlib.Path, path: pathlib.Path):
  vocabulary.train(data_dir, path, size=400, max_examples=50)


def write_sample(raw: pathlib.Path, seed: int = 0):
  sample.write_corpus(raw, seed=seed, size=SIZE)


def _work(task: Callable[[], object], told) -> None:
  """Runs a task in a child and tells how it ended."""
  told.send("begun")
  try:
    task()
  except DataError as error:
    told.send(str(error))
  else:
    told.send("ended")
  told.close()


def start(task: Callable[[], object]):
  here, there = CONTEXT.Pipe()
  process = CONTEXT.Process(target=_work, args=(task, there))
  process.start()
  there.close()
  assert here.recv() == "begun"
  return process, here


def together(*tasks: Callable[[], object]) -> list[str]:
  """Runs tasks at once; how each ended."""
  started = [start(task) for task in tasks]
  ends = [told.recv() for _, told in started]
  for process, _ in started:
    process.join()
  return ends


def duration(task: Callable[[], object]) -> float:
  """Seconds that a task takes, once it has begun."""
  process, told = start(task)
  begun = time.monotonic()
  assert told.recv() == "ended"
  taken = time.monotonic() - begun
  process.join()
  return taken


def kill_often(
  tasks: list[Callable[[], object]],
  longest: float,
  times: int,
  check: Callable[[], None],
) -> int:
  """Kills tasks at random moments; how often one was still at work."""
  rng = random.Random(times)
  killed = 0
  for _ in range(times):
    process, _ = start(rng.choice(tasks))
    time.sleep(rng.uniform(0, longest))
    process.kill()
    process.join()
    killed += process.exitcode == -signal.SIGKILL
    check()
  return killed


@pytest.fixture(scope="module", autouse=True)
def server():
  with pytest.MonkeyPatch.context() as patch:
    # The server imports before it is told where to look.
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    CONTEXT.set_forkserver_preload([__name__])
    forkserver.ensure_running()
    yield


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("killed") / "raw"
  write_sample(folder)
  return folder


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory) -> tuple[pathlib.Path, float]:
  """What a build that nobody disturbs makes, and how long it takes."""
  folder = tmp_path_factory.mktemp("whole")
  return folder, duration(functools.partial(build_data, raw, folder))


def kill_builds(raw, whole, folder: pathlib.Path, times: int) -> None:
  wanted, longest = whole
  other = folder / "other"
  build_data(raw, other, 4)
  legal = [of_sets(digests(wanted)), of_sets(digests(other))]
  data_dir = folder / "data"

  def check():
    if not data_dir.exists():
      return
    for name, files in of_sets(digests(data_dir)).items():
      assert files in [each[name] for each in legal]
    assert all(n.startswith(folders.BUILDING) for n in hidden(data_dir))
    assert len(hidden(data_dir)) <= 1

  tasks = [
    functools.partial(build_data, raw, data_dir, length) for length in (5, 4)
  ]
  killed = kill_often(tasks, longest, times, check)
  print(f"{killed} of {times} builds were killed at work")
  assert killed
  build_data(raw, data_dir)
  assert digests(data_dir) == digests(wanted)
  assert not hidden(data_dir)


@pytest.mark.slow
def test_killed_data_builds(raw, whole, tmp_path):
  kill_builds(raw, whole, tmp_path, 8)


@pytest.mark.long
def test_data_builds_killed_often(raw, whole, tmp_path):
  kill_builds(raw, whole, tmp_path, 200)


def kill_probes(whole, folder: pathlib.Path, times: int) -> None:
  import shutil

  sources, _ = whole
  done = [folder / "done0", folder / "done1"]
  for seed, place in enumerate(done):
    shutil.copytree(sources, place)
    longest = duration(functools.partial(build_probes, place, seed))
  data_dir = folder / "data"
  shutil.copytree(sources, data_dir)
  legal = [of_sets(digests(place)) for place in done]

  def check():
    for name, files in of_sets(digests(data_dir)).items():
      assert files in [each[name] for each in legal]
    assert len(hidden(data_dir)) <= 1

  tasks = [functools.partial(build_probes, data_dir, seed) for seed in (0, 1)]
  killed = kill_often(tasks, longest, times, check)
  print(f"{killed} of {times} builds were killed at work")
  assert killed
  build_probes(data_dir, 0)
  assert digests(data_dir) == digests(done[0])
  assert not hidden(data_dir)


@pytest.mark.slow
def test_killed_probe_builds(whole, tmp_path):
  kill_probes(whole, tmp_path, 5)


@pytest.mark.long
def test_probe_builds_killed_often(whole, tmp_path):
  kill_probes(whole, tmp_path, 200)


def kill_writers(whole, folder: pathlib.Path, times: int) -> None:
  """Kills what writes a vocabulary, and what writes a sample corpus."""
  data_dir, _ = whole
  model, raw = folder / "done" / "m.model", folder / "done" / "raw"
  model.parent.mkdir()
  train = duration(functools.partial(train_vocabulary, data_dir, model))
  write = duration(functools.partial(write_sample, raw))
  place = folder / "killed"
  place.mkdir()

  def check():
    if (place / "m.model").exists():
      assert (place / "m.model").read_bytes() == model.read_bytes()
    if (place / "raw").exists():
      assert digests(place / "raw") == digests(raw)

  killed = kill_often(
    [functools.partial(train_vocabulary, data_dir, place / "m.model")],
    train,
    times,
    check,
  )
  killed += kill_often(
    [functools.partial(write_sample, place / "raw")], write, times, check
  )
  print(f"{killed} of {2 * times} writers were killed at work")
  assert killed
  train_vocabulary(data_dir, place / "m.model")
  if not (place / "raw").exists():
    write_sample(place / "raw")
  check()
  assert sorted(p.name for p in place.iterdir()) == ["m.model", "raw"]


@pytest.mark.slow
def test_killed_vocabularies_and_samples(whole, tmp_path):
  kill_writers(whole, tmp_path, 4)


@pytest.mark.long
def test_vocabularies_and_samples_killed_often(whole, tmp_path):
  kill_writers(whole, tmp_path, 100)


def pair_up(raw, whole, folder: pathlib.Path, times: int) -> None:
  """Two builds at once, of one corpus and of two."""
  other_raw = folder / "other_raw"
  write_sample(other_raw, seed=1)
  other = folder / "other"
  build_data(other_raw, other)
  wholes = [digests(whole[0]), digests(other)]
  assert wholes[0] != wholes[1]
  refused = 0
  for number in range(times):
    data_dir = folder / f"data{number}"
    second = other_raw if number % 2 else raw
    ends = together(
      functools.partial(build_data, raw, data_dir),
      functools.partial(build_data, second, data_dir),
    )
    assert "ended" in ends
    assert all(end == "ended" or BUSY in end for end in ends), ends
    refused += ends.count("ended") == 1
    assert digests(data_dir) in wholes
    assert not hidden(data_dir)
  print(f"{refused} of {times} times one of two builds was refused")
  assert refused


def test_two_builds_at_once(raw, whole, tmp_path):
  pair_up(raw, whole, tmp_path, 2)


@pytest.mark.long
def test_two_builds_at_once_often(raw, whole, tmp_path):
  pair_up(raw, whole, tmp_path, 100)


def test_two_of_the_others_at_once(whole, tmp_path):
  import shutil

  data_dir = tmp_path / "data"
  shutil.copytree(whole[0], data_dir)
  tasks = [
    functools.partial(build_probes, data_dir),
    functools.partial(build_probes, data_dir),
    functools.partial(train_vocabulary, whole[0], tmp_path / "m.model"),
    functools.partial(train_vocabulary, whole[0], tmp_path / "m.model"),
    functools.partial(write_sample, tmp_path / "raw"),
    functools.partial(write_sample, tmp_path / "raw"),
  ]
  ends = together(*tasks)
  assert "ended" in ends[:2]
  assert all(end == "ended" or BUSY in end for end in ends[:2]), ends
  assert ends[2:4] == ["ended"] * 2
  assert sorted(ends[4:])[1] == "ended"
  assert sorted(ends[4:])[0].endswith(("delete this one first.", "ended"))
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    "data",
    "m.model",
    "raw",
  ]
  assert not hidden(data_dir)


def test_a_folder_is_free_again_when_its_writer_is_gone(tmp_path):
  with folders.sole_writer(tmp_path):
    with pytest.raises(DataError, match=BUSY), folders.sole_writer(tmp_path):
      pass
    with folders.workshop(tmp_path, folders.BUILDING) as mine:
      with folders.workshop(tmp_path, folders.BUILDING) as other:
        assert mine.exists() and other.exists()
  # What nobody holds is of one that was killed.
  (tmp_path / f"{folders.BUILDING}0" / "t5cr_redial").mkdir(parents=True)
  (tmp_path / "mine").mkdir()
  with folders.sole_writer(tmp_path):
    assert os.listdir(tmp_path) == ["mine"]
