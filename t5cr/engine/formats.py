"""The checkpoint formats that the engine reads, and which one a path holds.

| format | a folder with |
|---|---|
| `t5cr` | `state/` and `config/`: what this engine writes |
| `t5x` | `state/`: what t5x writes with Orbax |
| `t5x_legacy` | a file `checkpoint`: t5x's older format, T5's published ones |
| `hf` | `config.json` and weights: Hugging Face's |

All are read as t5x's state tree (`train_state`), by the shapes and shardings
that are asked for; Hugging Face folders hold parameters only.
"""

import contextlib
import dataclasses
import enum
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from t5cr import errors, nested
from t5cr.engine import huggingface, legacy, partitioning, train_state
from t5cr.engine.config import T5Config
from t5cr.engine.train_state import Tree
from t5cr.progress import Progress

PREFIX = "checkpoint"

# Arrays that are read between two reports of progress.
_AT_ONCE = 32


class Format(enum.StrEnum):
  """The names that the command line uses."""

  T5CR = "t5cr"
  T5X = "t5x"
  T5X_LEGACY = "t5x_legacy"
  HF = "hf"


@dataclasses.dataclass(frozen=True)
class Found:
  """A checkpoint; what it tells of itself is read once.

  Attributes:
    path: its own folder.
    format: what is in it.
    step: from the name of the folder, else as stored; 0 for Hugging Face's.
  """

  path: epath.Path
  format: Format
  step: int

  @property
  def run(self) -> epath.Path:
    """The run folder around it, or itself where it stands alone."""
    return self.path if step_of(self.path) is None else self.path.parent

  @functools.cached_property
  def config(self) -> T5Config:
    """The shape of the model.

    t5x's formats do not record it, so it is read off the parameters.
    """
    return _read_config(self)

  @functools.cached_property
  def record(self) -> dict[str, Any]:
    """What this engine wrote beside the arrays; {} in other formats."""
    return _read_record(self) if self.format is Format.T5CR else {}

  @functools.cached_property
  def metadata(self) -> Tree:
    """Shapes and dtypes of all that is stored, as `jax.ShapeDtypeStruct`."""
    return _read_metadata(self)


def absolute(path: str | os.PathLike) -> epath.Path:
  """Orbax takes no relative paths."""
  if not str(path):
    raise errors.UsageError(
      "An empty path was given where a folder is wanted. Name the folder; the "
      "working directory is '.'."
    )
  remote = "://" in str(path)
  if not remote:
    errors.check_folder("The path", os.path.abspath(path))
  return epath.Path(path if remote else os.path.abspath(path))


def step_of(path: str | os.PathLike) -> int | None:
  """The step in a folder name `checkpoint_<step>`, None for other names."""
  prefix, _, step = epath.Path(path).name.rpartition("_")
  return int(step) if prefix == PREFIX and step.isdigit() else None


def identify(path: epath.Path) -> Format | None:
  """The format of a checkpoint's own folder, None if it is not one."""
  if (path / "state").is_dir():
    if not _is_finished(path):
      return None
    return Format.T5CR if (path / "config").is_dir() else Format.T5X
  if legacy.is_checkpoint(path):
    return Format.T5X_LEGACY
  return Format.HF if huggingface.is_folder(path) else None


def steps(model_dir: str | os.PathLike) -> list[int]:
  """Steps of the finished checkpoints of a run folder, in order."""
  return sorted(_checkpoints(absolute(model_dir)))


def starting(folder: epath.Path, beginning: str) -> list[epath.Path]:
  """What a folder holds whose names begin so, in order.

  epath's `glob` takes the folder's own name for a pattern too.
  """
  found = folder.iterdir() if folder.is_dir() else ()
  return sorted(path for path in found if path.name.startswith(beginning))


def folders(model_dir: str | os.PathLike) -> list[int]:
  """Steps that a run folder has a checkpoint folder of, damaged or not."""
  directory = absolute(model_dir)
  return sorted(
    step
    for path in (directory.iterdir() if directory.is_dir() else ())
    if (step := step_of(path)) is not None and _is_finished(path)
  )


def _is_finished(path: epath.Path) -> bool:
  """Where nothing can be renamed (gs://), a save that was cut short stays."""
  return "://" not in str(path) or ocp.utils.is_checkpoint_finalized(path)


def _checkpoints(directory: epath.Path) -> dict[int, Format]:
  """The finished checkpoints of a run folder, by their step."""
  return {
    step: kind
    for step in folders(directory)
    if (kind := identify(directory / f"{PREFIX}_{step}"))
  }


def find(path: str | os.PathLike | Found) -> Found:
  """Finds the checkpoint that a path means.

  Args:
    path: a checkpoint's own folder, of any format, or a run folder, whose
      latest checkpoint is meant; or one that was found, which is returned.

  Returns:
    The checkpoint.

  Raises:
    UsageError: there is none there.
  """
  if isinstance(path, Found):
    return path
  given = absolute(path)
  with access_told(given):
    return _find(given)


def _find(given: epath.Path) -> Found:
  known = identify(given) if given.is_dir() else None
  if known:
    step = step_of(given)
    found = Found(given, known, step or 0)
    if step is None and known is not Format.HF:
      found = dataclasses.replace(found, step=_stored_step(found))
    return found
  # A folder of checkpoints, or the place where one should be.
  run = given if step_of(given) is None else given.parent
  beside = _checkpoints(run)
  if beside and run == given:
    latest = max(beside)
    return Found(given / f"{PREFIX}_{latest}", beside[latest], latest)
  if not given.exists():
    reason = "it does not exist"
  elif run == given:
    reason = f"no finished {PREFIX}_<step> folder is in it"
  else:
    reason = "it is not finished, or of no format that is known"
  listed = f" Checkpoints in {run}: {sorted(beside)}." if beside else ""
  raise errors.UsageError(
    f"No checkpoint at {given}: {reason}. Give a run folder, one of its "
    f"{PREFIX}_<step> folders (written here or by t5x: `state` or `checkpoint` "
    f"is in it), or a Hugging Face folder (config.json).{listed}"
  )


@contextlib.contextmanager
def access_told(path: epath.Path) -> Iterator[None]:
  """Names the path where a remote place cannot be reached."""
  try:
    yield
  except errors.UsageError:
    raise
  # Each library that reads gs:// has errors of its own.
  except Exception as error:
    if "://" not in str(path):
      raise
    reason = (str(error).splitlines() or [repr(error)])[0]
    raise errors.UsageError(
      f"{path} cannot be reached ({reason}). Check the address, the connection "
      "and your credentials; gs:// is read with TensorFlow or, without it, "
      "gcsfs."
    ) from error


def _stored_step(found: Found) -> int:
  """The step in the state of a folder whose name has none."""
  stored = found.metadata.get("state", {}).get("step")
  if stored is None:
    return 0
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  wanted = jax.ShapeDtypeStruct(stored.shape, np.int32, sharding=device)
  return int(restore(found, {"state": {"step": wanted}})["state"]["step"])


def _read_config(found: Found) -> T5Config:
  if found.format is Format.HF:
    return huggingface.read_config(found.path)
  if found.format is Format.T5CR:
    try:
      return T5Config(**found.record["model"])
    except (KeyError, TypeError, ValueError) as error:
      raise _unreadable_record(found, error) from error
  return train_state.config_of(found.metadata["target"])


def _digest(record: Mapping[str, Any]) -> str:
  return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
  """A record of JSON values, with the digest that tells if it is damaged."""
  return {**record, "sha256": _digest(record)}


def _read_record(found: Found) -> dict[str, Any]:
  try:
    path = found.path / "config" / "metadata"
    record = nested.load_object(path.read_text())
    digest = record.pop("sha256", None)
    if digest is not None and digest != _digest(record):
      raise ValueError("its sha256 differs")
  except (OSError, ValueError, AttributeError) as error:
    raise _unreadable_record(found, error) from error
  return record


def _unreadable_record(found: Found, error: Exception) -> errors.UsageError:
  return errors.UsageError(
    f"{found.path / 'config' / 'metadata'} does not say the shape of the model "
    f"({error!r}). Copy the checkpoint again, or remove the folder config: the "
    "shape is then read off the parameters."
  )


def _read_metadata(found: Found) -> Tree:
  if found.format is Format.HF:
    return {"target": huggingface.read_metadata(found.path)}
  if found.format is Format.T5X_LEGACY:
    return legacy.metadata(found.path)
  with damage_told(found):
    stored: Any = ocp.PyTreeCheckpointHandler().metadata(found.path / "state")
    leaves = {}
    for name, leaf in train_state.flat(stored.tree).items():
      leaves[name] = jax.ShapeDtypeStruct(tuple(leaf.shape), leaf.dtype)
      storage = getattr(leaf, "storage", None)
      legacy.check_chunks(name, leaf.shape, storage and storage.chunk_shape)
    train_state.flat(train_state.nested(leaves)["target"])
  return train_state.nested(leaves)


def restore(
  found: Found, wanted: Mapping[str, Any], progress: Progress | None = None
) -> Tree:
  """Reads a part of a checkpoint's state.

  Args:
    found: the checkpoint.
    wanted: part of the tree of `found.metadata`, as `jax.ShapeDtypeStruct` with
      sharding and the dtype to read as.
    progress: called with (stage, done, total, unit).

  Returns:
    The same tree of `jax.Array`.

  Raises:
    UsageError: a file is missing or damaged.
  """
  if found.format is Format.HF:
    params = huggingface.read_params(found.path, progress)
    placed = jax.tree.map(
      lambda value, leaf: partitioning.place(
        value.astype(leaf.dtype), leaf.sharding
      ),
      params,
      wanted["target"],
    )
    return {"target": placed}
  if found.format is Format.T5X_LEGACY:
    return legacy.restore(found.path, wanted, progress)
  if progress is None:
    return _restore_state(found, wanted)
  leaves = list(train_state.flat(wanted).items())
  restored: dict[str, Any] = {}
  for start in range(0, len(leaves), _AT_ONCE):
    part = dict(leaves[start : start + _AT_ONCE])
    tree = _restore_state(found, train_state.nested(part))
    restored |= train_state.flat(tree)
    progress("read", len(restored), len(leaves), "arrays")
  return train_state.nested(restored)


def _restore_state(found: Found, wanted: Mapping[str, Any]) -> Tree:
  with damage_told(found):
    return ocp.PyTreeCheckpointHandler().restore(
      found.path / "state",
      args=ocp.args.PyTreeRestore(
        item=wanted,
        restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
        partial_restore=True,
      ),
    )


# What passes without a change of the files.
_PASSING = re.compile(
  r"unavailable|deadline.exceeded|unauthenticated|permission.denied|"
  r"resource.exhausted|too many open files|stale file|timed out",
  re.IGNORECASE,
)


def check_lasting(path: epath.Path, error: BaseException | None) -> None:
  """Raises UsageError where an error tells of the machine, not of the files.

  Args:
    path: what was read.
    error: what reading it raised.
  """
  while error is not None:
    if isinstance(error, MemoryError) or _PASSING.search(str(error)):
      raise errors.UsageError(
        f"{path} cannot be read at present ({error!r}). Nothing was changed: "
        "mend the cause and start again."
      ) from error
    error = error.__cause__ or error.__context__


@contextlib.contextmanager
def damage_told(found: Found) -> Iterator[None]:
  """Turns what Orbax and TensorStore raise into a UsageError."""
  try:
    yield
  except errors.UsageError:
    raise
  # Orbax raises plain exceptions around those of its libraries.
  except Exception as error:
    message = str(error.__cause__ or error).partition(" [tensorstore_spec")[0]
    reason = (message.splitlines() or [repr(error)])[0]
    raise errors.UsageError(
      f"{found.path / 'state'} cannot be read ({reason}). If it is damaged, "
      "copy the checkpoint again or use another."
    ) from error
