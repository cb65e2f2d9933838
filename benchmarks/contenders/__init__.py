"""One model in three hands: this engine's, upstream t5x's, transformers'.

All get the same weights, drawn here, and the same tokens. t5x and transformers
take part where they can be imported. `Contenders` says which do, and why the
others do not.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from t5cr.engine.config import T5Config

if TYPE_CHECKING:
  from benchmarks.contenders.engine import Engine

# TensorFlow, which t5x imports, would tell of its start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

T5_SMALL = T5Config(
  vocab_size=32128,
  emb_dim=512,
  num_heads=8,
  num_encoder_layers=6,
  num_decoder_layers=6,
  head_dim=64,
  mlp_dim=2048,
  dropout_rate=0.0,
)
T5_BASE = dataclasses.replace(
  T5_SMALL,
  emb_dim=768,
  num_heads=12,
  num_encoder_layers=12,
  num_decoder_layers=12,
  mlp_dim=3072,
)
# For tests; large enough that all factor Adafactor's moments alike.
TINY = dataclasses.replace(
  T5_SMALL,
  vocab_size=2048,
  emb_dim=128,
  num_heads=2,
  num_encoder_layers=1,
  num_decoder_layers=1,
  mlp_dim=128,
)
SHAPES = {"small": T5_SMALL, "base": T5_BASE, "tiny": TINY}

# Peer -> (its module here, its class, how to get it).
PEERS = {
  "t5x": (
    "benchmarks.contenders.upstream",
    "Upstream",
    "install it from https://github.com/google-research/t5x, or put a checkout "
    "on PYTHONPATH",
  ),
  "transformers": (
    "benchmarks.contenders.hugging_face",
    "HuggingFace",
    "pip install '.[hf]'",
  ),
}


@dataclasses.dataclass(frozen=True)
class Contenders:
  """Those that take part.

  Attributes:
    engine: this engine.
    peers: name -> contender.
    absent: name -> why it takes no part, and how to get it.
  """

  engine: Engine
  peers: dict[str, Any]
  absent: dict[str, str]


def absent(only: Sequence[str] | None = None) -> dict[str, str]:
  """Peer -> why it takes no part, and how to get it.

  Args:
    only: the peers that are wanted; None for all.
  """
  found = {}
  for name, (module, _, remedy) in PEERS.items():
    if only is not None and name not in only:
      found[name] = "not asked for"
      continue
    try:
      importlib.import_module(module)
    except ImportError as error:
      # Also what is installed without something that it imports.
      found[name] = f"cannot be imported ({error}); {remedy}"
  return found


def make(
  config: T5Config, params: Any, only: Sequence[str] | None = None
) -> Contenders:
  """Hands the weights to all that take part.

  Args:
    config: of the model.
    params: t5x's tree.
    only: the peers that are wanted; None for all.
  """
  from benchmarks.contenders import engine

  missing = absent(only)
  peers = {}
  for name, (module, class_name, _) in PEERS.items():
    if name not in missing:
      kind = getattr(importlib.import_module(module), class_name)
      peers[name] = kind(config, params)
  return Contenders(engine.Engine(config, params), peers, missing)
