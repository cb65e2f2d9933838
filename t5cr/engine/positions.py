"""The position of the training data, beside the arrays of a checkpoint."""

import dataclasses
import hashlib
import json
from typing import Any, Protocol

import orbax.checkpoint as ocp
from etils import epath

from t5cr import errors
from t5cr.engine import formats, processes
from t5cr.engine.formats import Found


class Positioned(Protocol):
  """An iterator whose position can be written to and read from files."""

  def save(self, filename: epath.Path) -> None:
    """Writes the position after the last batch that was handed out."""

  def restore(self, filename: epath.Path) -> None:
    """Goes on from the position that `save` wrote."""


# All processes read the same batches, so there is one position.
_FILE = "process_0-of-1"
_SUMS = "sha256.json"


class _Handler(ocp.CheckpointHandler):
  """Lets Orbax write an iterator's position beside the arrays.

  It is not an asynchronous handler on purpose: the position has to be written
  before training takes the next batch.
  """

  def save(self, directory: epath.Path, args: "Save") -> None:
    if processes.is_first():
      folder = epath.Path(directory)
      args.iterator.save(folder / _FILE)
      sums = json.dumps(_sha256(folder))
      (folder / _SUMS).write_text(sums)

  def restore(self, directory: epath.Path, args: Any) -> None:
    raise NotImplementedError("`restore` reads it, without barriers")


@ocp.args.register_with_handler(_Handler, for_save=True, for_restore=True)
@dataclasses.dataclass
class Save(ocp.args.CheckpointArgs):
  """What `saving` gives Orbax to write a position; it reads none."""

  iterator: Positioned


def _sha256(folder: epath.Path) -> dict[str, str]:
  """The sha256 of a position's files."""
  return {
    path.name: hashlib.sha256(path.read_bytes()).hexdigest()
    for path in formats.starting(folder, _FILE)
  }


def _is_there(found: Found) -> bool:
  """Whether one was saved: a checkpoint before any data was read has none."""
  folder = found.path / "dataset"
  return found.record.get("has_position", folder.exists())


def problem(found: Found) -> str | None:
  """What is wrong with the position of the training data, if anything."""
  if not _is_there(found):
    return None
  folder = found.path / "dataset"
  try:
    there = _sha256(folder)
    known = folder / _SUMS
    # Checkpoints of older versions have no sums.
    intact = json.loads(known.read_text()) == there if known.exists() else there
  except (OSError, ValueError) as error:
    return f"the position of the training data cannot be read ({error})"
  return None if intact else "the position of the training data is damaged"


def restore(found: Found, iterator: Positioned) -> None:
  """Puts training data where it was when a checkpoint was written.

  Args:
    found: a checkpoint of the run.
    iterator: left at its start where the checkpoint was written before any data
      was read.

  Raises:
    UsageError: the position is missing or damaged.
  """
  reason = problem(found)
  if reason:
    raise errors.UsageError(
      f"{found.path / 'dataset'}: {reason}. Copy the checkpoint again, or "
      "start anew from it with INITIAL_CHECKPOINT_PATH and another MODEL_DIR."
    )
  if _is_there(found):
    iterator.restore(found.path / "dataset" / _FILE)
