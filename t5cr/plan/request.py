"""What is asked of a process that compiles: one run, one topology, one mesh."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from t5cr.engine.config import T5Config
from t5cr.engine.partitioning import MeshConfig
from t5cr.engine.train import TrainConfig


@dataclasses.dataclass(frozen=True)
class Request:
  """A train step to compile.

  Attributes:
    topology: such as `v5e:4x4`, `cpu:8` or `gpu`.
    mesh: how its devices are arranged; None asks for the devices only.
    model: shape of the model.
    config: how it is trained.
    batch_size: rows over all devices.
    lengths: tokens of a row, `{"inputs": …, "targets": …}`.
    pack: several examples in a row.
  """

  topology: str
  mesh: MeshConfig | None
  model: T5Config
  config: TrainConfig
  batch_size: int
  lengths: Mapping[str, int]
  pack: bool

  def to_json(self) -> str:
    """For another process."""
    return json.dumps(dataclasses.asdict(self))

  @classmethod
  def from_json(cls, text: str) -> "Request":
    """Reads what `to_json` wrote."""
    values: dict[str, Any] = json.loads(text)
    return cls(
      **{
        **values,
        "mesh": values["mesh"] and MeshConfig(**values["mesh"]),
        "model": T5Config(**values["model"]),
        "config": TrainConfig(**values["config"]),
      }
    )
