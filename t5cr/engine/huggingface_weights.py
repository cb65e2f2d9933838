"""The tensor files of a Hugging Face folder, as numpy arrays by name."""

import contextlib
import json
import os
import pathlib
import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from t5cr import errors, nested
from t5cr.progress import Progress

INDEX_SUFFIX = ".index.json"
# In the order in which transformers looks for them.
FILES = (
  "model.safetensors",
  "model.safetensors" + INDEX_SUFFIX,
  "pytorch_model.bin",
  "pytorch_model.bin" + INDEX_SUFFIX,
)
SHARD_BYTES = 5_000_000_000

_DTYPES = ("float64", "float32", "float16", "bfloat16")
# As safetensors calls them; others are told by their own name.
_SAFE_DTYPES = {
  "F64": "float64",
  "F32": "float32",
  "F16": "float16",
  "BF16": "bfloat16",
}
# Before it, `weights_only` could be got around (CVE-2025-32434).
_SAFE_TORCH = (2, 6)


class _Tensor(NamedTuple):
  """A tensor that has not been read.

  Attributes:
    dtype: its name.
    read: maps the tensor's name to its values.
  """

  dtype: str
  read: Callable[[str], np.ndarray]


class Weights:
  """The tensors of a folder; those of safetensors are read when asked for."""

  def __init__(self, source: pathlib.Path, tensors: Mapping[str, _Tensor]):
    """Keeps what `open_folder` found.

    Args:
      source: the file that names the tensors, for messages.
      tensors: by name.
    """
    self.source = source
    self._tensors = tensors

  @property
  def names(self) -> set[str]:
    """Names of all tensors."""
    return set(self._tensors)

  def dtype(self, name: str) -> np.dtype:
    """What a tensor is stored in.

    Raises:
      UsageError: it is not of floating-point numbers.
    """
    dtype = self._tensors[name].dtype
    if dtype not in _DTYPES:
      raise errors.UsageError(
        f"{self.source}: {name} is of {dtype}; only {', '.join(_DTYPES)} are "
        "known. Give the weights before they were quantized."
      )
    return np.dtype(getattr(ml_dtypes, dtype, dtype))

  def read(self, name: str) -> np.ndarray:
    """One tensor, in the dtype that it is stored in.

    Raises:
      UsageError: it is damaged, or not of floating-point numbers.
    """
    self.dtype(name)
    try:
      return self._tensors[name].read(name)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
      raise _damaged(self.source, f"{name}: {error}") from error


@contextlib.contextmanager
def open_folder(folder: pathlib.Path) -> Iterator[Weights]:
  """Opens the weights in a folder.

  Args:
    folder: holds one of `FILES`.

  Raises:
    UsageError: none of them is there, a shard is missing, or a file is
      damaged or holds more than weights.
  """
  found = [folder / name for name in FILES if (folder / name).is_file()]
  if not found:
    raise errors.UsageError(
      f"No weights in {folder}: looked for {', '.join(FILES)}. Weights of "
      "TensorFlow (tf_model.h5) and Flax are not read."
    )
  source = found[0]
  files = [source]
  if source.name.endswith(INDEX_SUFFIX):
    files = _shards(source)
  with contextlib.ExitStack() as stack:
    tensors: dict[str, _Tensor] = {}
    for path in files:
      if path.suffix == ".bin":
        tensors |= _pickled(path)
      else:
        tensors |= _safe(path, stack)
    yield Weights(source, tensors)


def _shards(index: pathlib.Path) -> list[pathlib.Path]:
  """The files that an index names, all of which are there."""
  try:
    held = nested.load_object(index.read_text("utf-8"))
    names = {str(name) for name in held["weight_map"].values()}
  except (ValueError, KeyError, AttributeError, TypeError) as error:
    raise _damaged(index, f"no weight_map can be read ({error!r})") from error
  # A shard lies beside its index, whatever an index from elsewhere says.
  outside = sorted(
    name
    for name in names
    if os.path.basename(name) != name or name in ("", ".", "..")
  )
  if outside:
    raise _damaged(index, f"{outside[0]} is no file name")
  paths = [index.parent / name for name in sorted(names)]
  missing = [path.name for path in paths if not path.is_file()]
  if missing:
    raise errors.UsageError(
      f"{index} names files that are missing beside it: "
      f"{', '.join(missing[:5])}. Copy or download the folder again."
    )
  return paths


def _damaged(path: pathlib.Path, reason: str) -> errors.UsageError:
  return errors.UsageError(
    f"{path} cannot be read: {reason}. Copy or download it again."
  )


def _safe(
  path: pathlib.Path, stack: contextlib.ExitStack
) -> dict[str, _Tensor]:
  """The tensors of a safetensors file, which stays open."""
  try:
    file = stack.enter_context(safetensors.safe_open(path, framework="np"))
    kinds = {
      name: str(file.get_slice(name).get_dtype()) for name in file.keys()
    }
    return {
      name: _Tensor(_SAFE_DTYPES.get(kind, kind), file.get_tensor)
      for name, kind in kinds.items()
    }
  except (safetensors.SafetensorError, OSError, ValueError) as error:
    raise _damaged(path, str(error)) from error


def _pickled(path: pathlib.Path) -> dict[str, _Tensor]:
  """The tensors of a file that `torch.save` wrote; runs no code from it."""
  try:
    import torch  # pyright: ignore[reportMissingImports]
  except ImportError as error:
    raise errors.UsageError(
      f"{path} is a pickle of PyTorch, and torch is not installed. Install it "
      "with `pip install 't5cr[hf]'`, or give the folder as safetensors."
    ) from error
  version = tuple(int(part) for part in torch.__version__.split(".")[:2])
  if version < _SAFE_TORCH:
    raise errors.UsageError(
      f"{path} is a pickle, which torch {torch.__version__} cannot read "
      "safely: from 2.6 on it can. Upgrade torch, or give safetensors."
    )
  try:
    content = torch.load(
      path,
      map_location="cpu",
      weights_only=True,
      mmap=zipfile.is_zipfile(path),
    )
  except pickle.UnpicklingError as error:
    raise errors.UsageError(
      f"{path} holds more than weights, or is damaged, and was not loaded: "
      f"{str(error).splitlines()[0]} Give the folder as safetensors."
    ) from error
  except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
    raise _damaged(path, str(error).partition("\n")[0]) from error
  if not isinstance(content, dict) or not all(
    isinstance(value, torch.Tensor) for value in content.values()
  ):
    raise errors.UsageError(
      f"{path} holds something other than tensors by name. Give the state "
      "dict of the model, as `save_pretrained` writes it."
    )

  for name, tensor in content.items():
    _check_dense(path, str(name), tensor)

  def to_numpy(name: str) -> np.ndarray:
    tensor = content[name].detach().contiguous()
    if tensor.dtype == torch.bfloat16:  # numpy has none of its own
      return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()

  return {
    name: _Tensor(str(tensor.dtype).removeprefix("torch."), to_numpy)
    for name, tensor in content.items()
  }


def _check_dense(path: pathlib.Path, name: str, tensor: Any) -> None:
  """Refuses a tensor that would be larger in memory than it is in the file."""
  import torch  # pyright: ignore[reportMissingImports]

  if tensor.layout is torch.strided:
    held = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() <= held:
      return
  raise _damaged(path, f"{name} is no plain tensor with values of its own")


def write(
  folder: pathlib.Path,
  names: Iterable[str],
  read: Callable[[str], np.ndarray],
  sizes: Mapping[str, int],
  *,
  shard_bytes: int = SHARD_BYTES,
  progress: Progress | None = None,
) -> None:
  """Writes tensors as transformers does: one file, or shards and an index.

  Args:
    folder: to write into.
    names: of the tensors, in the order to store them.
    read: gives a tensor; its memory is let go with its shard.
    sizes: bytes of each tensor.
    shard_bytes: the most of them in a file, unless one alone has more.
    progress: called with (stage, done, total, unit).
  """
  shards: list[list[str]] = [[]]
  room = shard_bytes
  for name in names:
    if shards[-1] and sizes[name] > room:
      shards.append([])
      room = shard_bytes
    shards[-1].append(name)
    room -= sizes[name]
  total, done = sum(map(len, shards)), 0
  weight_map = {}
  for number, members in enumerate(shards, start=1):
    file = FILES[0]
    if len(shards) > 1:
      file = f"model-{number:05}-of-{len(shards):05}.safetensors"
    # transformers wants to be told whose layout this is.
    safetensors.numpy.save_file(
      {name: np.ascontiguousarray(read(name)) for name in members},
      folder / file,
      metadata={"format": "pt"},
    )
    weight_map |= dict.fromkeys(members, file)
    done += len(members)
    if progress:
      progress("write Hugging Face weights", done, total, "tensors")
  if len(shards) > 1:
    index = {
      "metadata": {"total_size": sum(sizes.values())},
      "weight_map": dict(sorted(weight_map.items())),
    }
    (folder / FILES[1]).write_text(json.dumps(index, indent=2) + "\n")
