"""TFDS data set `t5cr_probes`: two records for each probe and phrasing.

The records are made by `t5cr_tasks.probes.build`, which hands a `Table` over;
without one the builder only reads what was written.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int

from t5cr_tasks import titles
from t5cr_tasks.datasets import base, writer
from t5cr_tasks.errors import DataError, InternalError
from t5cr_tasks.probes import templates
from t5cr_tasks.probes.candidates import Probes

# Records between two reports of progress.
_REPORT_EVERY = 1000

_DESCRIPTION = """\
Probe studies of a conversational recommender: each probe asks whether a related
movie is more likely than a popular one drawn at random. Two records a probe,
one after the other under one probe_id: candidate 0 is the related one,
candidate 1 the negative. A configuration PROBE_phrasings asks some of the very
same probes in every phrasing, which `template` names.
"""


@dataclasses.dataclass(frozen=True)
class Table:
  """What the records of one probe set are rendered from.

  Attributes:
    probe: which kind of probe, one of `templates.PROBES`.
    phrasings: names of the phrasings; all probes are asked in the first, then
      all in the next.
    probes: the probes, as indices into the texts below.
    titles: title of each movie.
    decile: [probes] which tenth of the popular movies the negative is from,
      from 1, the most frequent.
    named: [probes] 1 where the training dialogues name the pair, 0 where not,
      -1 where there are none to search.
    tags: the tags.
    sentences: sentences of reviews.
  """

  probe: str
  phrasings: Sequence[str]
  probes: Probes
  titles: Sequence[str]
  decile: Int[np.ndarray, " probes"]
  named: Int[np.ndarray, " probes"]
  tags: Sequence[str] = ()
  sentences: Sequence[str] = ()

  def __len__(self) -> int:
    """Number of records."""
    return 2 * len(self.probes) * len(self.phrasings)


def records(table: Table) -> Iterator[dict[str, Any]]:
  """The records of a probe set, both of a probe next to each other."""
  for name in table.phrasings:
    yield from _phrased(table, name)


def _phrased(table: Table, template: str) -> Iterator[dict[str, Any]]:
  """The records in one phrasing."""
  phrasing = templates.find(table.probe, template)
  swaps_input = table.probe == "description"

  def pick(texts: Sequence[str], index: int) -> str:
    return texts[index] if index >= 0 else ""

  columns = (
    getattr(table.probes, field.name).tolist()
    for field in dataclasses.fields(Probes)
  )
  strata = zip(table.decile.tolist(), table.named.tolist(), strict=True)
  for probe, (decile, named) in zip(
    zip(*columns, strict=True), strata, strict=True
  ):
    probe_id, movie, related, negative, tag, rank, sentence = probe
    shared = {
      "probe_id": probe_id,
      "movie": pick(table.titles, movie),
      "related": pick(table.titles, related),
      "negative": pick(table.titles, negative),
      "tag": pick(table.tags, tag),
      "rank": rank,
      "decile": decile,
      "named": named,
      "template": template,
    }
    said = pick(table.sentences, sentence)
    for candidate, title in enumerate((shared["related"], shared["negative"])):
      about = title if swaps_input else shared["movie"]
      words = {
        "movie": titles.mark_title(about),
        "candidate": titles.mark_title(title),
        "title": title,
        "tag": shared["tag"],
        "sentence": said,
      }
      yield {
        **shared,
        "candidate": candidate,
        "inputs": phrasing.inputs.format_map(words),
        "targets": phrasing.targets.format_map(words),
      }


class T5crProbes(writer.LeanBuilder):
  """Probe sets: one for each kind of probe, one for each with phrasings."""

  name = "t5cr_probes"
  VERSION = tfds.core.Version("1.1.0")
  RELEASE_NOTES = {
    "1.0.0": "First version.",
    "1.1.0": "Fields decile and named; sets with all phrasings.",
  }
  BUILDER_CONFIGS = [
    tfds.core.BuilderConfig(name=probe, description=f"The {probe} probe.")
    for probe in templates.PROBES
  ] + [
    tfds.core.BuilderConfig(
      name=name, description=f"Some of the {probe} probe, in every phrasing."
    )
    for name, probe in templates.PHRASED.items()
  ]

  def __init__(
    self,
    *,
    table: Table | None = None,
    metadata: dict[str, Any] | None = None,
    progress: base.Progress | None = None,
    **kwargs: Any,
  ):
    """A builder that writes `table`, or one that reads what was written.

    Args:
      table: what to write; None to read only.
      metadata: stored with the data set: fingerprint, options, sources,
        counts and leak.
      progress: called as progress(stage, done, total, unit).
      **kwargs: TFDS's own: data_dir, config, version.
    """
    self._table = table
    self._metadata = metadata or {}
    self._progress = progress
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=_DESCRIPTION,
      features=tfds.features.FeaturesDict(
        {
          "probe_id": np.int64,
          "candidate": np.int32,
          "inputs": tfds.features.Text(),
          "targets": tfds.features.Text(),
          "movie": tfds.features.Text(),
          "related": tfds.features.Text(),
          "negative": tfds.features.Text(),
          "tag": tfds.features.Text(),
          "rank": np.int32,
          "decile": np.int32,
          "named": np.int32,
          "template": tfds.features.Text(),
        }
      ),
      # The two records of a probe stay next to each other.
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(self._metadata),
    )

  def _log_download_bytes(self) -> None:
    """Says nothing: TFDS would print that it downloads, and it does not."""

  def _log_download_done(self) -> None:
    """Says nothing, as above; `progress` tells how far the build is."""

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    del dl_manager  # Nothing is downloaded.
    if self._table is None:
      raise DataError(
        f"The data set {self.info.full_name} is not in {self._data_dir_root}."
        " Probe sets are made from the other data sets: run `t5cr probes"
        " build --tfds_data_dir=DIR` first."
      )
    return {"validation": self._generate_examples(self._table)}

  def check_written(self, split: str, examples: int) -> None:
    """Raises InternalError unless all records were written."""
    if self._table is not None and examples != len(self._table):
      raise InternalError(
        f"{self.info.full_name}: {examples} of {len(self._table)} records were"
        " written. The data set was left out. This is a fault of t5cr: report"
        " it."
      )

  def _generate_examples(self, table: Table):
    config = cast(tfds.core.BuilderConfig, self.builder_config)
    stage = f"write {config.name} probes"
    for key, record in enumerate(records(table)):
      if self._progress and key % _REPORT_EVERY == 0:
        self._progress(stage, key, len(table), "records")
      yield key, record
    if self._progress:
      self._progress(stage, len(table), len(table), "records")
