"""How parameters and batches lie on a mesh of devices.

The mesh has three named axes. A batch is split over `data` and `fsdp`; a
parameter over `fsdp` (its `embed` dimension) and `model` (heads, MLP and
vocabulary). XLA inserts the communication, so one CPU, eight GPUs and a slice
of a TPU pod run the same code.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from t5cr import errors

AXES = ("data", "fsdp", "model")

# Logical axes of a parameter, by the end of its path in t5x's tree.
LOGICAL_AXES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
  (("token_embedder", "embedding"), ("vocab", "embed")),
  (("logits_dense", "kernel"), ("embed", "vocab")),
  (("query", "kernel"), ("embed", "joined_kv")),
  (("key", "kernel"), ("embed", "joined_kv")),
  (("value", "kernel"), ("embed", "joined_kv")),
  (("out", "kernel"), ("joined_kv", "embed")),
  (("wi", "kernel"), ("embed", "mlp")),
  (("wi_0", "kernel"), ("embed", "mlp")),
  (("wi_1", "kernel"), ("embed", "mlp")),
  (("wo", "kernel"), ("mlp", "embed")),
  (("relpos_bias", "rel_embedding"), ("heads", "relpos_buckets")),
  (("scale",), ("embed_norm",)),
)

# Logical axis -> mesh axis; an axis that is not here is replicated.
RULES: Mapping[str, str] = {
  "vocab": "model",
  "joined_kv": "model",
  "heads": "model",
  "mlp": "model",
  "embed": "fsdp",
}


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Sizes of the mesh axes.

  Attributes:
    data: copies of the parameters; -1 takes all devices that are left.
    fsdp: parts into which every parameter's `embed` dimension is split; each
      part also takes its own share of the batch.
    model: parts into which heads, MLP and vocabulary are split.
  """

  data: int = -1
  fsdp: int = 1
  model: int = 1


def mesh_sizes(config: MeshConfig, devices: int) -> list[int]:
  """The sizes of `AXES` for so many devices.

  Raises:
    UsageError: they do not multiply to that number.
  """
  sizes = [config.data, config.fsdp, config.model]
  known = int(np.prod([size for size in sizes if size != -1]))
  fits = all(size > 0 or size == -1 for size in sizes) and known > 0
  if fits and sizes.count(-1) == 1 and devices % known == 0:
    sizes[sizes.index(-1)] = devices // known
  if not fits or -1 in sizes or int(np.prod(sizes)) != devices:
    named = ", ".join(
      f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True)
    )
    raise errors.UsageError(
      f"A mesh of {named} does not fit {devices} device(s): the sizes "
      "must multiply to that number, one of them may be -1. Set MESH_DATA, "
      "MESH_FSDP and MESH_MODEL to fit."
    )
  return sizes


def make_mesh(
  config: MeshConfig = MeshConfig(),  # noqa: B008 (frozen)
  devices: Sequence[Any] | None = None,
) -> Mesh:
  """Arranges devices as a mesh.

  Args:
    config: the sizes; at most one of them -1.
    devices: by default all devices of all processes.

  Returns:
    A mesh with axes `data`, `fsdp` and `model`, size 1 where not used.

  Raises:
    UsageError: the sizes do not multiply to the number of devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  sizes = mesh_sizes(config, len(devices))
  return Mesh(mesh_utils.create_device_mesh(sizes, devices), AXES)


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of what every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The sharding of a batch: its first dimension over `data` and `fsdp`."""
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def batch_parts(mesh: Mesh | None) -> int:
  """Into how many parts `batch_sharding` splits a batch; 1 without a mesh."""
  if mesh is None:
    return 1
  return mesh.shape["data"] * mesh.shape["fsdp"]


def to_host(array: jax.Array) -> np.ndarray:
  """All of an array on the host, also what other processes hold of it."""
  if array.is_fully_addressable:
    return np.asarray(array)
  return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def place(array: Any, sharding: NamedSharding) -> jax.Array:
  """An array on the devices; all processes give the whole of it.

  `jax.device_put` does the same, but compares what the processes give.
  """
  array = np.asarray(array)
  return jax.make_array_from_process_local_data(sharding, array, array.shape)


def put_batch(
  batch: Mapping[str, np.ndarray], mesh: Mesh
) -> dict[str, jax.Array]:
  """Places a batch, of which every device takes its rows.

  Args:
    batch: arrays of [batch, ...], the same in all processes.
    mesh: the mesh.

  Returns:
    The same as global arrays.
  """
  sharding = batch_sharding(mesh)
  return {name: place(array, sharding) for name, array in batch.items()}


def _names(path: Sequence[Any]) -> tuple[str, ...]:
  """A key path of any kind of tree as plain names."""
  return tuple(
    str(
      getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", "")))
    )
    for entry in path
  )


def logical_axes(path: tuple[str, ...]) -> tuple[str, ...] | None:
  """Logical axis names of the parameter at `path`, None if it has none."""
  for ending, axes in LOGICAL_AXES:
    if path[-len(ending) :] == ending:
      return axes
  return None


def _spec(
  path: tuple[str, ...], shape: tuple[int, ...], mesh: Mesh
) -> PartitionSpec:
  """Where a parameter's dimensions go; those that do not divide stay whole."""
  axes = logical_axes(path)
  if axes is None or len(axes) != len(shape):
    return PartitionSpec()
  placed: list[str | None] = []
  for axis, size in zip(axes, shape, strict=True):
    mesh_axis = RULES.get(axis)
    whole = mesh_axis is None or size % mesh.shape[mesh_axis] != 0
    placed.append(None if whole else mesh_axis)
  return PartitionSpec(*placed)


def state_shardings(state: Any, mesh: Mesh) -> Any:
  """Shardings of parameters and of what an optimizer keeps beside them.

  An optimizer's tree repeats the paths of the parameters under its own names.
  Its arrays that have their parameter's rank are split like the parameter;
  factored moments, counters and place-holders are small and replicated.

  Args:
    state: any pytree of arrays or `jax.ShapeDtypeStruct` (parameters, optimizer
      states, a whole train state).
    mesh: the mesh.

  Returns:
    The same tree of `NamedSharding`.
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: NamedSharding(
      mesh, _spec(_names(path), tuple(leaf.shape), mesh)
    ),
    state,
  )


def gather(params: Any, mesh: Mesh) -> Any:
  """Parameters as a step computes with them: whole along `fsdp`.

  Left to itself, XLA splits activations like the parameters, along `embed`,
  and exchanges those, which are larger. Gradients come back split, so that
  each device sums its own part only.

  Args:
    params: the tree, inside `jax.jit`.
    mesh: where they lie.

  Returns:
    The same tree and values.
  """
  if mesh.shape["fsdp"] == 1:
    return params
  split = state_shardings(params, mesh)

  def without_fsdp(sharding: NamedSharding) -> NamedSharding:
    axes = (None if axis == "fsdp" else axis for axis in sharding.spec)
    return NamedSharding(mesh, PartitionSpec(*axes))

  whole = jax.tree.map(without_fsdp, split)

  @jax.custom_vjp
  def gathered(tree):
    return jax.lax.with_sharding_constraint(tree, whole)

  gathered.defvjp(
    lambda tree: (gathered(tree), None),
    lambda _, gradients: (jax.lax.with_sharding_constraint(gradients, split),),
  )
  return gathered(params)
