"""Builds the TFDS data sets from raw files, and tells which are built."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import tensorflow_datasets as tfds
from rich import table as rich_table

from t5cr_tasks import errors, folders
from t5cr_tasks.datasets import base, catalogue, movielens, redial, reviews
from t5cr_tasks.pipelines.runner import Runner
from t5cr_tasks.raw import files

BUILDERS: dict[str, tuple[type[base.RawBuilder], str | None]] = {
  "t5cr_redial": (redial.T5crRedial, None),
  "t5cr_movielens/sequences": (movielens.T5crMovielens, "sequences"),
  "t5cr_movielens/tags": (movielens.T5crMovielens, "tags"),
  "t5cr_reviews": (reviews.T5crReviews, None),
  "t5cr_catalogue": (catalogue.T5crCatalogue, None),
}
NAMES = tuple(BUILDERS)


@dataclasses.dataclass(frozen=True)
class BuildOptions:
  """How raw files become examples; the defaults are the paper's.

  Attributes:
    merge_turns: whether consecutive messages of one speaker are one turn.
    recommended_from: whether a dialogue's recommended titles are those in the
      recommender's `messages` or those that the seeker's `questions` name.
    rating_above: only ratings strictly above this one count.
    run_length: movies per run of a user.
    relevance_above: only tags with a relevance strictly above this one count.
  """

  merge_turns: bool = True
  recommended_from: Literal["messages", "questions"] = "messages"
  rating_above: float = 4.0
  run_length: int = 10
  relevance_above: float = 0.8

  def __post_init__(self):
    """Raises DataError for a value that makes no sense."""
    if self.run_length < 1:
      raise errors.DataError(
        f"run_length is {self.run_length}; give a number of at least 1."
      )
    for name in ("rating_above", "relevance_above"):
      if not math.isfinite(getattr(self, name)):
        raise errors.DataError(
          f"{name} is {getattr(self, name)}; give a plain number."
        )
    if self.recommended_from not in ("messages", "questions"):
      raise errors.DataError(
        f"recommended_from is {self.recommended_from!r}; give 'messages' or"
        " 'questions'."
      )


def build(
  raw_dir: str | os.PathLike[str],
  data_dir: str | os.PathLike[str],
  *,
  options: BuildOptions | None = None,
  max_bad_lines: int = 0,
  only: Sequence[str] | None = None,
  progress: base.Progress | None = None,
  runner: Runner | None = None,
) -> dict[str, dict[str, Any]]:
  """Builds every data set whose raw files are there.

  A set that stands with the same fingerprint (raw files, options, version) is
  left as it is. A new one is written beside it and takes its place when it is
  complete, so that an error leaves the old one. One build at a time writes to
  a data directory; what a killed one left is cleared away.

  Args:
    raw_dir: the RAW folder with redial/, movielens/ and reviews/.
    data_dir: the TFDS data directory, made where it is not there.
    options: how raw files become examples.
    max_bad_lines: how many malformed lines each set may leave out.
    only: names of the sets to build (from NAMES); their files must be there.
    progress: called as progress(stage, done, total, unit).
    runner: a Beam runner for the large sets, t5cr_movielens/*; the files are
      the same.

  Returns:
    {name: {"status": "built" or "skipped: why", "counts": what was read, kept
    and dropped, "bad_lines": messages, "fingerprint": hex}}. The counts of a
    skipped set are empty and its fingerprint is None.

  Raises:
    DataError: bad raw files, or none at all; or another build is writing to
      the data directory.
  """
  raw_dir = folders.as_path(raw_dir)
  data_dir = folders.as_path(data_dir)
  if not raw_dir.is_dir():
    raise errors.located(
      raw_dir,
      "no such folder",
      remedy=(
        "Name the folder that holds redial/, movielens/ and reviews/, or "
        "write the sample corpus there with `t5cr data sample`"
      ),
    )
  _check_names(only)
  if max_bad_lines < 0:
    raise errors.DataError(
      f"max_bad_lines is {max_bad_lines}; give a number of at least 0."
    )
  sources = (name for names in files.FOLDERS.values() for name in names)
  if not any((raw_dir / name).is_dir() for name in sources):
    raise _no_raw_files(raw_dir)
  with folders.sole_writer(data_dir):
    return _build_all(
      raw_dir,
      data_dir,
      options or BuildOptions(),
      max_bad_lines,
      only,
      progress,
      runner,
    )


def _build_all(
  raw_dir: pathlib.Path,
  data_dir: pathlib.Path,
  options: BuildOptions,
  max_bad_lines: int,
  only: Sequence[str] | None,
  progress: base.Progress | None,
  runner: Runner | None,
) -> dict[str, dict[str, Any]]:
  """`build`, once it may."""
  settings = dataclasses.asdict(options)
  settings["max_bad_lines"] = max_bad_lines
  results: dict[str, dict[str, Any]] = {}
  for name in only or NAMES:
    builder_class, config = BUILDERS[name]
    if runner:
      builder_class = runner.builder(builder_class)
    own = {field.name for field in dataclasses.fields(builder_class.OPTIONS)}
    set_options = builder_class.OPTIONS(
      **{key: value for key, value in settings.items() if key in own}
    )
    try:
      results[name] = _build_one(
        builder_class,
        config,
        set_options,
        raw_dir,
        data_dir,
        progress,
        runner,
      )
    except files.MissingSource as error:
      if only:
        raise
      results[name] = {
        "status": f"skipped: {error}",
        "counts": {},
        "bad_lines": [],
        "fingerprint": None,
      }
  if all(result["fingerprint"] is None for result in results.values()):
    raise _no_raw_files(raw_dir)
  return results


def _no_raw_files(raw_dir: pathlib.Path) -> errors.DataError:
  return errors.DataError(
    f"{raw_dir} holds no raw files. Put redial/, movielens/ and reviews/ "
    "there, or write the sample corpus with `t5cr data sample`."
  )


def _check_names(only: Sequence[str] | None) -> None:
  for name in only or ():
    if name not in BUILDERS:
      raise errors.DataError(
        f"{name} is no data set. Known ones: {', '.join(NAMES)}."
      )


def _build_one(
  builder_class: type[base.RawBuilder],
  config: str | None,
  options: base.Options,
  raw_dir: pathlib.Path,
  data_dir: pathlib.Path,
  progress: base.Progress | None,
  runner: Runner | None,
) -> dict[str, Any]:
  def make(directory: pathlib.Path) -> base.RawBuilder:
    return builder_class(
      data_dir=directory, config=config, options=options, progress=progress
    )

  wanted = make(data_dir)
  fingerprint = wanted.fingerprint(raw_dir)
  standing = _read_metadata(wanted.data_path)
  if standing.get("fingerprint") == fingerprint:
    return _result(standing)
  tfds.disable_progress_bar()
  with folders.workshop(data_dir, folders.BUILDING) as workshop:
    builder = make(workshop)
    builder.report(0, None, "files")
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(
        manual_dir=raw_dir,
        beam_options=runner and runner.pipeline_options(),
      )
    )
    _check_unchanged(builder.data_path, fingerprint, raw_dir)
    folders.put(builder.data_path, wanted.data_path, workshop)
  return _result(_read_metadata(wanted.data_path))


def _check_unchanged(
  built: os.PathLike[str], fingerprint: str, raw_dir: pathlib.Path
) -> None:
  """Raises DataError where the raw files were changed during the build."""
  if _read_metadata(built).get("fingerprint") != fingerprint:
    raise errors.DataError(
      f"{raw_dir}: a raw file was changed while it was read, so that the"
      " examples are of no one corpus; they were thrown away. Build again when"
      " the files are complete."
    )


def _read_metadata(path: os.PathLike[str]) -> dict[str, Any]:
  try:
    text = (folders.as_path(path) / "metadata.json").read_text("utf-8")
    return json.loads(text)
  except (FileNotFoundError, json.JSONDecodeError):
    return {}


def _result(metadata: Mapping[str, Any]) -> dict[str, Any]:
  return {
    "status": "built",
    "counts": metadata["counts"],
    "bad_lines": metadata["bad_lines"],
    "fingerprint": metadata["fingerprint"],
  }


def available(data_dir: str | os.PathLike[str]) -> dict[str, str]:
  """Which of this project's data sets stand in a TFDS data directory.

  Args:
    data_dir: a TFDS data directory; it may be missing.

  Returns:
    {name without version: fingerprint}, probe sets included, by name.
  """
  data_dir = folders.as_path(data_dir)
  found: dict[str, str] = {}
  for path in sorted(data_dir.glob("t5cr_*/**/metadata.json")):
    fingerprint = _read_metadata(path.parent).get("fingerprint")
    if fingerprint and (path.parent / "dataset_info.json").is_file():
      found[path.parent.parent.relative_to(data_dir).as_posix()] = fingerprint
  return found


def summary(results: Mapping[str, Mapping[str, Any]]) -> rich_table.Table:
  """A table of what was read, kept and dropped for each data set.

  Args:
    results: what `build` returned.

  Returns:
    A table for rich to print.
  """
  table = rich_table.Table(box=None, pad_edge=False)
  for heading in ("data set", "what"):
    table.add_column(heading, overflow="fold")
  for heading in ("read", "kept", "dropped"):
    table.add_column(heading, justify="right")
  table.add_column("why, and what was noted", overflow="fold")
  for name, result in results.items():
    if not result["counts"]:
      table.add_row(name, "", "", "", "", str(result["status"]))
    for index, (what, tally) in enumerate(result["counts"].items()):
      notes = [f"{n:,} {reason}" for reason, n in tally["dropped"].items()]
      notes += [f"({n:,} {noted})" for noted, n in tally["noted"].items()]
      table.add_row(
        "" if index else name,
        what,
        f"{tally['read']:,}",
        f"{tally['kept']:,}",
        f"{sum(tally['dropped'].values()):,}",
        "; ".join(notes),
      )
    for message in result.get("bad_lines", ()):
      table.add_row("", "bad line", "", "", "", message)
  return table
