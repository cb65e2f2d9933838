"""Where training goes on: the newest checkpoint that is whole, or the start."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax

from t5cr.engine import checkpoints, formats, processes
from t5cr.engine.config import T5Config
from t5cr.engine.formats import Found
from t5cr.engine.train_state import TrainState


@dataclasses.dataclass(frozen=True)
class Start:
  """Where a run starts from.

  Attributes:
    model_dir: the run folder; its newest whole checkpoint comes first.
    initial_checkpoint: where a run without checkpoints starts from (its
      parameters, optimizer state and step); None starts from noise.
    shapes: of the state.
    model_config: the model's shape.
    mesh: where to place the state.
    fresh: makes a state from noise.
    note: is told of checkpoints that are damaged.
  """

  model_dir: str | os.PathLike
  initial_checkpoint: str | os.PathLike | None
  shapes: TrainState
  model_config: T5Config
  mesh: jax.sharding.Mesh
  fresh: Callable[[], TrainState]
  note: Callable[[dict[str, Any]], None]

  def state(self) -> tuple[TrainState, Found | None]:
    """The state to go on from.

    Returns:
      (the state, the run's checkpoint that it is of, None at the start).

    Raises:
      UsageError: no checkpoint of the run is whole, or it does not fit.
    """
    known = formats.folders(self.model_dir)
    processes.agree(
      f"The list of checkpoints in {self.model_dir}",
      known,
      "It has to be one folder for all processes.",
    )
    if known:
      found, damaged = checkpoints.newest_good(self.model_dir)
      for step, reason in damaged.items():
        self.note(
          {
            "event": "damaged_checkpoint",
            "step": step,
            "reason": reason,
            "goes_on_from": found.step,
          }
        )
      return self._restored(found), found
    if self.initial_checkpoint:
      return self._restored(self.initial_checkpoint), None
    return self.fresh(), None

  def _restored(self, source: str | os.PathLike | Found) -> TrainState:
    return checkpoints.restore_state(
      source, self.shapes, self.model_config, self.mesh
    )
