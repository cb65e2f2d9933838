"""What evaluation reads and writes through seqio."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf
from absl import logging
from etils import epath

from t5cr import nested
from t5cr.engine.feed.names import check_split
from t5cr.engine.feed.tensorboard import TensorBoardLogger

_INPUTS, _TARGETS = "inputs", "targets"


def _tokens(rows: np.ndarray) -> list[list[int]]:
  """Rows without their padding."""
  lengths = np.count_nonzero(rows, axis=1)
  return [
    row[:length].tolist() for row, length in zip(rows, lengths, strict=True)
  ]


@dataclasses.dataclass(frozen=True)
class Examples:
  """Examples as token lists, in one order.

  Attributes:
    indices: number of each example in its data set.
    inputs: token ids without padding.
    targets: token ids without padding.
  """

  indices: list[int]
  inputs: list[list[int]]
  targets: list[list[int]]


def examples(enumerated: tf.data.Dataset) -> Examples:
  """Reads the enumerated examples that `seqio.Evaluator` hands over."""
  tokens = enumerated.map(lambda i, each: (i, each[_INPUTS], each[_TARGETS]))
  found = Examples([], [], [])
  for indices, inputs, targets in tokens.padded_batch(256).as_numpy_iterator():
    found.indices.extend(indices.tolist())
    found.inputs.extend(_tokens(inputs))
    found.targets.extend(_tokens(targets))
  return found


class JSONLogger(seqio.JSONLogger):
  """seqio's JSONL files, each written under a temporary name and renamed.

  The predictions are there before the line of metrics that counts them, and a
  step that is evaluated again replaces its line.
  """

  def __call__(self, task_name, step, metrics, dataset, inferences, targets):
    """Writes `<task>-<step>.jsonl`, then `<task>-metrics.jsonl`."""
    folder = epath.Path(self.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".{task_name}.tmp"
    if scratch.exists():
      scratch.rmtree()
    scratch.mkdir()
    inner = seqio.JSONLogger(
      str(scratch), self._write_n_results, self._json_encoder_cls
    )
    inner(
      task_name=task_name,
      step=step,
      metrics=metrics,
      dataset=dataset,
      inferences=inferences,
      targets=targets,
    )
    summary = f"{task_name}-metrics.jsonl"
    for path in scratch.iterdir():
      if path.name != summary:
        path.replace(folder / path.name)
    if (scratch / summary).exists():
      (new,) = (scratch / summary).read_text().splitlines()
      before = folder / summary
      known = before.read_bytes() if before.exists() else b""
      kept = [
        line
        for line, record in nested.load_lines(known)
        if record.get("step") != step
      ]
      (scratch / summary).write_text("\n".join([*kept, new]) + "\n")
      (scratch / summary).replace(folder / summary)
    scratch.rmtree()


class _Unconverted(seqio.EncDecFeatureConverter):
  """Leaves examples as they are: the engine pads them as little as it can."""

  def __call__(self, ds, task_feature_lengths):
    """The examples; their features are trimmed already."""
    del task_feature_lengths
    return ds


def evaluator(
  task_name: str,
  *,
  output_dir: str | os.PathLike | None,
  task_feature_lengths: Mapping[str, int],
  split: str,
  num_examples: int | None = None,
  use_cached: bool = False,
  seed: int = 42,
) -> seqio.Evaluator:
  """A `seqio.Evaluator` of one Task that logs to JSONL and TensorBoard.

  Args:
    task_name: a registered Task.
    output_dir: where the loggers write; None writes nothing.
    task_feature_lengths: longer text is truncated.
    split: to evaluate on.
    num_examples: only the first so many; None for all.
    use_cached: read what seqio's caching wrote.
    seed: of sampling preprocessors, if any.

  Returns:
    The evaluator, its examples read.
  """
  loggers = (JSONLogger, TensorBoardLogger) if output_dir else ()
  with _quiet():
    return seqio.Evaluator(
      task_name,
      _Unconverted(pack=False),
      eval_split=split,
      use_cached=use_cached,
      seed=seed,
      sequence_length=dict(task_feature_lengths),
      num_examples=num_examples,
      logger_cls=loggers,
      log_dir=str(output_dir) if output_dir else None,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without warnings: seqio's are of padding, which the engine takes off."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)


def records(
  task_name: str,
  *,
  task_feature_lengths: Mapping[str, int],
  split: str,
  num_examples: int | None = None,
  use_cached: bool = False,
  seed: int = 42,
) -> tuple[list[dict[str, Any]], Examples]:
  """Examples of a Task with their text and whatever else they carry.

  Args:
    task_name: a registered Task.
    task_feature_lengths: longer text is truncated.
    split: to read.
    num_examples: only the first so many; None for all.
    use_cached: read what seqio's caching wrote.
    seed: of sampling preprocessors, if any.

  Returns:
    (fields of each example that are not tokens, the tokens), in the order of
    the data set.

  Raises:
    UsageError: the name is unknown, its data missing, or it has no such split.
  """
  check_split(task_name, split)
  task = seqio.TaskRegistry.get(task_name)
  dataset = task.get_dataset(
    sequence_length=dict(task_feature_lengths),
    split=split,
    shuffle=False,
    num_epochs=1,
    seed=seed,
    use_cached=use_cached,
  )
  dataset = dataset if num_examples is None else dataset.take(num_examples)
  fields: list[dict[str, Any]] = []
  tokens = Examples([], [], [])
  for index, example in enumerate(_numpy(dataset)):
    tokens.indices.append(index)
    tokens.inputs.append(example[_INPUTS].tolist())
    tokens.targets.append(example[_TARGETS].tolist())
    fields.append(
      {
        name: _plain(value)
        for name, value in example.items()
        if name not in task.output_features
      }
    )
  return fields, tokens


def _numpy(dataset: tf.data.Dataset) -> Iterator[dict[str, Any]]:
  for example in dataset:
    yield {
      name: value.to_list()
      if isinstance(value, tf.RaggedTensor)
      else value.numpy()
      for name, value in example.items()
    }


def _plain(value: Any) -> Any:
  """A value as JSON has it."""
  if isinstance(value, bytes):
    return value.decode("utf-8", errors="replace")
  if isinstance(value, (np.ndarray, np.generic)):
    return _plain(value.tolist())
  if isinstance(value, list):
    return [_plain(item) for item in value]
  return value


def detokenize(task_name: str, tokens: Sequence[Sequence[int]]) -> list[str]:
  """Token lists as text, cut at the end of sequence."""
  features = seqio.TaskRegistry.get(task_name).output_features
  vocabulary = features[_TARGETS].vocabulary
  return [vocabulary.decode(list(ids)) for ids in tokens]
