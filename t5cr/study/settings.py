"""What defines a study, and what can be wrong with it."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from t5cr import errors, nested
from t5cr.study import variants

SAMPLE = "sample"
PUBLISHED_FILES = (
  "redial/train_data.jsonl",
  "redial/test_data.jsonl",
  "redial/movies_with_mentions.csv",
  "movielens/movies.csv",
  "movielens/ratings.csv",
  "movielens/genome-tags.csv",
  "movielens/genome-scores.csv",
  "reviews/reviews.csv",
)
# A RAW folder without movielens/ may have the smaller edition instead.
_SMALL_EDITION = ("movielens/", "movielens_small/")


@dataclasses.dataclass(frozen=True)
class Settings:
  """What defines a study.

  Attributes:
    corpus: 'sample', or the folder of raw files.
    out: the study's folder.
    preset: a name of `variants.PRESETS`.
    rows: names of `variants.ROWS`; rows can be added later.
    seed: of the training; the corpus and the probes do not depend on it.
    steps: finetuning steps of each row, or None for the recipe's.
    max_bad_lines: malformed raw lines that each data set may leave out; can be
      changed until rows are trained.
  """

  corpus: str
  out: pathlib.Path
  preset: str
  rows: tuple[str, ...] = tuple(variants.ROWS)
  seed: int = 0
  steps: int | None = None
  max_bad_lines: int = 0

  def defining(self) -> dict[str, Any]:
    """What may not change within one folder, as JSON values."""
    corpus = self.corpus
    if corpus != SAMPLE:
      corpus = str(pathlib.Path(corpus).resolve())
    return {
      "corpus": corpus,
      "preset": self.preset,
      "seed": self.seed,
      "steps": self.steps,
    }


def check(settings: Settings) -> None:
  """Finds out what can be wrong before anything is made.

  Raises:
    UsageError: an unknown row or preset, a corpus that is not there, a folder
      that TensorFlow would misread.
  """
  # It holds data sets, which TensorFlow names in full.
  errors.check_folder("--out", settings.out.resolve())
  for name in settings.rows:
    if name not in variants.ROWS:
      raise errors.UsageError(
        f"--rows {name!r} is no row of Table 3. The rows are "
        f"{', '.join(variants.ROWS)}."
      )
  if settings.preset not in variants.PRESETS:
    raise errors.UsageError(
      f"--preset {settings.preset!r} is unknown. The presets are "
      f"{', '.join(variants.PRESETS)}."
    )
  if settings.steps is not None and settings.steps < 1:
    raise errors.UsageError(f"--steps {settings.steps} is not above 0.")
  if settings.corpus == SAMPLE:
    return
  if not pathlib.Path(settings.corpus).is_dir():
    raise errors.UsageError(
      f"--corpus {settings.corpus} is no folder. Give the folder that holds "
      "redial/, movielens/ and reviews/, or the word 'sample' for the invented "
      "corpus."
    )
  if not raw_files(pathlib.Path(settings.corpus)):
    raise errors.UsageError(
      f"--corpus {settings.corpus} holds none of the raw files; looked for "
      f"{', '.join(PUBLISHED_FILES)}."
    )


def raw_files(raw_dir: pathlib.Path) -> dict[str, pathlib.Path]:
  """The raw files that are there: name within the folder -> path."""
  small = [name.replace(*_SMALL_EDITION) for name in PUBLISHED_FILES]
  names = dict.fromkeys([*PUBLISHED_FILES, *small])
  return {name: raw_dir / name for name in names if (raw_dir / name).is_file()}


def is_built(entry: Mapping[str, Any]) -> bool:
  """Whether the record of a data set or probe set says that it is there."""
  return not entry["status"].startswith("skipped")


def fingerprints(records: Mapping[str, Any]) -> dict[str, str]:
  """The fingerprints of the sets that are there: name -> sha256."""
  return {
    name: entry["fingerprint"]
    for name, entry in records.items()
    if is_built(entry)
  }


def check_standing(data_dir: pathlib.Path, records: Mapping[str, Any]) -> None:
  """The sets on disk are those that the study recorded.

  Args:
    data_dir: TFDS data directory of the study.
    records: name within it -> record of the set.

  Raises:
    UsageError: another one has taken a set's place.
  """
  for name, recorded in fingerprints(records).items():
    written = (data_dir / name).glob("*/metadata.json")
    found = {value for path in written if (value := _fingerprint(path))}
    if found and recorded not in found:
      raise errors.UsageError(
        f"{data_dir / name} is not the set that this study was made from: its "
        f"fingerprint is {', '.join(found)} and was {recorded}. Remove that "
        "folder, and the same command builds it again."
      )


def _fingerprint(metadata: pathlib.Path) -> str | None:
  """What a set says it is; None if that is damaged, which `mend` sees to."""
  try:
    value = nested.load_object(metadata.read_bytes()).get("fingerprint")
  except ValueError:
    return None
  return value if isinstance(value, str) else None
