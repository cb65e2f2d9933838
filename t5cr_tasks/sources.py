"""Where tasks read from: TFDS data sets that must have been built."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import seqio
import tensorflow_datasets as tfds
from etils import epath

from t5cr_tasks.errors import DataError


class BuiltDataSource(seqio.TfdsDataSource):
  """A TFDS data set that is read where it stands and never built on the fly.

  Which corpus that is follows `seqio.set_tfds_data_dir_override` (the flag
  `--tfds_data_dir`), also where it changes during a process. Reading a data set
  that is not there raises DataError with what builds it.
  """

  def __init__(
    self,
    tfds_name: str,
    splits: Sequence[str],
    tfds_data_dir: str | None = None,
  ):
    """Reads nothing.

    Args:
      tfds_name: name with version, such as `t5cr_redial:1.0.0`.
      splits: the splits that the data set has.
      tfds_data_dir: the data directory, whatever the override; None for the
        override or, without one, TFDS's own default.
    """
    self._name = tfds_name
    self._data_dir = tfds_data_dir
    super().__init__(tfds_name, splits=splits, read_only=True)

  @property
  def tfds_dataset(self) -> seqio.LazyTfdsLoader:
    """A loader of the data set, which raises DataError where it reads none."""
    # A loader keeps the first override it sees, so each use takes a fresh one.
    # They share their builders.
    loader = _BuiltLoader(self._name, read_only=True)
    if self._data_dir:
      loader.override_data_dir(self._data_dir)
    return loader

  def is_built(self) -> bool:
    """Whether the data set stands in the data directory."""
    try:
      return self.tfds_dataset.builder.is_prepared()
    except DataError:
      return False

  def other_versions(self) -> list[str]:
    """The versions that stand in place of the one that is read."""
    if self.is_built():
      return []
    folder = tfds.builder(
      self._name, data_dir=self.tfds_dataset.data_dir
    ).data_path
    return _versions(folder)

  def fingerprint(self) -> str:
    """What identifies the data set: the fingerprint that its build wrote.

    One that something else built has that of its whole description.

    Raises:
      DataError: the data set is not built.
    """
    info = self.tfds_dataset.builder.info
    written = (info.metadata or {}).get("fingerprint")
    return str(written or hashlib.sha256(info.as_json.encode()).hexdigest())


class _BuiltLoader(seqio.LazyTfdsLoader):
  """A loader that checks that there is something to load."""

  @property
  def builder(self) -> tfds.core.DatasetBuilder:
    self._require_built()
    return super().builder

  def files(self, split: str):
    self._require_built()
    return super().files(split)

  def size(self, split: str) -> int | None:
    self._require_built()
    return super().size(split)

  def _require_built(self) -> None:
    # A builder that is made before its data is there stays without, so only
    # one with data may enter the loaders' shared memory.
    if self.is_memoized():
      return
    builder = tfds.builder(str(self.name), data_dir=self.data_dir)
    if not builder.is_prepared():
      raise _not_built(str(self.name), builder.data_path)


def _not_built(name: str, folder: epath.Path) -> DataError:
  build = "t5cr probes build" if "probes" in name else "t5cr data build"
  others = _versions(folder)
  if others:
    return DataError(
      f"The data set {name} is not built: {folder.parent} holds version"
      f" {', '.join(others)}, which another release of t5cr wrote. Build it"
      f" anew with `{build}`, with the options that it was built with."
    )
  return DataError(
    f"The data set {name} is not built: there is no {folder}. Build it with"
    f" `{build}` (see its --help), and pass the same --tfds_data_dir here."
  )


def _versions(folder: epath.Path) -> list[str]:
  """The versions of a data set that stand beside a folder for one of them."""
  written = folder.parent.glob("*/dataset_info.json")
  return sorted(path.parent.name for path in written)
