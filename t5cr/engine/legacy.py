"""t5x's first checkpoint format, that of the published T5 checkpoints.

A folder `checkpoint_<step>` holds `checkpoint`, a msgpack index of the whole
state, and one zarr array for each large leaf, named by its path with dots
(`target.encoder.encoder_norm.scale/`). Small leaves stand in the index itself.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import msgpack
import numpy as np
import tensorstore as ts
from etils import epath
from flax import serialization

from t5cr import errors
from t5cr.engine import train_state
from t5cr.engine.train_state import Tree
from t5cr.progress import Progress

INDEX = "checkpoint"

_VERSION = 3
# Elements of a chunk that are never too many.
_LEAST_CHUNK = 1 << 20
_MOST_DEEP = 50
# What reading an index that is something else raises, somewhere.
_MISSHAPEN = (AttributeError, KeyError, TypeError, ValueError, RecursionError)
# Arrays that are being read or written at the same time.
_AT_ONCE = 16


def is_checkpoint(path: epath.Path) -> bool:
  """Whether a folder holds an index."""
  return (path / INDEX).is_file()


def _index(path: epath.Path) -> dict[str, Any]:
  """The index's leaves by path: arrays, or dicts that describe a zarr array."""
  try:
    content = (path / INDEX).read_bytes()
    if content.startswith(b"model_checkpoint_path"):
      raise errors.UsageError(
        f"{path} is a TensorFlow checkpoint. Give one of those that t5x has "
        "converted (gs://t5-data/pretrained_models/t5x), or convert it with "
        "t5x."
      )
    # It holds no code: arrays of objects, which would be pickles, are refused.
    restored: Any = serialization.msgpack_restore(content)
    index = dict(_leaves(restored["optimizer"]))
    for name, leaf in index.items():
      _check_leaf(name, leaf)
    return index
  except errors.UsageError:
    raise
  except (*_MISSHAPEN, msgpack.exceptions.UnpackException) as error:
    raise errors.UsageError(
      f"{path / INDEX} is no index of a t5x checkpoint ({error!r:.99}). Copy "
      "the checkpoint again."
    ) from error


def _check_leaf(name: str, leaf: Any) -> None:
  """Raises an error unless a leaf is an array of numbers, or describes one."""
  if leaf is None:
    return
  if isinstance(leaf, Mapping):
    shape = leaf["metadata"]["shape"]
    if not all(isinstance(n, int) and 0 <= n < 2**40 for n in shape):
      raise ValueError(f"{name} has the shape {shape!r:.40}")
    leaf = np.empty(0, _dtype(leaf["dtype"]))
  dtype = np.asarray(leaf).dtype
  if dtype.kind != "b" and not jax.numpy.issubdtype(dtype, np.number):
    raise ValueError(f"{name} is of {dtype}")


def _leaves(
  tree: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, Any]]:
  if len(path) > _MOST_DEEP:
    raise ValueError("it is nested too deep")
  for name, value in tree.items():
    here = (*path, str(name))
    if isinstance(value, Mapping) and "kvstore" not in value:
      yield from _leaves(value, here)
    else:
      yield "/".join(here), value


def _spec(path: epath.Path, name: str) -> dict[str, Any]:
  """What TensorStore opens for the leaf `a/b` of a checkpoint.

  The index says where the array was written; it is read beside the index,
  wherever that has been copied to.
  """
  place = os.fspath(path).rstrip("/") + "/" + name.replace("/", ".") + "/"
  url = place if "://" in place else f"file://{place}"
  if not url.startswith("file://"):
    return {"driver": "zarr", "kvstore": url}
  # A URL would have to escape spaces and the like.
  return {"driver": "zarr", "kvstore": {"driver": "file", "path": place}}


def metadata(path: epath.Path) -> Tree:
  """Shapes and dtypes of the whole state, as `jax.ShapeDtypeStruct`."""

  def described(leaf: Any) -> jax.ShapeDtypeStruct:
    if isinstance(leaf, Mapping):
      shape, dtype = leaf["metadata"]["shape"], leaf["dtype"]
    else:
      shape, dtype = np.shape(leaf), np.asarray(leaf).dtype
    return jax.ShapeDtypeStruct(tuple(shape), _dtype(dtype))

  leaves = {name: described(leaf) for name, leaf in _index(path).items()}
  try:
    tree = train_state.nested(leaves)
    tree["target"].items()
    return tree
  except _MISSHAPEN as error:
    raise errors.UsageError(
      f"{path / INDEX} holds no tree of parameters ({error!r:.99}). Copy the "
      "checkpoint again."
    ) from error


def _dtype(name: Any) -> np.dtype:
  return np.dtype(jax.numpy.dtype(name))


def restore(
  path: epath.Path, wanted: Mapping[str, Any], progress: Progress | None = None
) -> Tree:
  """Reads leaves; each process reads only what its devices hold.

  Args:
    path: the folder.
    wanted: part of the tree of `metadata`, as `jax.ShapeDtypeStruct` with
      sharding and the dtype to read as.
    progress: called with (stage, done, total, unit).

  Returns:
    The same tree of `jax.Array`.

  Raises:
    UsageError: an array is missing or damaged.
  """
  index = _index(path)
  leaves = train_state.flat(wanted)
  arrays = {}
  for done, (name, leaf) in enumerate(leaves.items(), 1):
    try:
      arrays[name] = _read(path, name, index[name], leaf)
    except (KeyError, ValueError, OSError) as error:
      reason = str(error).partition(" [tensorstore_spec")[0].splitlines()[0]
      raise errors.UsageError(
        f"{path} is damaged: its array {name.replace('/', '.')} cannot be "
        f"read ({reason}). Copy the checkpoint again."
      ) from error
    if progress:
      progress("read", done, len(leaves), "arrays")
  return train_state.nested(arrays)


def _read(
  path: epath.Path, name: str, stored: Any, leaf: jax.ShapeDtypeStruct
) -> jax.Array:
  if isinstance(stored, Mapping):
    spec = _spec(path, name)
    # TensorStore takes an absent file for zeros, and writes none for zeros:
    # second moments may be zero, parameters are not.
    spec["fill_missing_data_reads"] = not name.startswith("target/")
    source = ts.open(spec, open=True, read=True).result()
  else:
    source = np.asarray(stored)
  if tuple(source.shape) != tuple(leaf.shape):
    raise ValueError(f"its shape is {tuple(source.shape)}, not {leaf.shape}")
  if isinstance(source, ts.TensorStore):
    chunk = source.chunk_layout.read_chunk.shape or ()
    check_chunks(name, source.shape, [n or 1 for n in chunk])

  def part(where: Any) -> np.ndarray:
    value = source[where]
    if isinstance(value, ts.TensorStore):
      value = value.read().result()
    return np.asarray(value).astype(_dtype(leaf.dtype))

  return jax.make_array_from_callback(leaf.shape, leaf.sharding, part)


def check_chunks(
  name: str, shape: Sequence[int], chunk: Sequence[int] | None
) -> None:
  """Refuses chunks far beyond their array.

  TensorStore makes room for a whole one; where there is none, the process ends
  at once.

  Raises:
    ValueError: it names the array.
  """
  chunk = tuple(chunk or ())
  if math.prod(chunk) > max(_LEAST_CHUNK, 2 * math.prod(shape)):
    raise ValueError(f"{name} is {tuple(shape)}, in chunks of {chunk}")


def write(
  path: epath.Path, tree: Mapping[str, Any], progress: Progress | None = None
) -> None:
  """Writes a whole state; the index comes last, so that it is never partial.

  Args:
    path: the folder, new.
    tree: t5x's names, of numpy arrays.
    progress: called with (stage, done, total, unit).
  """
  path.mkdir(parents=True)
  leaves = train_state.flat(tree)
  index: dict[str, Any] = {}
  pending: list[Any] = []
  for done, (name, value) in enumerate(leaves.items(), 1):
    value = np.asarray(value)
    if _is_inline(name, value):
      index[name] = value
    else:
      index[name], writing = _start_write(path, name, value)
      pending.append(writing)
    while len(pending) > _AT_ONCE or (pending and done == len(leaves)):
      pending.pop(0).result()
    if progress:
      progress("write", done, len(leaves), "arrays")
  content = {"version": _VERSION, "optimizer": train_state.nested(index)}
  (path / INDEX).write_bytes(
    serialization.msgpack_serialize(content, in_place=True)
  )


def _is_inline(name: str, value: np.ndarray) -> bool:
  """Whether t5x keeps a leaf in the index: all that it does not partition."""
  if name.startswith("target/"):
    return False
  return value.ndim == 0 or value.shape == (1,) or not name.endswith("/v")


def _start_write(
  path: epath.Path, name: str, value: np.ndarray
) -> tuple[dict[str, Any], Any]:
  """Begins to write an array; (its entry in the index, a future)."""
  layout = {
    "chunks": list(value.shape),
    "compressor": {"id": "gzip", "level": 1},
    "shape": list(value.shape),
  }
  spec = {**_spec(path, name), "metadata": layout, "dtype": value.dtype.name}
  store = ts.open(spec, create=True).result()
  entry = {
    "driver": "zarr",
    "dtype": value.dtype.name,
    "kvstore": {"driver": "file", "path": name.replace("/", ".") + "/"},
    "metadata": layout,
  }
  return entry, store.write(value)
