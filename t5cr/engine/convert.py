"""Checkpoints from one format to another, offline (`formats` lists them)."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from t5cr import errors
from t5cr.engine import (
  checkpoints,
  formats,
  huggingface,
  huggingface_tokenizer,
  legacy,
  optimizer,
  saving,
  train_state,
  vocabulary,
)
from t5cr.engine.config import DTYPES, T5Config
from t5cr.engine.formats import Format, Found
from t5cr.engine.train_state import TrainState, Tree
from t5cr.progress import Progress


@dataclasses.dataclass(frozen=True)
class Options:
  """What may change on the way.

  Attributes:
    dtype: of the parameters; None keeps what is stored. Optimizer states stay
      as they are.
    step: recorded instead of the source's.
    params_only: leave the optimizer's state out.
    vocabulary: content of the SentencePiece model, for Hugging Face's tokenizer
      or to lie in the run folder.
    card: README.md of a Hugging Face folder.
  """

  dtype: str | None = None
  step: int | None = None
  params_only: bool = False
  vocabulary: bytes | None = None
  card: str | None = None

  def __post_init__(self):
    """Raises UsageError for values that cannot be used."""
    if self.dtype is not None and self.dtype not in DTYPES:
      raise errors.UsageError(
        f"--dtype: {self.dtype!r} is unknown; known are {', '.join(DTYPES)}."
      )
    if self.step is not None and not 0 <= self.step < 2**31:
      raise errors.UsageError(
        f"--step is {self.step}; it has to be from 0 to {2**31 - 1}."
      )


def convert(
  source: str | os.PathLike | Found,
  destination: str | os.PathLike,
  to: Format,
  options: Options = Options(),  # noqa: B008 (frozen)
  progress: Progress | None = None,
) -> epath.Path:
  """Writes a checkpoint in another format.

  Args:
    source: a checkpoint of any format, or a run folder, whose latest is meant.
    destination: the new folder; for t5x's and this engine's formats, the run
      folder in which `checkpoint_<step>` is made, or that folder itself.
    to: the format to write.
    options: what changes on the way.
    progress: called with (stage, done, total, unit).

  Returns:
    The folder that was written; it appears when it is whole.

  Raises:
    UsageError: the source cannot be read, its parameters do not fit its
      model, or the destination is there already.
  """
  found = formats.find(source)
  config = found.config
  stored = found.metadata
  wanted = train_state.abstract_params(config)
  train_state.check_shapes(stored["target"], wanted, found.path)
  if to in (Format.T5X, Format.T5X_LEGACY):
    _check_inferred(config, wanted, to)
  step = found.step if options.step is None else options.step
  place = _destination(destination, to, step)
  if to is Format.HF and options.vocabulary is not None:
    # What is wrong with it is said before the weights are read.
    huggingface_tokenizer.files(options.vocabulary, config.vocab_size)
  if progress:
    progress("read", 0, None, "arrays")
  tree = _read(found, stored, options, progress)
  if to is Format.HF:
    huggingface.write(
      place,
      tree["target"],
      config,
      vocabulary=options.vocabulary,
      card=options.card,
      progress=progress,
    )
  else:
    tree = _complete(tree, step, options)
    _write(place, tree, config, to, progress)
    copy = place.parent / vocabulary.FILE
    if options.vocabulary is not None and not copy.exists():
      copy.write_bytes(options.vocabulary)
  return place


def _check_inferred(config: T5Config, params: Any, to: Format) -> None:
  """Refuses what a reader could not tell from the parameters alone."""
  lost = checkpoints.differing_fields(
    train_state.config_of(params), config, ("by default", "in it")
  )
  if lost:
    raise errors.UsageError(
      f"--to {to}: that format does not record the model's shape, and this one "
      f"cannot be read off its parameters: {'; '.join(lost)}. "
      f"Convert it to {Format.T5CR} or {Format.HF}."
    )


def _destination(path: str | os.PathLike, to: Format, step: int) -> epath.Path:
  place = formats.absolute(path)
  if to is not Format.HF and formats.step_of(place) is None:
    place = place / f"{formats.PREFIX}_{step}"
  if to is not Format.HF and formats.step_of(place) != step:
    raise errors.UsageError(
      f"{place} names another step than the checkpoint's, {step}. Give its "
      "parent folder, or set --step."
    )
  with formats.access_told(place):
    if place.exists():
      raise errors.UsageError(
        f"{place} is there already. Move it away, or choose another folder."
      )
    for name in ("run.json", "config.json"):
      if (place.parent / name).exists():
        raise errors.UsageError(
          f"{place.parent} holds {name}, so it is a run's folder or a Hugging "
          "Face model's, which another checkpoint would mix up. Choose a "
          "folder of its own."
        )
  return place


def _read(
  found: Found,
  stored: Mapping[str, Any],
  options: Options,
  progress: Progress | None,
) -> Tree:
  """All that is wanted of the source, as numpy arrays."""
  device = jax.sharding.SingleDeviceSharding(jax.devices("cpu")[0])

  def placed(tree: Any, dtype: str | None = None) -> Any:
    return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(
        leaf.shape, dtype or leaf.dtype, sharding=device
      ),
      tree,
    )

  wanted = {"target": placed(stored["target"], options.dtype)}
  if "state" in stored and not options.params_only:
    wanted["state"] = placed(stored["state"])
  return jax.tree.map(np.asarray, formats.restore(found, wanted, progress))


def _complete(tree: Tree, step: int, options: Options) -> Tree:
  """The state with its step and, if none was stored, a fresh optimizer's."""
  state = {**tree.get("state", {}), "step": np.int32(step)}
  if "param_states" not in state and not options.params_only:
    params = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, np.float32), tree["target"]
    )
    fresh = jax.tree.map(
      lambda leaf: np.zeros(leaf.shape, leaf.dtype),
      TrainState(
        jax.ShapeDtypeStruct((), np.int32),
        params,
        jax.eval_shape(optimizer.adafactor(0.0).init, params),
      ),
      is_leaf=lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct),
    )
    unused = np.zeros((1,), np.float32)
    moments = train_state.to_t5x(fresh, unused)["state"]["param_states"]
    state["param_states"] = moments
  return {"target": tree["target"], "state": state}


def _write(
  place: epath.Path,
  tree: Tree,
  config: T5Config,
  to: Format,
  progress: Progress | None,
) -> None:
  if to is Format.T5X_LEGACY:
    # Nothing can be renamed on gs://; there, the index that is written last
    # makes the folder a checkpoint.
    remote = "://" in str(place)
    scratch = place
    if not remote:
      scratch = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
      legacy.write(scratch, tree, progress)
      if not remote:
        scratch.rename(place)
    finally:
      if not remote and scratch.exists():
        scratch.rmtree()
    return
  items: dict[str, Any] = {"state": ocp.args.PyTreeSave(tree)}
  if to is Format.T5CR:
    items["config"] = ocp.args.JsonSave(saving.record(tree, config))
  if progress:
    progress("write", 0, None, "arrays")
  # Orbax writes under a temporary name and renames.
  with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
    checkpointer.save(place, args=ocp.args.Composite(**items))
