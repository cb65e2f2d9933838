"""Checkpoints of a run: what Orbax keeps in `MODEL_DIR/checkpoint_<step>`.

A checkpoint has four items: `params`; `optimizer` (its state and the step);
`dataset`, the position of the training data, one part per process; `config`,
the shape of the model, so that a checkpoint is enough to run it. It is written
under a temporary name while training goes on, then renamed.
"""

import dataclasses
import os
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath

from t5cr import errors
from t5cr.engine import model, partitioning
from t5cr.engine.config import T5Config

PREFIX = "checkpoint"

# What may differ between a checkpoint's model and the one asked for.
_FREE_FIELDS = ("dropout_rate", "dtype")


class Positioned(Protocol):
  """An iterator whose position can be written to and read from files."""

  def save(self, filename: epath.Path) -> None:
    """Writes the position after the last batch that was handed out."""

  def restore(self, filename: epath.Path) -> None:
    """Goes on from the position that `save` wrote."""


def _process_file(directory: epath.Path) -> epath.Path:
  """Where this process keeps its part of the data's position."""
  index, count = jax.process_index(), jax.process_count()
  return directory / f"process_{index}-of-{count}"


class _PositionHandler(ocp.CheckpointHandler):
  """Lets Orbax write an iterator's position beside the arrays.

  It is not an asynchronous handler on purpose: the position has to be written
  before training takes the next batch.
  """

  def save(self, directory: epath.Path, args: "_PositionSave") -> None:
    args.iterator.save(_process_file(epath.Path(directory)))

  def restore(self, directory: epath.Path, args: "_PositionRestore") -> None:
    path = _process_file(epath.Path(directory))
    if not list(path.parent.glob(path.name + "*")):
      raise errors.UsageError(
        f"The checkpoint has no data position for this process: {path}* is "
        "missing. Resume with as many processes as wrote it."
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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """All that a training step changes.

  Attributes:
    step: int32 scalar, steps taken so far.
    params: the parameter tree.
    opt_state: what the optimizer keeps.
  """

  step: jax.Array
  params: Any
  opt_state: Any


def _absolute(path: str | os.PathLike) -> epath.Path:
  """Orbax takes no relative paths."""
  remote = "://" in str(path)
  return epath.Path(path if remote else os.path.abspath(path))


def step_of(path: str | os.PathLike) -> int | None:
  """The step in a folder name `checkpoint_<step>`, None for other names."""
  prefix, _, step = epath.Path(path).name.rpartition("_")
  return int(step) if prefix == PREFIX and step.isdigit() else None


def _read(path: epath.Path, **items: Any) -> Any:
  """Reads items of one checkpoint."""
  handler = ocp.CompositeCheckpointHandler()
  with ocp.Checkpointer(handler) as checkpointer:
    return checkpointer.restore(path, args=ocp.args.Composite(**items))


def steps(model_dir: str | os.PathLike) -> list[int]:
  """Steps of the finished checkpoints of a run folder, in order."""
  directory = epath.Path(model_dir)
  if not directory.is_dir():
    return []
  return sorted(
    step
    for path in directory.iterdir()
    if (step := step_of(path)) is not None
    and (path / "config").is_dir()
    # Where nothing can be renamed (gs://), a save that was cut short stays.
    and ocp.utils.is_checkpoint_finalized(path)
  )


def find(path: str | os.PathLike) -> tuple[epath.Path, int]:
  """Finds the checkpoint that a path means.

  Args:
    path: a `checkpoint_<step>` folder, or a run folder, whose latest
      checkpoint is meant.

  Returns:
    (run folder, step).

  Raises:
    UsageError: there is none there, or it is not one of this engine's.
  """
  path = _absolute(path)
  step = step_of(path)
  directory = path if step is None else path.parent
  known = steps(directory)
  if step is None and known:
    return directory, known[-1]
  if step is not None and step in known:
    return directory, step
  if not path.exists():
    reason = "it does not exist"
  elif step is None:
    reason = f"no finished {PREFIX}_<step> folder is in it"
  else:
    reason = "this engine did not write it: it has no config item"
  beside = f" Checkpoints in {directory}: {known}." if known else ""
  raise errors.UsageError(
    f"No checkpoint at {path}: {reason}. Give a run folder or one of its "
    f"{PREFIX}_<step> folders.{beside}"
  )


def model_config(path: str | os.PathLike) -> T5Config:
  """The shape of the model whose checkpoint `path` means (see `find`)."""
  directory, step = find(path)
  where = directory / f"{PREFIX}_{step}"
  saved = _read(where, config=ocp.args.JsonRestore())["config"]
  return T5Config(**saved["model"])


def check_model(path: str | os.PathLike, asked: T5Config) -> None:
  """Raises UsageError unless the checkpoint is of the model asked for."""
  saved = model_config(path)
  differing = [
    f"{field.name} is {getattr(saved, field.name)} there and "
    f"{getattr(asked, field.name)} here"
    for field in dataclasses.fields(T5Config)
    if field.name not in _FREE_FIELDS
    and getattr(saved, field.name) != getattr(asked, field.name)
  ]
  if differing:
    raise errors.UsageError(
      f"The checkpoint {path} is of another model: {'; '.join(differing)}. "
      "Use the recipe that it was trained with."
    )


def _with_shardings(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Abstract arrays that say where each is to lie."""
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    tree,
    partitioning.state_shardings(tree, mesh),
  )


def restore_params(
  path: str | os.PathLike, mesh: jax.sharding.Mesh
) -> tuple[Any, T5Config, int]:
  """Loads parameters to run a model.

  Args:
    path: a run folder or a `checkpoint_<step>` folder.
    mesh: where to place them.

  Returns:
    (params, the model's shape, step).

  Raises:
    UsageError: see `find`.
  """
  directory, step = find(path)
  where = directory / f"{PREFIX}_{step}"
  config = model_config(where)
  shapes = jax.eval_shape(lambda: model.init(config, jax.random.key(0)))
  wanted = ocp.args.StandardRestore(_with_shardings(shapes, mesh))
  return _read(where, params=wanted)["params"], config, step


def restore_state(
  path: str | os.PathLike,
  state: TrainState,
  config: T5Config,
  mesh: jax.sharding.Mesh,
  iterator: Positioned | None = None,
) -> TrainState:
  """Loads all that training goes on from.

  Args:
    path: a run folder or a `checkpoint_<step>` folder.
    state: arrays, or their shapes, of the structure to restore.
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
  directory, step = find(path)
  where = directory / f"{PREFIX}_{step}"
  check_model(where, config)
  abstract = _with_shardings(state, mesh)
  items: dict[str, Any] = {
    "params": ocp.args.StandardRestore(abstract.params),
    "optimizer": ocp.args.StandardRestore(
      {"step": abstract.step, "state": abstract.opt_state}
    ),
  }
  # A checkpoint written before any data was read has no position.
  if iterator is not None and (where / "dataset").exists():
    items["dataset"] = _PositionRestore(iterator)
  try:
    restored = _read(where, **items)
  except errors.UsageError:
    raise
  except ValueError as error:
    raise errors.UsageError(
      f"The checkpoint {where} does not fit the model and optimizer asked "
      f"for: {str(error).splitlines()[0]}"
    ) from error
  optimizer = restored["optimizer"]
  return TrainState(
    step=optimizer["step"],
    params=restored["params"],
    opt_state=optimizer["state"],
  )


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
      _absolute(model_dir),
      options=ocp.CheckpointManagerOptions(
        step_prefix=PREFIX,
        max_to_keep=keep,
        cleanup_tmp_directories=True,
        save_root_metadata=False,
      ),
    )

  def __enter__(self) -> "Writer":
    """Nothing to do: the folder is open."""
    return self

  def __exit__(self, *exception) -> None:
    """Waits for the last checkpoint to be whole."""
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
    items: dict[str, Any] = {
      "params": ocp.args.StandardSave(state.params),
      "optimizer": ocp.args.StandardSave(
        {"step": jnp.asarray(state.step), "state": state.opt_state}
      ),
      "config": ocp.args.JsonSave({"model": dataclasses.asdict(config)}),
    }
    if iterator is not None:
      items["dataset"] = _PositionSave(iterator)
    self._manager.save(step, args=ocp.args.Composite(**items))

  def wait(self) -> None:
    """Waits until every checkpoint that was started is whole."""
    self._manager.wait_until_finished()
