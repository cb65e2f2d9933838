"""Makes the probe sets of a data directory from its other data sets."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from t5cr_tasks import folders
from t5cr_tasks.datasets import build as datasets_build
from t5cr_tasks.datasets.base import Progress
from t5cr_tasks.datasets.probes import T5crProbes, Table
from t5cr_tasks.errors import DataError
from t5cr_tasks.pipelines.runner import Runner
from t5cr_tasks.probes import candidates, leaks, sources, templates, worlds
from t5cr_tasks.probes.candidates import Probes
from t5cr_tasks.probes.sources import (
  DIALOGUES,
  REVIEWS,
  SEQUENCES,
  TAGS,
  Sentences,
  Tags,
)
from t5cr_tasks.probes.worlds import ProbeOptions, World
from t5cr_tasks.raw.counts import Tallies

# The data sets that each probe is made from (Table 4, "MovieLens Data Source").
SOURCES = {
  "recommendation": (SEQUENCES,),
  "attribute": (SEQUENCES, TAGS),
  "combination": (SEQUENCES, TAGS),
  "description": (SEQUENCES, REVIEWS),
  "recommendation_sequence": (SEQUENCES,),
}
# Probe set -> the probe that it is of.
SETS = {probe: probe for probe in templates.PROBES} | templates.PHRASED


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
  runner: Runner | None = None,
  **changes: Any,
) -> dict[str, dict[str, Any]]:
  """Writes the probe sets whose sources are in a data directory.

  A set whose options and sources did not change is left as it is.

  Args:
    data_dir: TFDS data directory; it holds the sources and gets the probes.
    options: how the probes are made; the paper's way by default.
    progress: called as progress(stage, done, total, unit).
    runner: a Beam runner; the files are the same.
    **changes: options by name, such as `min_count=10` or `template='short'`.

  Returns:
    For each of SETS {"status": "built" or "skipped: <why>", "counts": what was
    read, kept and dropped, "fingerprint": hex, "leak": {"pairs", "named",
    "share"}}, kept in the metadata of the data set too. "leak" is None where
    there are no training dialogues to search; a skipped set has no counts and
    no fingerprint.

  Raises:
    DataError: an option makes no sense, the sequences are missing, too few
      movies are over the threshold, or another build is writing there.
  """
  options = dataclasses.replace(options or ProbeOptions(), **changes)
  directory = os.fspath(data_dir)
  available = datasets_build.available(directory)
  if SEQUENCES not in available:
    raise DataError(
      f"{directory} has no data set {SEQUENCES}, which all probes are made"
      " from. Build it first with `t5cr data build`, from ratings of MovieLens."
    )
  with folders.sole_writer(directory):
    # Anew, for a build that has just ended may have changed them.
    available = datasets_build.available(directory)
    return _build_all(directory, available, options, progress, runner)


def _build_all(
  directory: str,
  available: Mapping[str, str],
  options: ProbeOptions,
  progress: Progress | None,
  runner: Runner | None,
) -> dict[str, dict[str, Any]]:
  """`build`, once it may."""
  results: dict[str, dict[str, Any]] = {}
  # Probe -> the sets of it that are to be built -> what they are made from.
  wanted: dict[str, dict[str, dict[str, Any]]] = {}
  for name, probe in SETS.items():
    missing = [source for source in SOURCES[probe] if source not in available]
    if missing:
      results[name] = _skipped(f"{missing[0]} is not in {directory}")
      continue
    if name in templates.PHRASED and not options.phrased_probes:
      results[name] = _skipped("phrased_probes is 0")
      continue
    origin = _origin(name, options, available)
    if available.get(f"{T5crProbes.name}/{name}") == origin["fingerprint"]:
      standing = T5crProbes(data_dir=directory, config=name)
      results[name] = _result(standing.info.metadata or {})
    else:
      wanted.setdefault(probe, {})[name] = origin
  if wanted:
    inputs = _read(directory, wanted, available, options, progress, runner)
    for probe, origins in wanted.items():
      results |= _build_sets(
        directory, probe, origins, inputs, options, progress, runner
      )
  return {name: results[name] for name in SETS}


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


def _phrasings(name: str, options: ProbeOptions) -> tuple[str, ...]:
  """The phrasings of a probe set."""
  return templates.NAMES if name in templates.PHRASED else (options.template,)


def _origin(
  name: str, options: ProbeOptions, available: Mapping[str, str]
) -> dict[str, Any]:
  """What a probe set is made from, and the fingerprint of that."""
  chosen = dataclasses.asdict(options)
  # Only what the set depends on, so that another phrasing leaves the rest.
  del chosen["template" if name in templates.PHRASED else "phrased_probes"]
  # The dialogues make no probe, but its leak share comes from them.
  names = [*SOURCES[SETS[name]], DIALOGUES]
  origin = {
    "options": chosen,
    "sources": {name: available.get(name) for name in names},
  }
  words = {
    phrasing: dataclasses.astuple(templates.find(SETS[name], phrasing))
    for phrasing in _phrasings(name, options)
  }
  identity = {
    "probe": name,
    "version": str(T5crProbes.VERSION),
    "templates": words,
    **origin,
  }
  text = json.dumps(identity, sort_keys=True)
  return {**origin, "fingerprint": hashlib.sha256(text.encode()).hexdigest()}


def _read(
  data_dir: str,
  wanted: Mapping[str, Any],
  available: Mapping[str, str],
  options: ProbeOptions,
  progress: Progress | None,
  runner: Runner | None,
) -> _Inputs:
  """Reads what the wanted probes need."""
  needed = {name for probe in wanted for name in SOURCES[probe]}
  world = _world(data_dir, options, progress, runner)
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


def _world(
  data_dir: str,
  options: ProbeOptions,
  progress: Progress | None,
  runner: Runner | None,
) -> World:
  """The movies that are probed."""
  stage = "count co-occurrences"
  if runner:
    from t5cr_tasks.pipelines import cooccurrence

    if progress:
      progress(stage, 0, None, "runs")
    return cooccurrence.probed_world(data_dir, options, runner)
  runs = sources.read_runs(data_dir, progress)
  if progress:
    progress(stage, 0, len(runs.lengths), "runs")
  world = worlds.probed_world(runs, options)
  if progress:
    progress(stage, len(runs.lengths), len(runs.lengths), "runs")
  return world


def _build_sets(
  data_dir: str,
  probe: str,
  origins: Mapping[str, Mapping[str, Any]],
  inputs: _Inputs,
  options: ProbeOptions,
  progress: Progress | None,
  runner: Runner | None,
) -> dict[str, dict[str, Any]]:
  """Makes the probes of one kind, and writes the sets of them."""
  world = inputs.world
  probes, counts = worlds.make_probes(
    probe, world, options, tags=inputs.tags, sentences=inputs.sentences
  )
  if not len(probes):
    skipped = _skipped(
      f"of {counts['probes']['read']} possible probes about"
      f" {len(world.titles)} movies none has an admissible negative among the"
      f" {len(world.popular)} popular ones"
    )
    return dict.fromkeys(origins, skipped)
  results = {}
  for name, origin in origins.items():
    chosen, tallies = probes, counts
    if name in templates.PHRASED:
      chosen, tallies = _phrased(probe, probes, options)
    named = np.full(len(chosen), -1)
    leak = None
    if inputs.named is not None:
      named = leaks.is_named(probe, chosen, inputs.named, len(world.titles))
      leak = leaks.share(named)
    metadata = {**origin, "counts": tallies, "leak": leak}
    table = Table(
      probe=probe,
      phrasings=_phrasings(name, options),
      probes=chosen,
      titles=world.titles,
      decile=_deciles(world, chosen),
      named=named.astype(np.int32),
      tags=inputs.tags.names if inputs.tags else (),
      sentences=inputs.sentences.texts if inputs.sentences else (),
    )
    _write(data_dir, name, table, metadata, progress, runner)
    results[name] = _result(metadata)
  return results


def _phrased(
  probe: str, probes: Probes, options: ProbeOptions
) -> tuple[Probes, dict[str, Any]]:
  """The probes that are asked in every phrasing, and the count of them."""
  # Another stream than that of the negatives, so that these are the same ones
  # whatever this draws.
  rng = np.random.default_rng(
    [options.seed, templates.PROBES.index(probe), len(templates.PROBES)]
  )
  chosen = candidates.subset(probes, options.phrased_probes, rng)
  tallies = Tallies()
  tallies["probes"].keep(len(chosen))
  tallies["probes"].drop("over phrased_probes", len(probes) - len(chosen))
  tallies["probes"].note("phrasings", len(templates.NAMES))
  return chosen, tallies.to_dict()


def _deciles(world: World, probes: Probes) -> np.ndarray:
  """[probes] the tenth of the popular movies that each negative is from."""
  place = np.zeros(len(world.titles), np.int64)
  place[world.popular] = np.arange(len(world.popular))
  return place[probes.negative] * 10 // len(world.popular) + 1


def _write(
  data_dir: str,
  name: str,
  table: Table,
  metadata: dict[str, Any],
  progress: Progress | None,
  runner: Runner | None,
) -> None:
  """Writes a probe set beside the one that stands, then puts it in place."""
  tfds.disable_progress_bar()
  with folders.workshop(data_dir, folders.BUILDING) as temporary:
    builder_class = runner.builder(T5crProbes) if runner else T5crProbes
    builder = builder_class(
      table=table,
      metadata=metadata,
      progress=progress,
      data_dir=temporary,
      config=name,
    )
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(
        beam_options=runner and runner.pipeline_options()
      )
    )
    final = builder_class(data_dir=data_dir, config=name)
    folders.put(builder.data_path, final.data_path, temporary)
