"""Compiled programs are loaded by the next process, and never in the way."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from t5cr.engine import compilation

# What a process compiles, and how often JAX's cache had it.
PROGRAM = """
import json, jax
from t5cr.engine import compilation, model
import tiny
counts = {"hits": 0, "misses": 0}
def count(event, **kwargs):
  for name in counts:
    if event == f"/jax/compilation_cache/cache_{name}":
      counts[name] += 1
jax.monitoring.register_event_listener(count)
compilation.enable()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
params = jax.jit(lambda: model.init(tiny.CONFIG, jax.random.key(0)))()
total = float(sum(leaf.sum() for leaf in jax.tree.leaves(params)))
found = {**counts, "total": total, "folder": str(compilation.folder())}
print(json.dumps(found))
"""


def run(home: pathlib.Path, repository, **environment) -> tuple[dict, str]:
  """What a fresh process says, and its log."""
  variables = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("JAX_")
  }
  path = os.pathsep.join([str(repository), str(repository / "tests/engine")])
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM],
    env={
      **variables,
      "XDG_CACHE_HOME": str(home),
      "PYTHONPATH": path,
      "JAX_PLATFORMS": "cpu",
      **environment,
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_a_second_process_compiles_nothing(tmp_path, repository):
  first, _ = run(tmp_path, repository)
  assert first["folder"] == str(tmp_path / "t5cr" / "jax")
  assert first["misses"] > 0 == first["hits"]
  count, size = compilation.size(tmp_path / "t5cr" / "jax")
  assert count == first["misses"] and size > 0
  second, log = run(tmp_path, repository)
  assert second["misses"] == 0
  assert second["hits"] == first["misses"]
  assert second["total"] == first["total"]
  assert "rror" not in log

  # Neither half a file nor nonsense does more than cost a compilation.
  for path in (tmp_path / "t5cr" / "jax").glob("*-cache"):
    path.write_bytes(path.read_bytes()[:50])
  third, _ = run(tmp_path, repository)
  assert third["total"] == first["total"]


def test_a_folder_that_cannot_be_written_costs_one_warning(
  tmp_path, repository
):
  (tmp_path / "t5cr").write_text("a file where the folder should be")
  found, log = run(tmp_path, repository)
  assert found["hits"] == found["misses"] == 0
  assert log.count("Compiled programs are not kept") == 1


def test_jax_settings_come_first(tmp_path, repository):
  other = tmp_path / "other"
  found, _ = run(tmp_path, repository, JAX_COMPILATION_CACHE_DIR=str(other))
  assert found["folder"] == str(other)
  assert found["misses"] == compilation.size(other)[0] > 0
  assert not (tmp_path / "t5cr").exists()


def test_it_can_be_turned_off(tmp_path, repository):
  found, _ = run(tmp_path, repository, JAX_ENABLE_COMPILATION_CACHE="false")
  assert found["folder"] == "None"
  assert not (tmp_path / "t5cr").exists()


@pytest.mark.parametrize(("limit", "kept"), [(100, "abc"), (60, "bc"), (9, "")])
def test_what_was_not_used_for_longest_goes_first(tmp_path, limit, kept):
  for age, name in enumerate("cba"):
    path = tmp_path / f"{name}-cache"
    path.write_bytes(bytes(30))
    os.utime(path, (1e9 - age, 1e9 - age))
  (tmp_path / "note.txt").write_text("not a program")
  compilation._prune(tmp_path, limit)
  assert sorted(p.name[0] for p in tmp_path.glob("*-cache")) == list(kept)
  assert (tmp_path / "note.txt").exists()
