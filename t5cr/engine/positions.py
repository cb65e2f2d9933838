"""The position of the training data, beside the arrays of a checkpoint."""

import dataclasses
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


class _Handler(ocp.CheckpointHandler):
  """Lets Orbax write an iterator's position beside the arrays.

  It is not an asynchronous handler on purpose: the position has to be written
  before training takes the next batch.
  """

  def save(self, directory: epath.Path, args: "Save") -> None:
    if processes.is_first():
      args.iterator.save(epath.Path(directory) / _FILE)

  def restore(self, directory: epath.Path, args: Any) -> None:
    raise NotImplementedError("`restore` reads it, without barriers")


@ocp.args.register_with_handler(_Handler, for_save=True, for_restore=True)
@dataclasses.dataclass
class Save(ocp.args.CheckpointArgs):
  """What `saving` gives Orbax to write a position; it reads none."""

  iterator: Positioned


def _is_there(found: Found) -> bool:
  """Whether one was saved: a checkpoint before any data was read has none."""
  folder = found.path / "dataset"
  return found.record.get("has_position", folder.exists())


def problem(found: Found) -> str | None:
  """Says so if the position of the training data is missing."""
  if _is_there(found) and not formats.starting(found.path / "dataset", _FILE):
    return "the position of the training data is missing"
  return None


def restore(found: Found, iterator: Positioned) -> None:
  """Puts training data where it was when a checkpoint was written.

  Args:
    found: a checkpoint of the run.
    iterator: left at its start where the checkpoint was written before any data
      was read.

  Raises:
    UsageError: the position is missing.
  """
  reason = problem(found)
  if reason:
    raise errors.UsageError(
      f"{found.path / 'dataset'}: {reason}. Copy the checkpoint again, or "
      "start anew from it with INITIAL_CHECKPOINT_PATH and another MODEL_DIR."
    )
  if _is_there(found):
    iterator.restore(found.path / "dataset" / _FILE)
