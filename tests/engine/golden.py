"""Loads t5x's golden numbers (`tests/golden/README.md`)."""

import dataclasses
import json
import pathlib

import numpy as np
from flax import traverse_util

from t5cr.engine.config import T5Config

FOLDER = pathlib.Path(__file__).parents[1] / "golden"
CHANGED = (
  "differs from t5x. The golden numbers are t5x's: they change only when t5x "
  "itself computes something else, not when this engine does."
)


@dataclasses.dataclass(frozen=True)
class Golden:
  """One tiny T5: its config, parameters, settings and t5x's numbers."""

  config: T5Config
  settings: dict
  params: dict
  numbers: dict[str, np.ndarray]

  def group(self, prefix: str) -> dict[str, np.ndarray]:
    """The numbers below `prefix/`, by the rest of their name."""
    start = f"{prefix}/"
    return {
      name[len(start) :]: value
      for name, value in self.numbers.items()
      if name.startswith(start)
    }


def load(name: str) -> Golden:
  """Reads one of the golden folders."""
  settings = json.loads((FOLDER / name / "config.json").read_text())
  config = {"dropout_rate": 0.0, **settings["config"]}
  with np.load(FOLDER / name / "params.npz") as file:
    params = traverse_util.unflatten_dict(dict(file), sep="/")
  with np.load(FOLDER / name / "golden.npz") as file:
    numbers = dict(file)
  return Golden(
    config=T5Config(vocab_size=settings["vocab_size"], **config),
    settings=settings,
    params=params,
    numbers=numbers,
  )


def shallow(name: str) -> Golden:
  """One of them with its first layers only: no golden, but compiled sooner."""
  whole = load(name)
  config = dataclasses.replace(
    whole.config, num_encoder_layers=1, num_decoder_layers=1
  )
  return dataclasses.replace(whole, config=config)
