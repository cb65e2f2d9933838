"""Which devices communicate with each other, as a program's text says it."""

import math
import re

import numpy as np

Groups = tuple[tuple[int, ...], ...]

_PAIRS = re.compile(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}")
_LISTS = re.compile(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}")
_IOTA = re.compile(
  r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?"
)
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\](.*?)\{([^}]*)\}")
_AXIS = re.compile(r"'([^']+)'(?::\((\d+)\)(\d+))?")


def read(text: str) -> Groups:
  """The groups of devices in which an instruction communicates.

  >>> read('replica_groups=[2,2]<=[2,2]T(1,0)')
  ((0, 2), (1, 3))
  >>> read("replica_groups=mesh['x'=2,'y'=2] {'y'}")
  ((0, 1), (2, 3))

  Args:
    text: the instruction from its operands on.

  Returns:
    Devices by their place in the mesh; for `source_target_pairs` the pairs
    (from, to). Empty where all devices are one group.
  """
  listed = _PAIRS.search(text) or _LISTS.search(text)
  if listed:
    return tuple(
      tuple(int(i) for i in group.split(",") if i)
      for group in re.findall(r"\{([\d,]*)\}", listed[1])
    )
  iota = _IOTA.search(text)
  if iota:
    return _iota(*iota.groups())
  mesh = _MESH.search(text)
  # A mesh with an order of devices of its own is not read: one group.
  if mesh and not mesh[2].strip():
    return _along(mesh[1], mesh[3])
  return ()


def _iota(count: str, size: str, shape: str, order: str | None) -> Groups:
  """A range, reshaped, transposed and cut into rows: [2,4]<=[4,2]T(1,0)."""
  sizes = [int(d) for d in shape.split(",")]
  ids = np.arange(math.prod(sizes)).reshape(sizes)
  if order:
    ids = ids.transpose([int(d) for d in order.split(",")])
  return _rows(ids.reshape(int(count), int(size)))


def _along(mesh: str, axes: str) -> Groups:
  """Groups along axes of a mesh, or along parts of axes: 'x':(2)4."""
  sizes = {
    name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh)
  }
  along = [
    (name, int(before or 1), int(part) if part else sizes[name])
    for name, before, part in _AXIS.findall(axes)
  ]
  shape, grouped = [], {}
  for name, size in sizes.items():
    here = sorted((a for a in along if a[0] == name), key=lambda a: a[1])
    done = 1
    for axis in here:
      shape += [axis[1] // done, axis[2]]
      grouped[axis] = len(shape) - 1
      done = axis[1] * axis[2]
    shape.append(size // done)
  ids = np.arange(math.prod(shape)).reshape(shape)
  last = [grouped[axis] for axis in along]
  first = [i for i in range(len(shape)) if i not in last]
  return _rows(
    ids.transpose([*first, *last]).reshape(
      -1, math.prod(shape[i] for i in last)
    )
  )


def _rows(ids: np.ndarray) -> Groups:
  return tuple(map(tuple, ids.tolist()))
