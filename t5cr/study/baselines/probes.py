"""Scores the candidates of a probe set, and writes them as an evaluation."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from t5cr.progress import Progress
from t5cr.study import variants

# Records that are read, and that are scored, at once.
_READ, _SCORE = 4096, 65536
_IDENTITY = ("probe_id", "candidate", "template")


@dataclasses.dataclass(frozen=True)
class Candidates:
  """What records of a probe set ask, as columns of one length.

  Attributes:
    probe: which kind of probe.
    movie: title of the movie asked about, "" for the attribute probe.
    candidate: title of the movie that is scored; for the description probe
      the movie that the question is about.
    tag: the tag asked for, "" where there is none.
  """

  probe: str
  movie: Sequence[str]
  candidate: Sequence[str]
  tag: Sequence[str]

  def take(self, rows: slice) -> "Candidates":
    """Some of the records."""
    columns = (self.movie, self.candidate, self.tag)
    return Candidates(self.probe, *(column[rows] for column in columns))


# Higher is better; only the order within a probe counts.
Score = Callable[[Candidates], Float[np.ndarray, " records"]]


@dataclasses.dataclass(frozen=True)
class ProbeSet:
  """The records of a probe set, read once for all baselines.

  Attributes:
    asked: what they ask.
    heads: the JSON line of each in an evaluation, up to its score.
    identities: what the metrics need of each.
    metric_fns: the metrics of the task.
  """

  asked: Candidates
  heads: Sequence[str]
  identities: Sequence[Mapping[str, Any]]
  metric_fns: Sequence[Callable[..., Mapping[str, float]]]


def read(
  probe: str, data_dir: str, progress: Progress | None = None
) -> ProbeSet:
  """Reads a probe set.

  Raises:
    DataError: it is not built.
  """
  from t5cr_tasks import sources, tasks

  spec = tasks.TASKS[variants.PROBE_TASK_PREFIX + probe]
  source = sources.BuiltDataSource(spec.tfds_name, spec.splits, data_dir)
  total = source.num_input_examples("validation")
  movies, candidates, tags, heads, identities = [], [], [], [], []
  for inputs, targets in _batches(spec, data_dir):
    for text, target in zip(inputs, targets, strict=True):
      side = ("related", "negative")[target["candidate"]]
      # Few titles stand for many records.
      movies.append(sys.intern(target["movie"]))
      candidates.append(sys.intern(target[side]))
      tags.append(sys.intern(target["tag"]))
      line = {"input": {"inputs_pretokenized": text}, "target": target}
      heads.append(json.dumps(line).removesuffix("}"))
      identities.append({name: target[name] for name in _IDENTITY})
    if progress:
      progress(f"read {probe} probes", len(heads), total, "records")
  asked = Candidates(probe, movies, candidates, tags)
  return ProbeSet(asked, heads, identities, spec.metric_fns)


def _batches(
  spec: Any, data_dir: str
) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
  """Batches of a probe task: (inputs, what the postprocessor makes)."""
  dataset = spec.examples("validation", data_dir).batch(_READ)
  for batch in dataset.as_numpy_iterator():
    inputs = [text.decode() for text in batch["inputs"]]
    names = [name for name in batch if name not in ("inputs", "targets")]
    columns = (batch[name].tolist() for name in names)
    targets = []
    for values in zip(*columns, strict=True):
      # A baseline has no vocabulary, so it knows no number of tokens.
      example = {"targets": (), **dict(zip(names, values, strict=True))}
      target = spec.postprocess("", example, is_target=True)
      target.pop("target_tokens", None)
      targets.append(target)
    yield inputs, targets


def measure(
  probes: ProbeSet,
  score: Score,
  write: Callable[[str], object],
  progress: Progress | None = None,
) -> dict[str, float]:
  """Scores the candidates of a probe set.

  Args:
    probes: the probe set.
    score: scores candidates.
    write: takes each line of the evaluation.
    progress: told of the records.

  Returns:
    The metrics that the task has.
  """
  scores: list[float] = []
  total = len(probes.heads)
  for start in range(0, total, _SCORE):
    rows = slice(start, start + _SCORE)
    values = score(probes.asked.take(rows)).tolist()
    for head, value in zip(probes.heads[rows], values, strict=True):
      write(f'{head}, "score": {json.dumps(value)}}}\n')
    scores += values
    if progress:
      stage = f"score {probes.asked.probe} probes"
      progress(stage, len(scores), total, "records")
  metrics: dict[str, float] = {}
  for metric in probes.metric_fns:
    metrics |= metric(probes.identities, scores)
  return metrics
