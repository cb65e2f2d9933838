"""Makes the probe sets of a data directory from its other data sets."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds

from t5cr_tasks.datasets import build as datasets_build
from t5cr_tasks.datasets.base import Progress
from t5cr_tasks.datasets.probes import T5crProbes, Table
from t5cr_tasks.errors import DataError
from t5cr_tasks.probes import leaks, sources, templates, worlds
from t5cr_tasks.probes.sources import (
  DIALOGUES,
  REVIEWS,
  SEQUENCES,
  TAGS,
  Sentences,
  Tags,
)
from t5cr_tasks.probes.worlds import ProbeOptions, World

# The data sets that each probe is made from (Table 4, "MovieLens Data Source").
SOURCES = {
  "recommendation": (SEQUENCES,),
  "attribute": (SEQUENCES, TAGS),
  "combination": (SEQUENCES, TAGS),
  "description": (SEQUENCES, REVIEWS),
  "recommendation_sequence": (SEQUENCES,),
}


@dataclasses.dataclass(frozen=True)
class _Inputs:
  """All that probes are made from, read once for all of them."""

  world: World
  tags: Tags | None
  sentences: Sentences | None
  named: leaks.Named | None


def build(
  data_dir: str | os.PathLike[str],
  *,
  options: ProbeOptions | None = None,
  progress: Progress | None = None,
  **changes: Any,
) -> dict[str, dict[str, Any]]:
  """Writes the probe sets whose sources are in a data directory.

  A set whose options and sources did not change is left as it is.

  Args:
    data_dir: TFDS data directory; it holds the sources and gets the probes.
    options: how the probes are made; the paper's way by default.
    progress: called as progress(stage, done, total, unit).
    **changes: options by name, such as `min_count=10` or `template='short'`.

  Returns:
    For each probe {"status": "built" or "skipped: <why>", "counts": what was
    read, kept and dropped, "fingerprint": hex, "leak": {"pairs", "named",
    "share"}}, kept in the metadata of the data set too. "leak" is None where
    there are no training dialogues to search; a skipped set has no counts and
    no fingerprint.

  Raises:
    DataError: an option makes no sense, the sequences are missing, or too few
      movies are over the threshold.
  """
  options = dataclasses.replace(options or ProbeOptions(), **changes)
  directory = os.fspath(data_dir)
  available = datasets_build.available(directory)
  if SEQUENCES not in available:
    raise DataError(
      f"{directory} has no data set {SEQUENCES}, which all probes are made"
      " from. Build it first with `t5cr data build`, from ratings of MovieLens."
    )
  results: dict[str, dict[str, Any]] = {}
  wanted: dict[str, dict[str, Any]] = {}
  for probe in templates.PROBES:
    missing = [name for name in SOURCES[probe] if name not in available]
    if missing:
      results[probe] = _skipped(f"{missing[0]} is not in {directory}")
      continue
    origin = _origin(probe, options, available)
    if available.get(f"{T5crProbes.name}/{probe}") == origin["fingerprint"]:
      standing = T5crProbes(data_dir=directory, config=probe)
      results[probe] = _result(standing.info.metadata or {})
    else:
      wanted[probe] = origin
  if wanted:
    inputs = _read(directory, wanted, available, options, progress)
    for probe, origin in wanted.items():
      results[probe] = _build_one(
        directory, probe, origin, inputs, options, progress
      )
  return {probe: results[probe] for probe in templates.PROBES}


def _skipped(why: str) -> dict[str, Any]:
  return {
    "status": f"skipped: {why}",
    "counts": {},
    "fingerprint": None,
    "leak": None,
  }


def _result(metadata: Mapping[str, Any]) -> dict[str, Any]:
  return {
    "status": "built",
    "counts": metadata["counts"],
    "fingerprint": metadata["fingerprint"],
    "leak": metadata["leak"],
  }


def _origin(
  probe: str, options: ProbeOptions, available: Mapping[str, str]
) -> dict[str, Any]:
  """What a probe set is made from, and the fingerprint of that."""
  # The dialogues make no probe, but its leak share comes from them.
  names = [*SOURCES[probe], DIALOGUES]
  origin = {
    "options": dataclasses.asdict(options),
    "sources": {name: available.get(name) for name in names},
  }
  identity = {"probe": probe, "version": str(T5crProbes.VERSION), **origin}
  text = json.dumps(identity, sort_keys=True)
  return {**origin, "fingerprint": hashlib.sha256(text.encode()).hexdigest()}


def _read(
  data_dir: str,
  wanted: Mapping[str, Any],
  available: Mapping[str, str],
  options: ProbeOptions,
  progress: Progress | None,
) -> _Inputs:
  """Reads what the wanted probes need."""
  needed = {name for probe in wanted for name in SOURCES[probe]}
  runs = sources.read_runs(data_dir, progress)
  if progress:
    progress("count co-occurrences", 0, len(runs.lengths), "runs")
  world = worlds.probed_world(runs, options)
  if progress:
    progress(
      "count co-occurrences", len(runs.lengths), len(runs.lengths), "runs"
    )
  tags = sentences = named = None
  if TAGS in needed:
    tags = sources.read_tags(data_dir, world.titles, progress)
  if REVIEWS in needed:
    sentences = sources.read_sentences(
      data_dir,
      world.titles,
      reviews_per_movie=options.reviews_per_movie,
      sentences_per_review=options.sentences_per_review,
      progress=progress,
    )
  if DIALOGUES in available:
    named = leaks.read(
      sources.read_dialogues(data_dir, progress),
      world.titles,
      tags.names if tags else (),
      sentences.texts if sentences else (),
      sentences.movie.tolist() if sentences else (),
      progress=progress,
    )
  return _Inputs(world, tags, sentences, named)


def _build_one(
  data_dir: str,
  probe: str,
  origin: Mapping[str, Any],
  inputs: _Inputs,
  options: ProbeOptions,
  progress: Progress | None,
) -> dict[str, Any]:
  """Makes and writes one probe set."""
  world = inputs.world
  probes, counts = worlds.make_probes(
    probe, world, options, tags=inputs.tags, sentences=inputs.sentences
  )
  if not len(probes):
    return _skipped(
      f"of {counts['probes']['read']} possible probes about"
      f" {len(world.titles)} movies none has an admissible negative among the"
      f" {len(world.popular)} popular ones"
    )
  leak = None
  if inputs.named is not None:
    leak = leaks.share(
      leaks.is_named(probe, probes, inputs.named, len(world.titles))
    )
  metadata = {**origin, "counts": counts, "leak": leak}
  table = Table(
    probe=probe,
    template=options.template,
    probes=probes,
    titles=world.titles,
    tags=inputs.tags.names if inputs.tags else (),
    sentences=inputs.sentences.texts if inputs.sentences else (),
  )
  _write(data_dir, table, metadata, progress)
  return _result(metadata)


def _write(
  data_dir: str,
  table: Table,
  metadata: dict[str, Any],
  progress: Progress | None,
) -> None:
  """Writes a probe set beside the one that stands, then puts it in place."""
  tfds.disable_progress_bar()
  with tempfile.TemporaryDirectory(
    prefix=".probes-", dir=data_dir
  ) as temporary:
    builder = T5crProbes(
      table=table,
      metadata=metadata,
      progress=progress,
      data_dir=temporary,
      config=table.probe,
    )
    builder.download_and_prepare()
    written = pathlib.Path(builder.data_dir)
    final = pathlib.Path(data_dir) / written.relative_to(temporary)
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():
      shutil.move(final, pathlib.Path(temporary) / "replaced")
    written.rename(final)
