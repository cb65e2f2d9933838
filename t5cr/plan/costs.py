"""FLOPs, bytes and communication of a compiled step, loops counted in full.

XLA's own cost analysis counts the body of a loop once, however often it runs.
Here each body is analysed as a program of its own, and its cost is added for
the other times. A body's operands and results count as bytes accessed, where
the compiler of a TPU may know better for the whole program.
"""

import importlib
import re
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jax

from t5cr.plan import hlo

_COSTS = {"flops": "flops", "bytes": "bytes accessed"}


def weighed(
  compiled: jax.stages.Compiled, program: hlo.Program
) -> dict[str, float]:
  """`flops` and `bytes` of one step on one device.

  Args:
    compiled: the step.
    program: its text.

  Returns:
    FLOPs, and bytes that its operations read and write: XLA's figures, with
    loops counted as often as they run.
  """
  once: Any = compiled.cost_analysis()
  if isinstance(once, list):  # in older versions of JAX
    once = once[0]
  extra = _extra(program, program.entry)
  return {name: float(once[key]) + extra[name] for name, key in _COSTS.items()}


def _extra(program: hlo.Program, name: str) -> dict[str, float]:
  """What XLA leaves out of the costs of a computation."""
  extra = dict.fromkeys(_COSTS, 0.0)
  for called in program.calls(name):
    for key, value in _extra(program, called).items():
      extra[key] += value
  for loop in program.loops(name):
    inner = _extra(program, loop.body)
    more = (loop.trips or 1) - 1
    once = _analyse(program, loop.body) if more else {}
    for key in _COSTS:
      extra[key] += more * once.get(key, 0) + (more + 1) * inner[key]
  return extra


def _analyse(program: hlo.Program, name: str) -> dict[str, float]:
  """XLA's costs of a computation as if it were the whole program."""
  inside: set[str] = set()
  _collect(program, name, inside)
  texts = [program.texts[n] for n in program.computations if n in inside]
  texts.append("ENTRY " + program.texts[name].removeprefix("ENTRY "))
  text = "\n\n".join(["HloModule loop_body", *texts])
  # It points into a table that only the whole program has.
  text = re.sub(r" stack_frame_id=\d+", "", text)
  module = _xla("hlo_module_from_text")(text)
  client = jax.devices("cpu")[0].client
  costs = _xla("hlo_module_cost_analysis")(client, module)
  return {key: float(costs.get(name, 0)) for key, name in _COSTS.items()}


def _collect(program: hlo.Program, name: str, inside: set[str]) -> None:
  """Adds all that a computation refers to, but not itself."""
  for other in program.references(name):
    if other not in inside:
      _collect(program, other, inside)
      inside.add(other)


def _xla(name: str) -> Any:
  """A function of jaxlib, which has no public way to analyse a text."""
  for module in ("jaxlib._hlo", "jaxlib._jax", "jaxlib.xla_extension"):
    try:
      return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
      continue
  raise RuntimeError(
    f"jaxlib {metadata.version('jaxlib')} has no {name}, which "
    "counts the cost of loops."
  )


def communication(
  program: hlo.Program, places: Sequence[tuple[int, ...]]
) -> dict[str, dict[str, float]]:
  """What is communicated in a step, by kind.

  Args:
    program: the step.
    places: of each device in the mesh's order, the chip that it is on.

  Returns:
    Kind of collective -> `count` of those that run in a step; `bytes` of their
    operands on a device; `sent`, the bytes that a device sends to other chips
    when the collective is done in rings, which no way undercuts.
  """
  kinds: dict[str, dict[str, float]] = {}
  for collective in program.collectives():
    kind = kinds.setdefault(
      collective.kind, {"count": 0, "bytes": 0, "sent": 0.0}
    )
    kind["count"] += collective.times
    kind["bytes"] += collective.times * collective.bytes
    kind["sent"] += collective.times * sent(collective, places)
  return dict(sorted(kinds.items()))


def sent(
  collective: hlo.Collective, places: Sequence[tuple[int, ...]]
) -> float:
  """Bytes that a device sends to other chips for one collective.

  Devices on one chip do their part of a sum or a gathering there and share what
  leaves the chip.
  """
  groups = collective.groups or (tuple(range(len(places))),)
  size = collective.bytes
  if collective.kind == "collective-permute":
    leaves = any(places[a] != places[b] for a, b in groups)
    return float(size) if leaves else 0.0
  most = 0.0
  for group in groups:
    chips = len({places[device] for device in group})
    on_chip = len(group) / chips
    most = max(
      most,
      {
        "all-reduce": 2 * (chips - 1) / chips * size / on_chip,
        "all-gather": (chips - 1) * size,
        "reduce-scatter": (chips - 1) / chips * size / on_chip,
        "all-to-all": (chips - 1) / chips * size,
        "ragged-all-to-all": (chips - 1) / chips * size,
        "collective-broadcast": size / on_chip if chips > 1 else 0.0,
      }[collective.kind],
    )
  return most
