"""Checkpoints of a run: what Orbax keeps in `MODEL_DIR/checkpoint_<step>`.

A checkpoint has three items: `state`, parameters and optimizer as t5x lays them
out, so that t5x restores it as its own; `dataset`, the position of the training
data; `config`, the shape of the model. It is written under a temporary name
while training goes on, then renamed, and does not depend on the mesh or on the
number of processes. Those of other formats (`formats`) are read in the same
way.
"""

import dataclasses
import os
from typing import Any, Protocol

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from t5cr import errors
from t5cr.engine import formats, partitioning, processes, train_state
from t5cr.engine.config import T5Config
from t5cr.engine.formats import Format, Found
from t5cr.engine.train_state import TrainState

# What may differ between a checkpoint's model and the one asked for.
_FREE_FIELDS = ("dropout_rate", "dtype", "scan_layers")


class Positioned(Protocol):
  """An iterator whose position can be written to and read from files."""

  def save(self, filename: epath.Path) -> None:
    """Writes the position after the last batch that was handed out."""

  def restore(self, filename: epath.Path) -> None:
    """Goes on from the position that `save` wrote."""


# All processes read the same batches, so there is one position.
_POSITION_FILE = "process_0-of-1"


class _PositionHandler(ocp.CheckpointHandler):
  """Lets Orbax write an iterator's position beside the arrays.

  It is not an asynchronous handler on purpose: the position has to be written
  before training takes the next batch.
  """

  def save(self, directory: epath.Path, args: "_PositionSave") -> None:
    if processes.is_first():
      args.iterator.save(epath.Path(directory) / _POSITION_FILE)

  def restore(self, directory: epath.Path, args: "_PositionRestore") -> None:
    path = epath.Path(directory) / _POSITION_FILE
    if not list(path.parent.glob(path.name + "*")):
      raise errors.UsageError(
        f"The checkpoint has no position of the training data: {path}* is "
        "missing. Copy it again, or start anew from it with "
        "INITIAL_CHECKPOINT_PATH and another MODEL_DIR."
      )
    args.iterator.restore(path)


@ocp.args.register_with_handler(_PositionHandler, for_save=True)
@dataclasses.dataclass
class _PositionSave(ocp.args.CheckpointArgs):
  iterator: Positioned


@ocp.args.register_with_handler(_PositionHandler, for_restore=True)
@dataclasses.dataclass
class _PositionRestore(ocp.args.CheckpointArgs):
  iterator: Positioned


def differing_fields(
  saved: T5Config,
  asked: T5Config,
  where: tuple[str, str] = ("there", "here"),
) -> list[str]:
  """What tells two models apart, in words: dropout and dtype do not."""
  return [
    f"{field.name} is {getattr(saved, field.name)} {where[0]} and "
    f"{getattr(asked, field.name)} {where[1]}"
    for field in dataclasses.fields(T5Config)
    if field.name not in _FREE_FIELDS
    and getattr(saved, field.name) != getattr(asked, field.name)
  ]


def check_model(path: str | os.PathLike | Found, asked: T5Config) -> None:
  """Raises UsageError unless the checkpoint is of the model asked for."""
  found = formats.find(path)
  if found.format in (Format.T5CR, Format.HF):
    differing = differing_fields(found.config, asked)
    if differing:
      raise errors.UsageError(
        f"The checkpoint {found.path} is of another model: "
        f"{'; '.join(differing)}. Use the recipe that it was trained with."
      )
  train_state.check_shapes(
    found.metadata["target"],
    train_state.abstract_params(asked),
    found.path,
  )


def _placed(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Abstract arrays that say where each is to lie."""
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    tree,
    partitioning.state_shardings(tree, mesh),
  )


def _find(path: str | os.PathLike | Found) -> Found:
  """A checkpoint, the same in all processes, else parts of two were mixed."""
  found = formats.find(path)
  processes.agree(
    "The latest checkpoint",
    (os.fspath(found.path), found.step),
    "It is still being written to; name one checkpoint_<step>.",
  )
  return found


def restore_params(
  path: str | os.PathLike | Found, mesh: jax.sharding.Mesh
) -> tuple[Any, T5Config, int]:
  """Loads parameters to run a model, as float32.

  Args:
    path: a run folder or a checkpoint of any format (see `formats`).
    mesh: where to place them.

  Returns:
    (params, the model's shape, step).

  Raises:
    UsageError: there is no checkpoint, it is no T5's, or it is damaged.
  """
  found = _find(path)
  config = found.config
  wanted = train_state.abstract_params(config)
  stored = found.metadata
  train_state.check_shapes(stored["target"], wanted, found.path)
  restored = formats.restore(found, {"target": _placed(wanted, mesh)})
  return restored["target"], config, found.step


def restore_state(
  path: str | os.PathLike,
  state: TrainState,
  config: T5Config,
  mesh: jax.sharding.Mesh,
  iterator: Positioned | None = None,
) -> TrainState:
  """Loads all that training goes on from.

  Where a checkpoint holds no optimizer state (Hugging Face's, or parameters
  that were converted alone), the optimizer starts fresh at the step of the
  checkpoint.

  Args:
    path: a run folder or a checkpoint of any format (see `formats`).
    state: shapes of the structure to restore.
    config: the model that is to be trained.
    mesh: where to place the arrays.
    iterator: put at the saved position; None leaves data out of it, as for
      an initial checkpoint of another run.

  Returns:
    The state at that step.

  Raises:
    UsageError: there is no such checkpoint, or it is of another model or
      another optimizer.
  """
  found = _find(path)
  check_model(found, config)
  place = partitioning.replicated(mesh)
  unused = jax.ShapeDtypeStruct((1,), np.float32, sharding=place)
  wanted = train_state.to_t5x(_placed(state, mesh), unused)
  stored = found.metadata.get("state", {})
  if "param_states" not in stored:
    return _without_optimizer(found, state, wanted, mesh)
  _check_optimizer(found, stored["param_states"], wanted)
  restored = train_state.from_t5x(formats.restore(found, wanted), state)
  # A checkpoint written before any data was read has no position.
  if iterator is not None and (found.path / "dataset").exists():
    formats.read_items(found.path, dataset=_PositionRestore(iterator))
  return restored


def _check_optimizer(found: Found, stored: Any, wanted: Any) -> None:
  """Raises UsageError if the optimizer was not T5's Adafactor."""
  shapes = train_state.flat(stored)
  moments = train_state.flat(wanted["state"]["param_states"])
  for name, leaf in moments.items():
    there = tuple(shapes[name].shape) if name in shapes else "missing"
    if there != tuple(leaf.shape):
      raise errors.UsageError(
        f"The optimizer state of {found.path} is not that of T5's Adafactor: "
        f"{name} is {there} there and {tuple(leaf.shape)} here. Start from the "
        "parameters alone: `t5cr convert` leaves the optimizer out with "
        "--params_only."
      )


def _without_optimizer(
  found: Found, state: TrainState, wanted: Any, mesh: jax.sharding.Mesh
) -> TrainState:
  """The parameters of a checkpoint, with an optimizer that knows nothing."""
  params = formats.restore(found, {"target": wanted["target"]})["target"]
  logging.warning(
    "%s holds no optimizer state: it starts anew, at step %d.",
    found.path,
    found.step,
  )
  place = partitioning.replicated(mesh)

  def fresh(leaf: Any, sharding: Any) -> jax.Array:
    return partitioning.place(np.zeros(leaf.shape, leaf.dtype), sharding)

  opt_state = jax.tree.map(
    fresh, state.opt_state, partitioning.state_shardings(state.opt_state, mesh)
  )
  step = partitioning.place(np.int32(found.step), place)
  tree = train_state.to_t5x(TrainState(step, params, opt_state), None)
  return train_state.from_t5x(tree, state)


class Writer:
  """Writes the checkpoints of one run, in the background, the last N kept.

  Use it as a context manager: leaving it waits for what is being written.
  """

  def __init__(self, model_dir: str | os.PathLike, *, keep: int | None = None):
    """Opens a run folder.

    Args:
      model_dir: the run folder; made if missing.
      keep: how many of the latest checkpoints to keep, None for all.
    """
    self._manager = ocp.CheckpointManager(
      formats.absolute(model_dir),
      options=ocp.CheckpointManagerOptions(
        step_prefix=formats.PREFIX,
        max_to_keep=keep,
        cleanup_tmp_directories=True,
        save_root_metadata=False,
      ),
    )

  def __enter__(self) -> "Writer":
    """Nothing to do: the folder is open."""
    return self

  def __exit__(self, kind, error, trace) -> None:
    """Waits for the last checkpoint to be whole."""
    # After an error, the other processes may never come to close it too.
    if error is None or jax.process_count() == 1:
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
    """
    if step in self._manager.all_steps():
      return
    tree = train_state.to_t5x(state, np.zeros((1,), np.float32))
    items: dict[str, Any] = {
      "state": ocp.args.PyTreeSave(tree),
      "config": ocp.args.JsonSave({"model": dataclasses.asdict(config)}),
    }
    if iterator is not None:
      items["dataset"] = _PositionSave(iterator)
    self._manager.save(step, args=ocp.args.Composite(**items))

  def wait(self) -> None:
    """Waits until every checkpoint that was started is whole."""
    self._manager.wait_until_finished()
