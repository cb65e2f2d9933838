"""Peak rates of TPU chips, and how a topology connects them.

Sources, per chip:

- FLOP/s in bfloat16, memory and its bandwidth: "Cloud TPU v3", "v4", "v5e",
  "v5p", "v6e" in https://cloud.google.com/tpu/docs.
- A link of the interconnect, one way: v5e, v5p and v6e, the same pages'
  bidirectional bandwidth of a chip over twice its links; v3 and v4, their
  all-reduce bandwidth of a pod (340 TB/s, 1.1 PB/s) over its chips and links.
- Where a dimension closes to a ring: the same pages, and "How to Scale Your
  Model" (https://jax-ml.github.io/scaling-book/tpus).
"""

import collections
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from t5cr import errors

GIB = 2**30
GB = 10**9


@dataclasses.dataclass(frozen=True)
class Rates:
  """What a chip can do at best; None where it is not known.

  Attributes:
    flops: floating-point operations a second, bfloat16.
    hbm_bandwidth: bytes a second from and to its memory.
    ici_bandwidth: bytes a second that a chip sends to other chips, over all
      its links together.
    memory: bytes.
  """

  flops: float | None = None
  hbm_bandwidth: float | None = None
  ici_bandwidth: float | None = None
  memory: float | None = None


@dataclasses.dataclass(frozen=True)
class Chip:
  """A generation of TPU.

  Attributes:
    flops: see `Rates`.
    hbm_bandwidth: see `Rates`.
    memory: see `Rates`.
    link: bytes a second over one link, one way.
    dimensions: of its topologies.
    ring: a dimension of a multiple of this size closes to a ring.
  """

  flops: float
  hbm_bandwidth: float
  memory: int
  link: float
  dimensions: int
  ring: int


CHIPS = {
  "v3": Chip(123e12, 900e9, 32 * GIB, 83e9, 2, 32),
  "v4": Chip(275e12, 1200e9, 32 * GIB, 45e9, 3, 4),
  "v5e": Chip(197e12, 819e9, 16 * GIB, 50e9, 2, 16),
  "v5p": Chip(459e12, 2765e9, 95 * GIB, 100e9, 3, 4),
  "v6e": Chip(918e12, 1638e9, 32 * GIB, 100e9, 2, 16),
}

EXAMPLES = (
  "Topologies are v5e:4x4 and v6e:16x16 (two dimensions, up to 16x16), "
  "v4:2x2x1 and v5p:4x4x8 (three), v3:4x4, cpu:8 (so many devices of this "
  "machine's processor) and gpu (this machine's)."
)
_TPU = re.compile(r"v\d+[a-z]*:[1-9]\d*(x[1-9]\d*)+")
_OTHER = re.compile(r"(cpu:[1-9]\d*|gpu(:[1-9]\d*)?)")


def check_topology(topology: str) -> None:
  """Raises UsageError unless a topology's name has a form that is known."""
  if not _TPU.fullmatch(topology) and not _OTHER.fullmatch(topology):
    raise errors.UsageError(f"--topology {topology} is none. {EXAMPLES}")
  family, _, layout = topology.partition(":")
  chip = CHIPS.get(family)
  given = layout.count("x") + 1
  flat = chip and chip.dimensions == 2 and layout.endswith("x1")
  if chip and given != chip.dimensions and not (flat and given == 3):
    raise errors.UsageError(
      f"--topology {topology}: {family} has {chip.dimensions} dimensions. "
      f"{EXAMPLES}"
    )


def is_tpu(topology: str) -> bool:
  """Whether a topology is one of TPUs."""
  return _TPU.fullmatch(topology) is not None


def rates(topology: str) -> Rates:
  """What a chip of a topology can do at best.

  Not every link of a chip is used: a slice that is no ring has fewer at its
  edges. The interconnect's rate is that of a chip on average.
  """
  family, _, layout = topology.partition(":")
  chip = CHIPS.get(family)
  if chip is None:
    return Rates()
  sizes = [int(size) for size in layout.split("x")]
  links = sum(_links(size, chip.ring) for size in sizes)
  return Rates(chip.flops, chip.hbm_bandwidth, links * chip.link, chip.memory)


def _links(size: int, ring: int) -> float:
  """Neighbours of a chip along a dimension, on average."""
  return 2.0 if size % ring == 0 and size > 2 else 2 * (size - 1) / size


def place(device: Any) -> tuple[int, ...]:
  """Which chip a device is on; the cores of a chip share its links."""
  coords = getattr(device, "coords", None)
  if coords is None:
    return (device.id,)
  return (*coords, getattr(device, "slice_index", 0) or 0)


def devices_per_chip(devices: Sequence[Any]) -> int:
  """How many of JAX's devices are one chip: 2 on v3 and v4, where it is 1."""
  return max(collections.Counter(map(place, devices)).values())
