"""What tasks and mixtures look like: lists, and real examples of each."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow_datasets as tfds
from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from t5cr_tasks import mixtures, tasks
from t5cr_tasks.errors import DataError

# Examples whose lengths are measured. Enough for stable figures, and few
# enough that a big data set answers in seconds.
MEASURED_EXAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Lengths:
  """Lengths of one feature in tokens, EOS included, before truncation.

  Attributes:
    feature: `inputs` or `targets`.
    limit: the length that longer examples are truncated to.
    lengths: int [examples].
  """

  feature: str
  limit: int
  lengths: np.ndarray

  @property
  def truncated(self) -> int:
    """How many examples are longer than the limit."""
    return int(np.sum(self.lengths > self.limit))


def overview() -> Table:
  """A table of the project's Tasks and Mixtures."""
  table = Table(box=box.SIMPLE_HEAD)
  for column in ("name", "kind", "splits", "what it is"):
    table.add_column(column, no_wrap=column == "name")
  for spec in tasks.TASKS.values():
    table.add_row(spec.name, "task", ", ".join(spec.splits), spec.summary)
  for name, members in mixtures.MIXTURES.items():
    # A mixture is read in the splits that all of its tasks have.
    splits = [
      split
      for split in tasks.TASKS[members[0]].splits
      if all(split in tasks.TASKS[member].splits for member in members)
    ]
    short = (member.removeprefix("t5cr_") for member in members)
    table.add_row(name, "mixture", ", ".join(splits), " + ".join(short))
  return table


def describe(
  name: str,
  split: str | None = None,
  num_examples: int = 3,
  feature_lengths: Mapping[str, int] | None = None,
) -> RenderableType:
  """Real examples of a Task or Mixture, as text and tokens, with lengths.

  Args:
    name: a registered Task or Mixture.
    split: None for the first split that each task has.
    num_examples: how many examples of each task to show.
    feature_lengths: the lengths in tokens that a run would truncate to; None
      for the paper's, 512 and 128.

  Returns:
    Something that rich prints.

  Raises:
    DataError: no such task, mixture or split, or its data is not built.
  """
  limits = {**tasks.FEATURE_LENGTHS, **(feature_lengths or {})}
  members = seqio.get_subtasks(_find(name))
  return Group(
    *(_describe_task(task, split, num_examples, limits) for task in members)
  )


def measure(
  examples: Sequence[Mapping[str, np.ndarray]],
  feature_lengths: Mapping[str, int],
) -> list[Lengths]:
  """Lengths of tokenized examples against the limits of a run.

  Args:
    examples: not truncated, with token ids for each feature.
    feature_lengths: the limit in tokens of each feature.

  Returns:
    The lengths of each feature.
  """
  return [
    Lengths(
      feature, limit, np.array([len(example[feature]) for example in examples])
    )
    for feature, limit in feature_lengths.items()
  ]


def _find(name: str) -> seqio.Task | seqio.Mixture:
  known = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
  if name in known:
    return seqio.get_mixture_or_task(name)
  near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
  hint = f" The nearest are {', '.join(near)}." if near else ""
  raise DataError(
    f"There is no task or mixture {name!r}.{hint} `t5cr tasks list` lists all."
  )


def _describe_task(
  task: seqio.Task,
  split: str | None,
  num_examples: int,
  limits: Mapping[str, int],
) -> RenderableType:
  split = split or list(task.splits)[0]
  if split not in task.splits:
    raise DataError(
      f"The task {task.name} has no split {split!r}; it has"
      f" {', '.join(task.splits)}."
    )
  # Where it cannot be read, seqio would say so from inside a traced function.
  for feature in task.output_features.values():
    if isinstance(feature.vocabulary, seqio.SentencePieceVocabulary):
      feature.vocabulary.load_model()
  dataset = task.get_dataset(
    split=split, shuffle=False, seed=0, try_in_mem_cache=False
  )
  count = max(num_examples, MEASURED_EXAMPLES)
  examples = list(tfds.as_numpy(dataset.take(count)))
  shown = [
    _example_table(task, example, limits) for example in examples[:num_examples]
  ]
  return Panel(
    Group(*shown, _length_table(measure(examples, limits))),
    title=Text(f"{task.name}, {split}"),
  )


def _example_table(
  task: seqio.Task,
  example: Mapping[str, Any],
  limits: Mapping[str, int],
) -> Table:
  """One example: text, pieces and length of each feature, other fields."""
  table = Table(box=box.SIMPLE, show_header=False)
  table.add_column(style="bold", no_wrap=True)
  table.add_column(overflow="fold")
  for name, feature in task.output_features.items():
    ids, limit = example[name], limits[name]
    cut = f", truncated to {limit}" if len(ids) > limit else ""
    text = example[f"{name}_pretokenized"].decode("utf-8")
    table.add_row(name, Text(text))
    table.add_row(
      f"  {len(ids)} tokens{cut}",
      Text(" ".join(_pieces(feature.vocabulary, ids)), style="dim"),
    )
  for name, value in example.items():
    if name.removesuffix("_pretokenized") not in task.output_features:
      table.add_row(f"  {name}", Text(_plain(value), style="dim"))
  return table


def _pieces(vocabulary: seqio.Vocabulary, ids: np.ndarray) -> list[str]:
  if isinstance(vocabulary, seqio.SentencePieceVocabulary):
    return vocabulary.tokenizer.IdToPiece(ids.tolist())
  return [str(token) for token in ids]


def _plain(value: np.ndarray | bytes) -> str:
  items = np.asarray(value, object).reshape(-1).tolist()
  return ", ".join(
    item.decode("utf-8") if isinstance(item, bytes) else str(item)
    for item in items
  )


def _length_table(measured: list[Lengths]) -> Table:
  count = len(measured[0].lengths)
  table = Table(
    box=box.SIMPLE_HEAD, title=f"tokens in the first {count} examples"
  )
  for column in ("feature", "mean", "median", "longest", "limit", "truncated"):
    table.add_column(column, justify="left" if column == "feature" else "right")
  for feature in measured:
    if count:
      table.add_row(
        feature.feature,
        f"{feature.lengths.mean():.1f}",
        f"{np.median(feature.lengths):.0f}",
        str(feature.lengths.max()),
        str(feature.limit),
        f"{feature.truncated} ({feature.truncated / count:.1%})",
      )
  return table
