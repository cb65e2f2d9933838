"""Compiles a train step for devices that need not be there.

`python -m t5cr.plan.compiling` reads a `Request` on standard input and prints
what the compiler says as one JSON line. It is a process of its own, because
JAX's platforms are chosen once in a process, and the TPU compiler may end it.
"""

import json
import math
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5cr import errors
from t5cr.engine import partitioning
from t5cr.engine import train as training
from t5cr.plan import chips, costs, hlo
from t5cr.plan.request import Request

# What a compiler says of a program that does not fit: needed, then there.
_TOO_LARGE = re.compile(
  r"(?:Used |required for [\w ]+ \()([\d.]+)([KMGT]?)\)? "
  r"(?:of|exceeds available HBM) \(?([\d.]+)([KMGT]?)"
)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def devices(topology: str) -> list[Any]:
  """The devices of a topology.

  Raises:
    UsageError: there is none of this name.
  """
  family, _, layout = topology.partition(":")
  if family == "cpu":
    jax.config.update("jax_num_cpu_devices", int(layout or 1))
    return jax.devices("cpu")
  if family == "gpu":
    try:
      there = jax.devices("gpu")
    except RuntimeError as error:
      raise errors.UsageError(
        f"--topology {topology}: JAX sees no GPU on this machine. Install "
        f"'t5cr[gpu]' where there is one. {chips.EXAMPLES}"
      ) from error
    if len(there) < int(layout or 1):
      raise errors.UsageError(
        f"--topology {topology}: this machine has {len(there)} of them."
      )
    return there[: int(layout)] if layout else there
  from jax.experimental import topologies

  bounds = [min(int(n), 2) for n in layout.split("x")[:2]]
  try:
    return topologies.get_topology_desc(
      platform="tpu",
      topology_name=topology,
      chips_per_host_bounds=[*bounds, 1],
    ).devices
  except (RuntimeError, ValueError) as error:
    raise errors.UsageError(
      f"--topology {topology}: libtpu does not know it "
      f"({str(error).partition(chr(10))[0]}). {chips.EXAMPLES}"
    ) from error


def make_mesh(
  config: partitioning.MeshConfig, found: list[Any]
) -> jax.sharding.Mesh:
  """The mesh that a run makes of these devices."""
  try:
    return partitioning.make_mesh(config, found)
  except (NotImplementedError, AssertionError):
    # Two cores a chip, which on a real v2 to v4 are arranged the same way.
    sizes = partitioning.mesh_sizes(config, len(found))
    return jax.sharding.Mesh(np.array(found).reshape(sizes), partitioning.AXES)


def batch_shapes(
  rows: int, lengths: Mapping[str, int], *, pack: bool
) -> dict[str, jax.ShapeDtypeStruct]:
  """A batch as the data pipeline makes it: seqio's names, int32."""
  names = {
    "encoder_input_tokens": "inputs",
    "decoder_input_tokens": "targets",
    "decoder_target_tokens": "targets",
    "decoder_loss_weights": "targets",
  }
  if pack:
    names |= {
      "encoder_segment_ids": "inputs",
      "encoder_positions": "inputs",
      "decoder_segment_ids": "targets",
      "decoder_positions": "targets",
    }
  return {
    name: jax.ShapeDtypeStruct((rows, lengths[side]), jnp.int32)
    for name, side in names.items()
  }


def lower(request: Request, mesh: jax.sharding.Mesh) -> jax.stages.Lowered:
  """Traces the train step of a run for a mesh."""

  def placed(shape: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

  shapes = training.state_shapes(request.config, request.model)
  shardings = partitioning.state_shardings(shapes, mesh)
  state = jax.tree.map(placed, shapes, shardings)
  over_batch = partitioning.batch_sharding(mesh)
  batch = {
    name: placed(shape, over_batch)
    for name, shape in batch_shapes(
      request.batch_size, request.lengths, pack=request.pack
    ).items()
  }
  step = training.make_train_step(request.config, request.model, mesh)
  return step.lower(state, batch)  # pyright: ignore[reportFunctionMemberAccess]


def _memory(compiled: jax.stages.Compiled) -> dict[str, int]:
  """Bytes on each device."""
  stats: Any = compiled.memory_analysis()
  sizes = {
    "arguments": stats.argument_size_in_bytes,
    "temporaries": stats.temp_size_in_bytes,
    "output": stats.output_size_in_bytes,
    "aliased": stats.alias_size_in_bytes,
    "program": stats.generated_code_size_in_bytes,
  }
  # Output that reuses an argument's buffer is counted in both.
  peak = sum(sizes.values()) - 2 * sizes["aliased"]
  return sizes | {"peak": peak}


def _limit(device: Any) -> int | None:
  """Bytes that a device which is there can hold, if it says so."""
  if device.platform != "gpu":
    return None
  return (device.memory_stats() or {}).get("bytes_limit")


def _about(request: Request, found: list[Any]) -> dict[str, Any]:
  parameters = training.state_shapes(request.config, request.model).params
  return {
    "devices": len(found),
    "device_kind": found[0].device_kind,
    "devices_per_chip": chips.devices_per_chip(found),
    "device_memory": _limit(found[0]),
    "parameters": sum(math.prod(p.shape) for p in jax.tree.leaves(parameters)),
  }


def refused(error: Exception) -> dict[str, Any]:
  """What a compiler says of a program that does not fit.

  Args:
    error: of the compiler.

  Returns:
    `refused`, its words; `memory` and `compiler_limit` where they have figures.

  Raises:
    Exception: the error, if it is another.
  """
  words = str(error)
  if "RESOURCE_EXHAUSTED" not in words:
    raise error
  answer: dict[str, Any] = {"refused": words.partition("\n")[0]}
  needs = _TOO_LARGE.search(words)
  if needs:
    used, unit, limit, limit_unit = needs.groups()
    answer["memory"] = {"peak": int(float(used) * _UNITS[unit])}
    answer["compiler_limit"] = int(float(limit) * _UNITS[limit_unit])
  return answer


def _compiled(
  request: Request, mesh_config: partitioning.MeshConfig, found: list[Any]
) -> dict[str, Any]:
  mesh = make_mesh(mesh_config, found)
  started = time.perf_counter()
  lowered = lower(request, mesh)
  traced = time.perf_counter()
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    return refused(error)
  done = time.perf_counter()
  program = hlo.Program(compiled.as_text() or "")
  places = [chips.place(device) for device in mesh.devices.flat]
  return {
    "memory": _memory(compiled),
    **costs.weighed(compiled, program),
    "collectives": costs.communication(program, places),
    "unknown_loops": program.unknown_loops,
    "seconds": {"trace": traced - started, "compile": done - traced},
  }


def answer(request: Request) -> dict[str, Any]:
  """What can be said of a request; `{"error": …}` for the user to mend."""
  try:
    found = devices(request.topology)
    if request.mesh is None:
      return _about(request, found)
    return _compiled(request, request.mesh, found)
  except errors.UsageError as error:
    return {"error": str(error)}


def main() -> int:
  """Answers one request."""
  # An executable from a cache cannot be asked for its text.
  jax.config.update("jax_enable_compilation_cache", False)
  request = Request.from_json(sys.stdin.read())
  print(json.dumps(answer(request)), flush=True)
  return 0


if __name__ == "__main__":
  sys.exit(main())
