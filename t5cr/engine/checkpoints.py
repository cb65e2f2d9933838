"""Checkpoints of a run: what Orbax keeps in `MODEL_DIR/checkpoint_<step>`.

A checkpoint has three items: `state`, parameters and optimizer as t5x lays them
out, so that t5x restores it as its own; `dataset`, the position of the training
data; `config`, the shape of the model and the checksums of the arrays. It is
written under a temporary name while training goes on, read back, compared with
its checksums, and only then renamed; it does not depend on the mesh or on the
number of processes. Those of other formats (`formats`) are read in the same
way.
"""

import dataclasses
import os
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath

from t5cr import errors
from t5cr.engine import (
  checksums,
  formats,
  integrity,
  partitioning,
  processes,
  train_state,
)
from t5cr.engine.config import T5Config
from t5cr.engine.formats import Format, Found
from t5cr.engine.train_state import TrainState

# What may differ between a checkpoint's model and the one asked for.
_FREE_FIELDS = ("dropout_rate", "dtype", "scan_layers")


def newest_good(model_dir: str | os.PathLike) -> tuple[Found, dict[int, str]]:
  """Finds what a run goes on from: its newest checkpoint that is whole.

  It is read and compared with its checksums, by the first process. Newer ones,
  damaged, are renamed to `damaged_checkpoint_<step>`.

  Args:
    model_dir: a run folder with checkpoints.

  Returns:
    (the checkpoint, {step of each damaged one: what is wrong with it}).

  Raises:
    UsageError: none of them is whole; nothing was changed.
  """
  folder = formats.absolute(model_dir)
  damaged: dict[int, str] = {}
  good = -1
  if processes.is_first():
    for step in reversed(formats.folders(folder)):
      reason = _problem(folder / f"{formats.PREFIX}_{step}")
      if reason is None:
        good = step
        break
      damaged[step] = reason
  good = processes.from_first(good)
  if good < 0:
    told = "; ".join(f"step {step}: {why}" for step, why in damaged.items())
    told = told or "process 0 says why"
    raise errors.UsageError(
      f"None of the checkpoints in {folder} is whole ({told}). Nothing was "
      "changed. Copy them again, or remove them to start anew."
    )
  for step in damaged:
    _set_aside(folder / f"{formats.PREFIX}_{step}")
  processes.wait("damaged checkpoints set aside")
  return formats.find(folder / f"{formats.PREFIX}_{good}"), damaged


def _problem(path: epath.Path) -> str | None:
  if formats.identify(path) is not Format.T5CR:
    return "parts of it are missing"
  return integrity.problem(formats.find(path))


def _set_aside(path: epath.Path) -> None:
  """Renames a damaged checkpoint: nothing that was there is lost."""
  place, number = path.parent / f"damaged_{path.name}", 1
  while place.exists():
    number += 1
    place = path.parent / f"damaged_{path.name}.{number}"
  path.rename(place)


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
  checksums.check_restored(found, restored, partitioning.replicated(mesh))
  return restored["target"], config, found.step


def restore_state(
  path: str | os.PathLike | Found,
  state: TrainState,
  config: T5Config,
  mesh: jax.sharding.Mesh,
) -> TrainState:
  """Loads parameters and optimizer that training goes on from.

  Where a checkpoint holds no optimizer state (Hugging Face's, or parameters
  that were converted alone), the optimizer starts fresh at the step of the
  checkpoint.

  Args:
    path: a run folder or a checkpoint of any format (see `formats`).
    state: shapes of the structure to restore.
    config: the model that is to be trained.
    mesh: where to place the arrays.

  Returns:
    The state at that step.

  Raises:
    UsageError: there is no such checkpoint, it is damaged, or of another
      model or another optimizer.
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
  restored = formats.restore(found, wanted)
  checksums.check_restored(found, restored, place)
  return train_state.from_t5x(restored, state)


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
