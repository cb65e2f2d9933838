"""Checksums of a training state: what is read is what was computed.

A checkpoint holds the checksums of the arrays that it was made of. Whatever
happens to them on the way to the disk, on it or back is seen by computing them
again: on the devices after a restore, or on the host, some arrays at a time.

An array's checksum is two sums modulo 2^32: of its elements' bits, and of these
times odd numbers that differ from place to place. Sums of whole numbers do not
depend on the order, so they are the same on any mesh. One changed element
always shows, in both sums.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax import lax

from t5cr import errors
from t5cr.engine import formats, train_state
from t5cr.engine.formats import Found

Checksums = dict[str, list[int]]

# What one step along each dimension adds to the factor of a place: even, so
# that all factors are odd.
_STEPS = tuple(
  2 * prime % 2**32
  for prime in (2654435761, 2246822519, 3266489917, 668265263, 374761393)
)
# What is read at once to check a checkpoint on the host.
_BYTES_AT_ONCE = 1 << 28
# What is summed at once of it: it stays in the processor's cache.
_ROWS_BYTES = 1 << 20


def _checksum(bits: Any, xp: Any, first: int = 0) -> Any:
  """The two sums over an array's bits, with numpy or jax.numpy.

  Args:
    bits: unsigned integers, all of an array or some of its rows.
    xp: numpy or jax.numpy.
    first: number of the first row.

  Returns:
    uint32 [2].
  """
  bits = bits.astype(xp.uint32)
  factors = xp.ones((1,) * bits.ndim, xp.uint32)
  for axis, size in enumerate(bits.shape):
    start = 0 if axis else first
    places = xp.arange(start, start + size, dtype=xp.uint32)
    along = places * xp.uint32(_STEPS[axis])
    factors = factors + along.reshape((-1,) + (1,) * (bits.ndim - axis - 1))
  sums = [xp.sum(each, dtype=xp.uint32) for each in (bits, bits * factors)]
  return xp.stack(sums)


def _on_host(array: np.ndarray) -> list[int]:
  """The same of an array on the host, without a copy of all of it."""
  bits = array.view(_unsigned(array.dtype))
  if not bits.ndim:
    return _checksum(bits, np).tolist()
  rows = max(1, _ROWS_BYTES * len(bits) // max(bits.nbytes, 1))
  parts = [
    _checksum(bits[first : first + rows], np, first)
    for first in range(0, len(bits), rows)
  ]
  return np.add.reduce(np.asarray(parts), dtype=np.uint32).tolist()


def _unsigned(dtype: Any) -> str:
  return f"uint{8 * np.dtype(dtype).itemsize}"


def _on_devices(leaf: Any) -> jax.Array:
  leaf = jnp.asarray(leaf)
  return _checksum(
    lax.bitcast_convert_type(leaf, jnp.dtype(_unsigned(leaf.dtype))), jnp
  )


@functools.lru_cache(maxsize=4)
def _compiled(sharding: Any) -> Any:
  return jax.jit(
    lambda leaves: jax.tree.map(_on_devices, leaves), out_shardings=sharding
  )


def of_state(tree: Mapping[str, Any], sharding: Any) -> Checksums:
  """The checksums of a state that lies on devices.

  Args:
    tree: of arrays of at most four bytes an element.
    sharding: that of what every device of their mesh holds whole.

  Returns:
    Path of each array -> its two sums.
  """
  sums = jax.device_get(_compiled(sharding)(train_state.flat(tree)))
  return {name: value.tolist() for name, value in sums.items()}


def check_restored(
  found: Found, tree: Mapping[str, Any], sharding: Any
) -> None:
  """Raises UsageError if restored arrays are not those that were saved.

  Args:
    found: where they were read from.
    tree: all of its state or a part.
    sharding: see `of_state`.
  """
  known = found.record.get("checksums", {})
  stored = train_state.flat(found.metadata)
  same = {
    name: leaf
    for name, leaf in train_state.flat(tree).items()
    if name in known and stored[name].dtype == leaf.dtype
  }
  reason = _first_difference(known, of_state(same, sharding))
  if reason:
    raise errors.UsageError(
      f"{found.path} is damaged: {reason}. Copy it again, or use another "
      f"checkpoint; in {found.run} there are {formats.steps(found.run)}."
    )


def problem(found: Found) -> str | None:
  """Reads all arrays of a checkpoint on this host.

  Args:
    found: a checkpoint that this engine wrote.

  Returns:
    What is wrong with the first that is not as it was saved; None if all are,
    or if it has no checksums and they can be read.
  """
  known = found.record.get("checksums", {})
  stored = train_state.flat(found.metadata)
  if known and known.keys() != stored.keys():
    return f"{min(known.keys() ^ stored.keys())} is missing or too much"
  for arrays in _arrays(found, stored):
    sums = {name: _on_host(array) for name, array in arrays.items()}
    reason = _first_difference(known, sums)
    if reason:
      return reason
  return None


def _arrays(
  found: Found, stored: Mapping[str, jax.ShapeDtypeStruct]
) -> Iterator[dict[str, np.ndarray]]:
  """All arrays of a state, some at a time."""
  part: dict[str, Any] = {}
  size = 0
  for name, leaf in stored.items():
    part[name] = leaf
    size += leaf.size * leaf.dtype.itemsize
    if size >= _BYTES_AT_ONCE:
      yield _read(found, part)
      part, size = {}, 0
  if part:
    yield _read(found, part)


def _read(found: Found, part: Mapping[str, Any]) -> dict[str, np.ndarray]:
  item = train_state.nested(part)
  on_host = jax.tree.map(
    lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray, dtype=leaf.dtype),
    item,
  )
  with formats.damage_told(found):
    tree = ocp.PyTreeCheckpointHandler().restore(
      found.path / "state",
      args=ocp.args.PyTreeRestore(
        item=item, restore_args=on_host, partial_restore=True
      ),
    )
  return {
    name: np.asarray(leaf) for name, leaf in train_state.flat(tree).items()
  }


def _first_difference(known: Checksums, found: Checksums) -> str | None:
  for name, sums in found.items():
    if known.get(name, sums) != sums:
      return f"{name} is not what was saved (its checksum differs)"
  return None
