"""What the builders that read raw files have in common."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow_datasets as tfds

from t5cr_tasks import errors, folders
from t5cr_tasks.datasets import writer
from t5cr_tasks.raw import counts, files

Progress = Callable[[str, int, int | None, str], None]
Examples = Iterator[tuple[int | str | bytes, dict[str, Any]]]

_REPORT_EVERY = 256


@dataclasses.dataclass(frozen=True)
class Options:
  """What every builder can be told; builders add their own.

  Attributes:
    max_bad_lines: how many malformed lines of the raw files may be left out.
  """

  max_bad_lines: int = 0


class RawBuilder(writer.LeanBuilder, skip_registration=True):
  """A data set that is read from the raw files in TFDS's `manual_dir`.

  Its `info.metadata`, which is stored with it, says what it was made from:
  fingerprint, options, SHA-256 of each raw file, counts of what was read, kept
  and dropped, and the bad lines.
  """

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First version."}
  MANUAL_DOWNLOAD_INSTRUCTIONS = """\
  The folder holds the raw files as their publishers ship them:
  redial/{train_data,test_data}.jsonl and movies_with_mentions.csv;
  movielens/{movies,ratings,genome-tags,genome-scores}.csv;
  reviews/reviews.csv.
  """
  OPTIONS: type[Options] = Options

  def __init__(
    self,
    *,
    options: Options | None = None,
    progress: Progress | None = None,
    **kwargs: Any,
  ):
    """A builder that can write the data set, or read it where it is built.

    Args:
      options: an instance of the class's OPTIONS.
      progress: called as progress(stage, done, total, unit).
      **kwargs: TFDS's own: data_dir, config, version.
    """
    self.options = options or self.OPTIONS()
    self.progress = progress
    self.tallies = counts.Tallies()
    self.bad_lines = files.BadLines(self.options.max_bad_lines)
    self._metadata = tfds.core.MetadataDict()
    super().__init__(**kwargs)

  @abc.abstractmethod
  def find_files(self, raw_dir: pathlib.Path) -> dict[str, pathlib.Path]:
    """Finds the raw files, {name: path}; raises files.MissingSource."""

  @abc.abstractmethod
  def read_splits(
    self, paths: dict[str, pathlib.Path]
  ) -> dict[str, Iterator[dict[str, Any]]]:
    """Reads each split's examples from the files that find_files gave."""

  @abc.abstractmethod
  def features(self) -> dict[str, Any]:
    """The features of an example."""

  @abc.abstractmethod
  def key(self, example: dict[str, Any]) -> int | str | bytes:
    """What tells an example from all others of its split.

    TFDS orders a split by a hash of this and of the split's name, so the order
    follows from the examples alone, whoever makes them in whatever order.

    Args:
      example: as `read_splits` gives it.
    """

  @abc.abstractmethod
  def counted(self, split: str) -> tuple[str, ...]:
    """The tallies that together keep as many things as a split has examples."""

  @property
  def full_name(self) -> str:
    """The name without the version, such as `t5cr_movielens/tags`."""
    config = self.builder_config
    return f"{self.name}/{config.name}" if config else self.name

  def fingerprint(self, raw_dir: str | os.PathLike[str]) -> str:
    """SHA-256 over the version, the options and the raw files' contents."""
    described = json.dumps(
      {
        "name": self.full_name,
        "version": str(self.version),
        # Examples are ordered by hashes of these keys, not by a counter.
        "keys": "natural",
        "options": dataclasses.asdict(self.options),
        "raw": self._hashes(folders.as_path(raw_dir)),
      },
      sort_keys=True,
    )
    return hashlib.sha256(described.encode()).hexdigest()

  def report(self, done: int, total: int | None, unit: str) -> None:
    """Tells how far the build is."""
    if self.progress:
      self.progress(f"build {self.full_name}", done, total, unit)

  def count_progress(
    self, things: Iterator[Any], total: int, unit: str
  ) -> Iterator[Any]:
    """Passes things on and tells how many of about `total` there were."""
    done = 0
    for done, thing in enumerate(things, start=1):
      yield thing
      if done % _REPORT_EVERY == 0:
        self.report(done, max(done, total), unit)
    self.report(done, done, unit)

  def _hashes(self, raw_dir: pathlib.Path) -> dict[str, str]:
    paths = self.find_files(raw_dir)
    return {name: files.sha256(path) for name, path in paths.items()}

  # TFDS prints these two where a build has a progress bar of its own.
  def _log_download_bytes(self) -> None:
    pass

  def _log_download_done(self) -> None:
    pass

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=type(self).__doc__,
      features=tfds.features.FeaturesDict(self.features()),
      metadata=self._metadata,
    )

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Examples]:
    raw_dir = folders.as_path(os.fspath(dl_manager.manual_dir))
    splits = self.read_splits(self.find_files(raw_dir))
    return {
      name: self._generate_examples(name, examples, raw_dir)
      for name, examples in splits.items()
    }

  def _generate_examples(
    self, split: str, examples: Iterator[dict[str, Any]], raw_dir: pathlib.Path
  ) -> Examples:
    example = None
    for example in examples:
      yield self.key(example), example
    if example is None:
      raise self.no_example(split, raw_dir)
    self.record_origin(raw_dir)

  def check_written(self, split: str, examples: int) -> None:
    """Raises InternalError unless all that was kept was written."""
    kept = sum(self.tallies[name].kept for name in self.counted(split))
    if examples != kept:
      raise errors.InternalError(
        f"{self.full_name}: {kept} examples were kept for the {split} split and"
        f" {examples} written. The data set was left out. This is a fault of"
        " t5cr: report it."
      )

  def no_example(self, split: str, raw_dir: pathlib.Path) -> errors.DataError:
    """The error of a split that nothing was left for."""
    return errors.DataError(
      f"{raw_dir}: no example for the {split} split of {self.full_name}."
      " What was read, kept and dropped: "
      f"{json.dumps(self.tallies.to_dict())}. Put complete raw files there,"
      " or loosen the options that drop what they hold."
    )

  def record_origin(self, raw_dir: pathlib.Path) -> None:
    """Puts what was read, and counted so far, into the metadata."""
    self._metadata.update(
      fingerprint=self.fingerprint(raw_dir),
      options=dataclasses.asdict(self.options),
      raw=self._hashes(raw_dir),
      counts=self.tallies.to_dict(),
      num_bad_lines=self.bad_lines.count,
      bad_lines=list(self.bad_lines.messages),
    )
