"""What a report of several folders is made of, and whether that goes together.

A folder is a study, a run of either engine, or what an evaluation or an
inference of either engine wrote.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from t5cr import errors
from t5cr.study import collect, stages, variants

# What only this engine leaves in its folders: of a run, of results of a run.
_OURS = ("run.json", "results_of.json")
# What only t5x leaves in its own.
_UPSTREAMS = "model-info.txt"

_PROBE_FIELDS = (
  "probe_id",
  "candidate",
  "rank",
  "tag",
  "movie",
  "related",
  "negative",
)
_DIALOGUE_FIELDS = ("dialogue_id", "turn", "text", "recommended")


@dataclasses.dataclass(frozen=True)
class Source:
  """A folder to report.

  Attributes:
    path: the folder.
    name: of its row; None for the folder's own name.
  """

  path: pathlib.Path
  name: str | None = None

  @property
  def is_study(self) -> bool:
    """Whether `t5cr reproduce` made the folder."""
    return (self.path / "study.json").exists()


def parse(argument: str) -> Source:
  """Reads `FOLDER` or `NAME=FOLDER`.

  Raises:
    UsageError: the name is empty, or is given to a study, whose rows have
      names.
  """
  path = pathlib.Path(argument)
  name, equals, folder = argument.partition("=")
  if not equals or path.exists():
    return Source(path)
  source = Source(pathlib.Path(folder), name)
  if not name or not folder:
    raise errors.UsageError(f"{argument!r} is no NAME=FOLDER.")
  if source.is_study:
    raise errors.UsageError(
      f"{argument!r} names a study, and the rows of a study have names: give "
      f"{folder} alone, or one of {folder}/rows."
    )
  return source


def engine(run: collect.Run) -> str | None:
  """The engine that wrote a folder's results.

  Returns:
    't5cr' or 't5x'; None where the folder holds nothing that tells.
  """
  if any((run.directory / name).exists() for name in _OURS):
    return run.about.get("engine", "t5cr")
  return "t5x" if (run.directory / _UPSTREAMS).exists() else None


def data(run: collect.Run) -> dict[str, str] | None:
  """Data set -> fingerprint of what a run was trained and measured on.

  Returns:
    None where that is not known: t5x does not record it.
  """
  results = stages.read_object(run.directory / "results_of.json")
  recorded = run.about.get("data")
  if results:
    recorded = {**results.get("trained_on", {}), **results.get("data", {})}
  if not isinstance(recorded, Mapping):
    recorded = run.about.get("settings", {}).get("data")
  if not recorded:
    return None
  # `t5cr_redial:1.0.0`; the vocabulary is no data that figures are taken from.
  return {
    name.partition(":")[0]: value
    for name, value in sorted(recorded.items())
    if name != "vocabulary"
  }


def examples(run: collect.Run) -> dict[str, str]:
  """What a run was measured on, so that two runs can be told to be paired.

  Returns:
    'dialogue' or probe -> sha256 over the examples' inputs and targets,
    whatever their order and the engine; what has no outputs is left out.
  """
  tasks = {"dialogue": variants.DIALOGUE_TASK}
  phrased = [probe + variants.PHRASINGS for probe in variants.PROBES]
  for probe in (*variants.PROBES, variants.SEQUENCE_PROBE, *phrased):
    tasks[probe] = variants.PROBE_TASK_PREFIX + probe
  found = {}
  for name, task in tasks.items():
    fields = _DIALOGUE_FIELDS if name == "dialogue" else _PROBE_FIELDS
    lines = run.outputs(task)
    if not lines:
      continue
    keys = [
      [line["context"], *(line["target"].get(field) for field in fields)]
      for line in lines
    ]
    text = "\n".join(sorted(map(json.dumps, keys)))
    found[name] = hashlib.sha256(text.encode()).hexdigest()
  return found


def check_names(runs: Sequence[collect.Run]) -> None:
  """Rows of one report have different names.

  Raises:
    UsageError: two runs have the same.
  """
  seen: dict[str, collect.Run] = {}
  for run in runs:
    other = seen.setdefault(run.name, run)
    if other is not run:
      raise errors.UsageError(
        f"{other.directory} and {run.directory} would both be the row "
        f"{run.name!r}. Name one of them: NAME={run.directory}."
      )


def check_same_data(
  rows: Sequence[Mapping[str, Any]], runs: Sequence[collect.Run]
) -> None:
  """Rows of one report are of the same data.

  Args:
    rows: of the report.
    runs: what each was made of.

  Raises:
    UsageError: two are of different editions of a data set, or were measured
      on different examples; names the folders.
  """
  for field, words in (
    ("data", "are of different data"),
    ("examples", "were measured on different examples"),
  ):
    seen: dict[str, tuple[str, collect.Run]] = {}
    for row, run in zip(rows, runs, strict=True):
      for name, digest in (row[field] or {}).items():
        before, other = seen.setdefault(name, (digest, run))
        if before != digest:
          raise errors.UsageError(
            f"{other.directory} and {run.directory} {words} ({name}), so they "
            "cannot be rows of one report. Report each alone; `t5cr report "
            f"{run.directory} --against {other.directory}` compares the two."
          )
