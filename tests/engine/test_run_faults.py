"""Damaged checkpoints, full disks, signals: what a run does then."""

import dataclasses
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny
from synthetic import CONFIG, Synthetic, assert_same, run

from t5cr import errors
from t5cr.engine import (
  checkpoints,
  checksums,
  formats,
  partitioning,
  positions,
  runs,
  saving,
  stopping,
  train,
  train_state,
)

pytestmark = pytest.mark.usefixtures("quick_compiles")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, mesh):
  """A run of six steps with all its checkpoints, and its last state."""
  folder = tmp_path_factory.mktemp("whole") / "run"
  state = run(folder, mesh)
  return folder, jax.tree.map(np.array, state)


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
  path.write_bytes(b"")


def flip(path, dice):
  content = bytearray(path.read_bytes())
  content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
  path.write_bytes(content)


HARMS = {
  "truncated": lambda path, dice: truncate(path),
  "emptied": lambda path, dice: empty(path),
  "removed": lambda path, dice: path.unlink(),
  "flipped": flip,
}


def files_of(folder):
  return sorted(
    str(path.relative_to(folder))
    for path in pathlib.Path(folder).rglob("*")
    if path.is_file() and path.stat().st_size
  )


def largest(folder):
  files = [pathlib.Path(folder) / name for name in files_of(folder)]
  return max(files, key=lambda path: path.stat().st_size)


def state_at(found, mesh):
  shapes = train.state_shapes(CONFIG, tiny.CONFIG)
  batches = Synthetic()
  positions.restore(found, batches)
  state = checkpoints.restore_state(found, shapes, tiny.CONFIG, mesh)
  return state, batches.position


def harm_and_look(whole, folder, name, how, dice, mesh):
  """Harms a file of the newest checkpoint; whether that was seen."""
  shutil.copytree(whole[0], folder)
  path = folder / "checkpoint_6" / name
  HARMS[how](path, dice)
  try:
    found, damaged = checkpoints.newest_good(folder)
  except errors.UsageError as error:
    raise AssertionError(f"{name} {how}: {error}") from error
  if found.step == 6:
    # What does no harm is left alone.
    assert not damaged
    state, position = state_at(found, mesh)
    assert_same(state, whole[1])
    assert position == 6
  else:
    assert found.step == 4 and list(damaged) == [6]
    assert (folder / "damaged_checkpoint_6").is_dir()
  shutil.rmtree(folder)
  return found.step == 4


def test_a_harmed_file_is_seen_or_does_no_harm(whole, mesh, tmp_path):
  dice = random.Random(0)
  newest = whole[0] / "checkpoint_6"
  seen = {
    (name, how): harm_and_look(whole, tmp_path / "run", name, how, dice, mesh)
    for name in dice.sample(files_of(newest), 6)
    for how in HARMS
  }
  assert sum(seen.values()) > 6
  data = largest(newest).relative_to(newest)
  for how in HARMS:
    assert harm_and_look(whole, tmp_path / "run", data, how, dice, mesh)


@pytest.mark.long
def test_every_file_harmed_in_every_way(whole, mesh, tmp_path):
  dice = random.Random(1)
  seen = total = 0
  for name in files_of(whole[0] / "checkpoint_6"):
    for how in ["truncated", "emptied", "removed"] + ["flipped"] * 20:
      seen += harm_and_look(whole, tmp_path / "run", name, how, dice, mesh)
      total += 1
  print(f"{total} harms, {seen} seen, {total - seen} without effect")


@pytest.mark.parametrize("how", ["flipped", "half_written"])
def test_a_run_falls_back_says_so_and_ends_the_same(tmp_path, mesh, whole, how):
  shutil.copytree(whole[0], tmp_path / "run")
  shutil.rmtree(tmp_path / "run" / "checkpoint_6")
  newest = tmp_path / "run" / "checkpoint_4"
  if how == "half_written":
    shutil.rmtree(newest / "state")
    shutil.rmtree(newest / "dataset")
  else:
    flip(largest(newest), random.Random(3))
  noted = []
  state = run(tmp_path / "run", mesh, hooks=train.Hooks(note=noted.append))
  assert_same(state, whole[1])
  (event,) = noted
  assert (event["step"], event["goes_on_from"]) == (4, 2)
  assert formats.steps(tmp_path / "run") == [2, 4, 6]
  assert (tmp_path / "run" / "damaged_checkpoint_4").is_dir()


@pytest.mark.parametrize("item", ["config", "dataset", "state"])
def test_a_checkpoint_without_one_of_its_items_is_damaged(
  tmp_path, whole, item
):
  shutil.copytree(whole[0], tmp_path / "run")
  shutil.rmtree(tmp_path / "run" / "checkpoint_6" / item)
  found, damaged = checkpoints.newest_good(tmp_path / "run")
  assert found.step == 4 and list(damaged) == [6]


@pytest.mark.parametrize(
  "error",
  [
    MemoryError(),
    OSError(24, "Too many open files"),
    ValueError("UNAVAILABLE: try later"),
  ],
)
def test_what_passes_is_no_damage(tmp_path, whole, monkeypatch, error):
  shutil.copytree(whole[0], tmp_path / "run")

  def fail(*args, **kwargs):
    raise error

  monkeypatch.setattr(checksums, "_read", fail)
  with pytest.raises(errors.UsageError, match="at present .* start again"):
    checkpoints.newest_good(tmp_path / "run")
  assert formats.steps(tmp_path / "run") == [2, 4, 6]


def test_other_files_beside_a_checkpoint_are_left_alone(tmp_path, mesh):
  state = train.initial_state(CONFIG, tiny.CONFIG, mesh)
  (tmp_path / "checkpoint_1.bak").mkdir()
  (tmp_path / "checkpoint_1.tar").write_text("mine")
  with saving.Writer(tmp_path) as writer:
    writer.save(1, state, tiny.CONFIG, None)
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == ["checkpoint_1", "checkpoint_1.bak", "checkpoint_1.tar"]


def test_a_step_is_saved_again_after_it_was_set_aside(tmp_path, mesh):
  state = train.initial_state(CONFIG, tiny.CONFIG, mesh)
  with saving.Writer(tmp_path) as writer:
    for step in (1, 2):
      writer.save(step, state, tiny.CONFIG, None)
    writer.wait()
    checkpoints._set_aside(tmp_path / "checkpoint_2")
    writer.reload()
    writer.save(2, state, tiny.CONFIG, None)
  assert formats.steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("keep", [-1, 0, 1.5])
def test_how_many_are_kept_is_a_count(tmp_path, keep):
  with pytest.raises(errors.UsageError, match="whole number from 1"):
    saving.Writer(tmp_path, keep=keep)
  with pytest.raises(errors.UsageError, match="CHECKPOINTS_TO_KEEP is"):
    dataclasses.replace(CONFIG, checkpoints_to_keep=keep)


def test_no_whole_checkpoint_is_no_reason_to_start_anew(tmp_path, mesh, whole):
  shutil.copytree(whole[0], tmp_path / "run")
  for step in (2, 4, 6):
    truncate(tmp_path / "run" / f"checkpoint_{step}" / "config" / "metadata")
  before = sorted(tmp_path.rglob("*"))
  with pytest.raises(errors.UsageError, match=r"whole \(step 6: .*step 2: "):
    run(tmp_path / "run", mesh)
  assert sorted(tmp_path.rglob("*")) == before


def test_parameters_that_changed_on_the_disk_are_not_evaluated(
  tmp_path, mesh, whole, monkeypatch
):
  """The checksums on the devices: whatever happens between disk and them."""
  restore = formats.restore

  def changed(found, wanted):
    tree = restore(found, wanted)
    leaves = train_state.flat(tree)
    name = "target/decoder/layers_0/mlp/wo/kernel"
    leaves[name] = leaves[name].at[3, 5].add(1e-6)
    return train_state.nested(leaves)

  monkeypatch.setattr(formats, "restore", changed)
  with pytest.raises(errors.UsageError, match="mlp/wo/kernel is not what was"):
    checkpoints.restore_params(whole[0], mesh)


@pytest.mark.parametrize("dtype", ["float32", "int32", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 3), (2, 3, 4)])
def test_one_changed_element_changes_a_checksum(shape, dtype, mesh):
  generator = np.random.default_rng(0)
  values = jax.numpy.asarray(generator.normal(size=shape) * 9, dtype)
  place = partitioning.replicated(mesh)
  before = checksums.of_state({"a": values}, place)["a"]
  assert before == checksums._on_host(np.asarray(values))
  for place_of in np.ndindex(shape):
    other = values.at[place_of].add(1)
    after = checksums.of_state({"a": other}, place)["a"]
    assert all(a != b for a, b in zip(before, after, strict=True))
  if shape and shape[0] > 1:
    turned = checksums.of_state({"a": values[::-1]}, place)["a"]
    assert turned[0] == before[0] and turned[1] != before[1]


@pytest.mark.parametrize("rows", [4, 36, 1 << 20])
def test_a_checksum_on_the_host_is_that_on_the_devices(rows, mesh, monkeypatch):
  monkeypatch.setattr(checksums, "_ROWS_BYTES", rows)
  values = np.random.default_rng(0).normal(size=(31, 9)).astype(np.float32)
  there = checksums.of_state({"a": values}, partitioning.replicated(mesh))["a"]
  assert checksums._on_host(values) == there


def test_none_is_removed_for_one_that_reads_back_otherwise(tmp_path, mesh):
  """The disk garbles what the third checkpoint writes."""
  state = train.initial_state(CONFIG, tiny.CONFIG, mesh)
  writer = saving.Writer(tmp_path, keep=1)
  verify = writer._verify

  def garbled():
    (path,) = writer._unfinished()
    flip(largest(path), random.Random(0))
    verify()

  with pytest.raises(errors.UsageError, match="reads back otherwise"):
    with writer:
      writer.save(1, state, tiny.CONFIG, None)
      writer.save(2, state, tiny.CONFIG, None)
      writer.wait()
      writer._manager._checkpointer._post_finalization_callback = garbled
      writer.save(3, state, tiny.CONFIG, None)
  assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_2"]


def test_old_ones_stay_until_the_new_one_is_whole(tmp_path, mesh):
  state = train.initial_state(CONFIG, tiny.CONFIG, mesh)
  seen = []
  with saving.Writer(tmp_path, keep=1) as writer:
    verify = writer._verify

    def looking():
      seen.append(formats.steps(tmp_path))
      verify()

    writer._manager._checkpointer._post_finalization_callback = looking
    for step in (1, 2, 3):
      writer.save(step, state, tiny.CONFIG, None)
  assert seen == [[], [1], [2]]
  assert formats.steps(tmp_path) == [3]


def test_a_removal_cut_short_leaves_no_half_a_checkpoint(tmp_path, mesh):
  state = train.initial_state(CONFIG, tiny.CONFIG, mesh)
  (tmp_path / ".removed_checkpoint_1" / "state").mkdir(parents=True)
  with saving.Writer(tmp_path) as writer:
    writer.save(2, state, tiny.CONFIG, None)
  assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_2"]


# Trains in a file system of its own, of so many kilobytes.
_IN_SMALL_DISK = """
import sys, time
import jax
from t5cr import errors
from t5cr.engine import formats, partitioning, train
import tiny
from synthetic import CONFIG, Synthetic
hooks = train.Hooks()
if sys.argv[2] == "fill":
  def fill(stage, done, total, unit):
    if done == 3:
      while formats.steps(sys.argv[1] + "/run") != [2]:
        time.sleep(0.01)
      with open(sys.argv[1] + "/filler", "wb", buffering=0) as file:
        try:
          while file.write(bytes(4096)):
            pass
        except OSError:
          pass
  hooks = train.Hooks(progress=fill)
mesh = partitioning.make_mesh(devices=jax.devices()[:1])
try:
  train.train(CONFIG, tiny.CONFIG, Synthetic, model_dir=sys.argv[1] + "/run",
              mesh=mesh, hooks=hooks)
  print("OK")
except errors.UsageError as error:
  print("REFUSED", error)
except OSError as error:
  print("REFUSED", error)
"""

_SMALL_DISK = """
set -e
mount -t tmpfs -o size=4m tmpfs "$1"
"$2" -c "$3" "$1" fill 2>"$1.err"; ls -A "$1/run"; rm -f "$1/filler"
mount -o remount,ro "$1"
"$2" -c "$3" "$1" no 2>>"$1.err"; ls -A "$1/run"
mount -o remount,rw "$1"
"$2" -c "$3" "$1" no 2>>"$1.err"; ls -A "$1/run"
cp -r "$1/run" "$1.kept"
"""


@pytest.mark.slow
def test_full_and_read_only_disks(tmp_path, mesh, whole):
  """A small file system that fills up, is read-only, and is well again."""
  if subprocess.run(
    ["unshare", "-rm", "true"], capture_output=True, check=False
  ).returncode:
    pytest.skip("needs unshare to make a file system of its own")
  place = tmp_path / "disk"
  place.mkdir()
  tests = pathlib.Path(__file__).parent
  done = subprocess.run(
    ["unshare", "-rm", "bash", "-c", _SMALL_DISK, "-", place, sys.executable]
    + [_IN_SMALL_DISK],
    env={
      **os.environ,
      "PYTHONPATH": f"{tests.parents[1]}{os.pathsep}{tests}",
      "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
      "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    },
    capture_output=True,
    text=True,
    check=False,
  )
  log = pathlib.Path(f"{place}.err").read_text()
  assert done.returncode == 0, done.stderr + log[-3000:]
  full, before, read_only, still, *well = done.stdout.splitlines()
  assert full.startswith("REFUSED The checkpoint of step 4 cannot be written")
  assert "goes on from checkpoint_2" in full
  assert before == still == "checkpoint_2"  # and nothing half-written
  assert read_only.startswith("REFUSED") and "ead-only" in read_only
  assert well == ["OK", "checkpoint_2", "checkpoint_4", "checkpoint_6"]
  found = formats.find(pathlib.Path(f"{place}.kept"))
  assert_same(state_at(found, mesh)[0], whole[1])


@pytest.fixture
def terminated(tmp_path, mesh):
  """Asks a run to end at a moment; it is told apart by what raised."""

  def start(config, when, hooks):
    stop = stopping.Request()

    def progress(stage, done, total, unit):
      if done == when:
        os.kill(os.getpid(), signal.SIGTERM)

    hooks = dataclasses.replace(hooks, progress=progress, stop=stop)
    with pytest.raises(errors.Stopped) as stopped, stop.on_sigterm():
      run(tmp_path, mesh, config, hooks=hooks)
    assert stopped.value.code == 143
    return stopped.value.message

  return start


@pytest.mark.parametrize("when", [0, 2, 3])
def test_sigterm_saves_and_leaves(tmp_path, mesh, whole, terminated, when):
  told = terminated(CONFIG, when, train.Hooks())
  # The step under way is finished.
  assert told.startswith(f"Stopped by SIGTERM after step {when + 1}, which is")
  assert formats.steps(tmp_path)[-1] == when + 1
  assert_same(run(tmp_path, mesh), whole[1])


def test_sigterm_during_an_evaluation_saves_its_step(
  tmp_path, mesh, whole, terminated
):
  def evaluate(state, step):
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("not reached")

  config = dataclasses.replace(CONFIG, eval_period=3)
  terminated(config, None, train.Hooks(evaluate=evaluate))
  assert formats.steps(tmp_path) == [2, 3]
  evaluated = []
  hooks = train.Hooks(evaluate=lambda state, step: evaluated.append(step))
  assert_same(run(tmp_path, mesh, config, hooks=hooks), whole[1])
  # The one that was cut short is done again first.
  assert evaluated == [3, 6]


def test_sigterm_is_what_it_was_after_a_run():
  before = signal.getsignal(signal.SIGTERM)
  with stopping.Request().on_sigterm():
    assert signal.getsignal(signal.SIGTERM) != before
  assert signal.getsignal(signal.SIGTERM) == before


def test_two_trainings_in_one_folder(tmp_path):
  with runs.locked(tmp_path):
    with pytest.raises(errors.UsageError, match="another process is training"):
      with runs.locked(tmp_path):
        pass
  with runs.locked(tmp_path):
    pass
