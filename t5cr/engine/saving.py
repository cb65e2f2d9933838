"""Writes the checkpoints of a run."""

import contextlib
import dataclasses
import logging
import os
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from etils import epath

from t5cr import errors
from t5cr.engine import (
  checksums,
  formats,
  integrity,
  positions,
  processes,
  train_state,
)
from t5cr.engine.config import T5Config
from t5cr.engine.formats import Format, Found
from t5cr.engine.positions import Positioned
from t5cr.engine.train_state import TrainState, Tree

# What a file system says of a place that takes no more, in any library's words.
_STORAGE = re.compile(
  r"no space left|quota|read-only file system|permission denied|input/output "
  r"error|file too large|RESOURCE_EXHAUSTED",
  re.IGNORECASE,
)
# How Orbax calls what it has not finished; what is about to be removed.
_UNFINISHED = ".orbax-checkpoint-tmp"
_REMOVED = ".removed_"
# Writing and reading back, for the largest models on slow disks.
_TIMEOUT_SECONDS = 3 * 3600


def _is_news(record: logging.LogRecord) -> bool:
  """Whether a line of the log is none of Orbax's tracebacks.

  It writes them from its threads, about errors that it then raises.
  """
  return not (record.exc_info and "orbax" in record.pathname)


class Writer:
  """Writes the checkpoints of one run, in the background, the last N kept.

  A checkpoint gets its name when it was read back and found to be what was to
  be written; only then are older ones removed. Use it as a context manager:
  leaving it waits for what is being written.
  """

  def __init__(self, model_dir: str | os.PathLike, *, keep: int | None = None):
    """Opens a run folder, and clears away what a killed run was writing.

    Args:
      model_dir: the run folder; made if missing.
      keep: how many of the latest checkpoints to keep, None for all.
    """
    self._folder = formats.absolute(model_dir)
    if keep is not None:
      errors.check_count("keep", keep)
    self._keep = keep
    self._step = -1  # of what is being written
    absl_logging.get_absl_logger().addFilter(_is_news)
    self._manager = ocp.CheckpointManager(
      self._folder,
      options=ocp.CheckpointManagerOptions(
        step_prefix=formats.PREFIX,
        cleanup_tmp_directories=True,
        save_root_metadata=False,
        async_options=ocp.AsyncOptions(
          post_finalization_callback=self._verify,
          # Else a folder that cannot be made is waited for, for minutes.
          create_directories_asynchronously=False,
          timeout_secs=_TIMEOUT_SECONDS,
        ),
      ),
    )
    if processes.is_first():
      for left in formats.starting(self._folder, _REMOVED):
        _remove(left)

  def __enter__(self) -> "Writer":
    """Nothing to do: the folder is open."""
    return self

  def __exit__(self, kind, error, trace) -> None:
    """Waits for the last checkpoint to be whole."""
    if error is None or isinstance(error, errors.Stopped):
      self.wait()
      with self._storage_told():
        self._manager.close()
    # After an error, the other processes may never come to close it too.
    elif jax.process_count() == 1:
      # What failed was told already, and fails again here.
      with contextlib.suppress(Exception):
        self.wait()
        self._manager.close()

  def save(
    self,
    step: int,
    state: TrainState,
    config: T5Config,
    iterator: Positioned | None,
  ) -> None:
    """Starts to write a checkpoint; returns once its values are copied.

    Args:
      step: names the folder; one that is there already is left as it is.
      state: copied before this returns, so that its buffers may be donated.
      config: the model's shape.
      iterator: its position is written before this returns; None where no
        data was read.

    Raises:
      UsageError: it, or the one before, cannot be written.
    """
    if step in formats.steps(self._folder):
      return
    self.wait()
    tree = train_state.to_t5x(state, np.zeros((1,), np.float32))
    items: dict[str, Any] = {
      "state": ocp.args.PyTreeSave(tree),
      "config": ocp.args.JsonSave(
        record(tree, config, _everywhere(state), iterator is not None)
      ),
    }
    if iterator is not None:
      items["dataset"] = positions.Save(iterator)
    self._step = step
    with self._storage_told():
      if not self._manager.save(step, args=ocp.args.Composite(**items)):
        raise RuntimeError(f"Orbax did not save step {step}")

  def reload(self) -> None:
    """Looks at the folder anew, where something else was renamed in it."""
    self._manager.reload()

  def wait(self) -> None:
    """Waits until what was started is whole; then removes what is too old.

    Raises:
      UsageError: it cannot be written; those before are all there.
    """
    with self._storage_told():
      self._manager.wait_until_finished()
    if self._keep is None:
      return
    if processes.is_first():
      for step in formats.steps(self._folder)[: -self._keep]:
        _remove(self._folder / f"{formats.PREFIX}_{step}")
    processes.wait("old checkpoints removed")

  def _unfinished(self) -> list[epath.Path]:
    """Where the checkpoint is being written."""
    name = f"{formats.PREFIX}_{self._step}"
    return [
      path
      for path in self._folder.iterdir()
      # Where nothing can be renamed (gs://) it has its name from the start.
      if path.name == name or path.name.startswith(f"{name}{_UNFINISHED}")
    ]

  def _verify(self) -> None:
    """Reads back what was written; Orbax calls it before it is renamed."""
    (path,) = self._unfinished()
    found = Found(path, Format.T5CR, self._step)
    reason = integrity.problem(found)
    if reason:
      raise errors.UsageError(
        f"Step {self._step} was written to {self._folder} and reads back "
        f"otherwise: {reason}. See to the disk. {self._remaining()}"
      )
    integrity.list_files(path)

  def _remaining(self) -> str:
    """What a run goes on from after a checkpoint could not be written."""
    steps = formats.steps(self._folder)
    where = f"{formats.PREFIX}_{steps[-1]}" if steps else "its start"
    return f"The same command goes on from {where}."

  @contextlib.contextmanager
  def _storage_told(self) -> Iterator[None]:
    """Tells of a full disk and the like, and takes away the unfinished."""
    try:
      yield
    # Each library has errors of its own.
    except Exception as error:
      told = isinstance(error, errors.UsageError)
      found = _STORAGE.search(str(error))
      if not told and not found:
        raise
      if processes.is_first():
        for path in self._unfinished():
          if _UNFINISHED in path.name:
            _remove(path)
      if told or not found:
        raise
      raise errors.UsageError(
        f"The checkpoint of step {self._step} cannot be written to "
        f"{self._folder}: {found[0]}. Free space there, or make it writable. "
        f"{self._remaining()}"
      ) from error


def record(
  tree: Tree,
  config: T5Config,
  sharding: jax.sharding.Sharding | None = None,
  has_position: bool = False,
) -> dict[str, Any]:
  """What a checkpoint holds beside its arrays.

  Args:
    tree: the arrays, as t5x lays them out.
    config: the model's shape.
    sharding: see `checksums.of_state`; None for arrays of one device.
    has_position: whether a position of training data is saved too.

  Returns:
    JSON values; `formats.Found.record` reads them.
  """
  return formats.sealed(
    {
      "model": dataclasses.asdict(config),
      "checksums": checksums.of_state(tree, sharding),
      "has_position": has_position,
    }
  )


def _everywhere(state: TrainState) -> jax.sharding.Sharding | None:
  """The sharding of what every device of a state's mesh holds."""
  step = state.step
  return step.sharding if isinstance(step, jax.Array) else None


def _remove(path: epath.Path) -> None:
  """Removes a checkpoint; cut short, it leaves none that looks whole."""
  gone = path.parent / f"{_REMOVED}{path.name}"
  try:
    if "://" not in str(path) and not path.name.startswith(_REMOVED):
      path = path.rename(gone)
    path.rmtree()
  except OSError as error:
    # Another program may have it open; no reason to end a training.
    absl_logging.warning("%s could not be removed: %s", path, error)
