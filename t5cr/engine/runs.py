"""A run folder: what it says of the run in it, and whom it belongs to.

`run.json` records what a run is a function of (`settings`, `data`), the
versions and machine that made it, and what it cost. `results_of.json` records
the same of results that lie in a folder of their own. A folder that holds
another run, or results on other data, is refused and left as it is.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from etils import epath

import t5cr
from t5cr import errors, locking, nested
from t5cr.engine import formats, processes

FILE = "run.json"
RESULTS_FILE = "results_of.json"

_PACKAGES = (
  "jax",
  "jaxlib",
  "optax",
  "orbax-checkpoint",
  "seqio",
  "tensorflow",
  "tensorflow-datasets",
  "numpy",
)


def digest(value: Any) -> str:
  """sha256 of a JSON value, in hexadecimal."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
  """A value as JSON gives it back: tuples become lists."""
  return json.loads(json.dumps(value))


def write(path: epath.Path, content: str | bytes) -> None:
  """Writes a file under a temporary name, then renames it.

  Of several processes, only the first writes.
  """
  if not processes.is_first():
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  scratch = path.parent / f".{path.name}.tmp"
  scratch.unlink(missing_ok=True)  # a link there would be written through
  if isinstance(content, str):
    content = content.encode()
  try:
    scratch.write_bytes(content)
    scratch.replace(path)
  except OSError as error:
    scratch.unlink(missing_ok=True)
    # Python names no file where the disk turns out to be full.
    raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def read(model_dir: str | os.PathLike) -> dict[str, Any]:
  """What `run.json` holds; {} if there is none."""
  path = epath.Path(model_dir) / FILE
  return _read(path) if path.exists() else {}


def _read(path: epath.Path) -> dict[str, Any]:
  try:
    return nested.load_object(path.read_text())
  except ValueError as error:
    raise errors.UsageError(
      f"{path} is no JSON object ({error}). Choose another folder, or move "
      "that one away to start anew."
    ) from error


def check_same(
  model_dir: str | os.PathLike, settings: Mapping[str, Any]
) -> None:
  """Refuses a folder with another run in it; changes nothing.

  Args:
    model_dir: the run folder.
    settings: all that defines the run's result, but for how far it goes.

  Raises:
    UsageError: that lists what differs.
  """
  formats.absolute(model_dir)  # refuses an empty path
  known = read(model_dir)
  if not known:
    if _has_checkpoints(model_dir):
      raise errors.UsageError(
        f"MODEL_DIR {model_dir} holds checkpoints but no {FILE}, so another "
        "program or version wrote it. Choose a new MODEL_DIR."
      )
    return
  if not formats.folders(model_dir):
    return  # It failed before its first checkpoint: nothing is lost.
  there = nested.flat(known.get("settings", {}))
  here = nested.flat(plain(settings))
  differing = [
    f"{name} is {there.get(name)!r} there and {here.get(name)!r} here"
    for name in sorted(there.keys() | here.keys())
    if there.get(name) != here.get(name)
  ]
  if differing:
    raise errors.UsageError(
      f"MODEL_DIR {model_dir} holds another run: {'; '.join(differing)}. "
      "Choose a new MODEL_DIR, or use the settings of the run that is there."
    )


def _has_checkpoints(model_dir: str | os.PathLike) -> bool:
  """Whether there are folders called checkpoint_<step>, of any format."""
  folder = formats.absolute(model_dir)
  return folder.is_dir() and any(
    formats.step_of(path) is not None for path in folder.iterdir()
  )


def claim_output(
  folder: epath.Path,
  text: str,
  source: str | os.PathLike,
  data: Mapping[str, str],
) -> None:
  """Writes `config.gin` into a folder for results, if they may go there.

  Args:
    folder: new, or one with results of the same run on the same data.
    text: the whole configuration.
    source: the run folder whose checkpoints are evaluated.
    data: fingerprints of what it is evaluated on.

  Raises:
    UsageError: the folder holds a training run, results of another run, or
      results on another edition of the data.
  """
  about = folder / RESULTS_FILE
  known = _read(about) if about.exists() else {}
  before = known.get("data", {})
  changed = [
    name for name in data if before.get(name, data[name]) != data[name]
  ]
  held = ""
  if (folder / FILE).exists():
    held = "a run"
  elif known.get("run", os.fspath(source)) != os.fspath(source):
    held = f"results of {known['run']}"
  elif changed:
    held = f"results on another edition of {', '.join(sorted(changed))}"
  if held:
    raise errors.UsageError(
      f"{folder} holds {held}. Choose a new folder for these results "
      "(EVAL_OUTPUT_DIR or INFER_OUTPUT_DIR)."
    )
  trained_on = read(source).get("settings", {}).get("data", {})
  mine = {
    "run": os.fspath(source),
    "trained_on": trained_on,
    "data": {**before, **data},
  }
  write(about, json.dumps({**mine, **environment()}, indent=2) + "\n")
  write(folder / "config.gin", text)


@contextlib.contextmanager
def locked(model_dir: str | os.PathLike) -> Iterator[None]:
  """Keeps other trainings out of a run folder while a block runs.

  Raises:
    UsageError: one is under way there.
  """
  folder = formats.absolute(model_dir)
  if "://" in str(folder) or not processes.is_first():
    yield
    return
  folder.mkdir(parents=True, exist_ok=True)
  # The folder itself is locked, so that no file of the lock stays in it.
  handle = os.open(folder, os.O_RDONLY)
  try:
    if not locking.take(handle):
      raise errors.UsageError(
        f"MODEL_DIR {folder}: another process is training there. Wait until it "
        "has ended, or choose another MODEL_DIR."
      )
    yield
  finally:
    os.close(handle)


def environment() -> dict[str, Any]:
  """Versions and machine, for whoever compares results."""
  versions = {"python": platform.python_version(), "t5cr": t5cr.__version__}
  for package in _PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[package] = importlib.metadata.version(package)
  devices = jax.devices()
  return {
    "versions": versions,
    "machine": {
      "system": f"{platform.system()} {platform.machine()}",
      "cores": len(os.sched_getaffinity(0)),
      "devices": f"{len(devices)} x {devices[0].device_kind}",
      "processes": jax.process_count(),
    },
  }


class Record:
  """Keeps `run.json` up to date while a run goes on."""

  def __init__(self, model_dir: str | os.PathLike, values: Mapping[str, Any]):
    """Goes on from the record that is there.

    Args:
      model_dir: the run folder.
      values: what is known at the start; replaces older values.
    """
    self._path = epath.Path(model_dir) / FILE
    known = read(model_dir)
    processes.wait(f"{FILE} was read")  # before the first writes it
    if known.get("settings") != plain(values).get("settings"):
      known = {}  # of a run that never came to a checkpoint
    self.values = {
      **known,
      **plain(values),
      "seconds": known.get("seconds", {}),
      "starts": known.get("starts", 0) + 1,
    }
    self.update()
    starts = self.values["starts"]
    processes.check_seen(
      os.fspath(self._path),
      lambda: read(model_dir).get("starts") == starts,
      "MODEL_DIR has to be one folder for all processes, on a file system that "
      "they share or gs://.",
    )

  def update(self, **values: Any) -> None:
    """Adds values and writes the file."""
    self.values.update(plain(values))
    write(self._path, json.dumps(self.values, indent=2) + "\n")

  @contextlib.contextmanager
  def spent(self, on: str) -> Iterator[None]:
    """Adds the time of a block to `seconds`, also when it is cut short."""
    started = time.perf_counter()
    try:
      yield
    finally:
      seconds = self.values["seconds"]
      so_far = seconds.get(on, 0.0) + time.perf_counter() - started
      self.update(seconds={**seconds, on: round(so_far, 1)})
