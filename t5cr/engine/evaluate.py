"""Evaluation: tasks in, the files of seqio and t5x out.

`seqio.Evaluator` reads the examples and computes the metrics; the engine
decodes and scores them in length buckets, each example once.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from t5cr import errors, nested
from t5cr.engine import decode, processes, score
from t5cr.engine.config import T5Config
from t5cr.engine.vocabulary import EOS_ID
from t5cr.progress import Progress


@dataclasses.dataclass(frozen=True)
class EvalConfig:
  """How tasks are evaluated.

  Attributes:
    task_feature_lengths: longer text is truncated.
    split: of the tasks.
    batch_size: examples decoded or scored at once.
    max_decode_length: most tokens generated; None is the targets' length.
    decoding: how texts are generated.
    num_examples: only the first so many of each task; None for all.
    use_cached: read what seqio's caching wrote.
    seed: of sampling preprocessors, if a task has any.
  """

  task_feature_lengths: Mapping[str, int]
  split: str = "validation"
  batch_size: int = 128
  max_decode_length: int | None = None
  decoding: decode.Decoding = decode.GREEDY
  num_examples: int | None = None
  use_cached: bool = False
  seed: int = 42

  def __post_init__(self):
    """Raises UsageError for numbers that cannot be used."""
    errors.check_count("EVAL_BATCH_SIZE", self.batch_size)
    if self.max_decode_length is not None:
      errors.check_count("MAX_DECODE_LENGTH", self.max_decode_length)
    if self.num_examples is not None:
      errors.check_count("EVAL_NUM_EXAMPLES", self.num_examples)

  @property
  def decode_length(self) -> int:
    """Most tokens that are generated."""
    return self.max_decode_length or self.task_feature_lengths["targets"]


@dataclasses.dataclass(frozen=True)
class Model:
  """Parameters ready to run.

  Attributes:
    params: the parameter tree.
    config: its shape.
    mesh: where it lies.
  """

  params: Any
  config: T5Config
  mesh: jax.sharding.Mesh | None = None


def named(progress: Progress | None, name: str) -> Progress | None:
  """Progress under a name of its own, that of a task."""
  if progress is None:
    return None
  return lambda stage, done, total, unit: progress(name, done, total, unit)


def predict_tokens(
  model: Model,
  inputs: Sequence[Sequence[int]],
  config: EvalConfig,
  progress: Progress | None = None,
) -> np.ndarray:
  """Decodes inputs; the best decode of each.

  Args:
    model: what decodes.
    inputs: token ids without padding.
    config: batch size, most tokens generated, and how they are.
    progress: called as examples are done.

  Returns:
    int32 [examples, decode length]: ids, the end of sequence, then zeros.
    (seqio turns predictions into one array, so all have one length.)
  """
  decoded = decode.decode_examples(
    model.params,
    model.config,
    inputs,
    config.decode_length,
    config.batch_size,
    decoding=config.decoding,
    progress=progress,
    mesh=model.mesh,
  )
  padded = np.zeros((len(inputs), config.decode_length), np.int32)
  for row, tokens in zip(padded, decoded, strict=True):
    tokens = list(tokens)[: config.decode_length]
    row[: len(tokens)] = tokens
    if len(tokens) < config.decode_length and EOS_ID not in tokens:
      row[len(tokens)] = EOS_ID
  return padded


def score_targets(
  model: Model,
  inputs: Sequence[Sequence[int]],
  targets: Sequence[Sequence[int]],
  config: EvalConfig,
  progress: Progress | None = None,
) -> np.ndarray:
  """Scores given targets.

  Args:
    model: what scores.
    inputs: token ids without padding.
    targets: token ids without padding, one list for each input.
    config: batch size.
    progress: called as examples are done.

  Returns:
    float [examples]: summed log-probability of each target, in nats.
  """
  return np.asarray(
    score.score_examples(
      model.params,
      model.config,
      inputs,
      targets,
      config.batch_size,
      progress=progress,
      mesh=model.mesh,
    )
  )


def _model_functions(
  model: Model, config: EvalConfig, progress: Progress | None
) -> tuple[Callable, Callable]:
  """The predict_fn and score_fn that `seqio.Evaluator` calls."""
  from t5cr.engine import feed

  def predict_fn(dataset):
    found = feed.examples(dataset)
    tokens = predict_tokens(model, found.inputs, config, progress)
    return list(zip(found.indices, tokens, strict=True))

  def score_fn(dataset):
    found = feed.examples(dataset)
    scores = score_targets(model, found.inputs, found.targets, config, progress)
    return list(zip(found.indices, scores.tolist(), strict=True))

  return predict_fn, score_fn


def evaluated(
  task_name: str, step: int, output_dir: str | os.PathLike
) -> dict[str, Any] | None:
  """The metrics that a folder holds for a task at a step, None if it has none.

  The predictions are written before them, so they are there too. A line that
  was cut short is none.
  """
  path = epath.Path(output_dir) / f"{task_name}-metrics.jsonl"
  if not path.exists():
    return None
  for _, record in nested.load_lines(path.read_bytes()):
    if record.pop("step", None) == step:
      return record
  return None


def evaluate(
  model: Model,
  task_names: Sequence[str],
  config: EvalConfig,
  *,
  step: int,
  output_dir: str | os.PathLike | None,
  progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
  """Evaluates tasks: predicts or scores as their metrics ask, once each.

  Writes `<task>-metrics.jsonl` (a line for each step), `<task>-<step>.jsonl`
  (input, target, prediction or score) and TensorBoard's `<task>/` into
  `output_dir`, as seqio and t5x do.

  Args:
    model: what is evaluated.
    task_names: registered Tasks with metrics (see `feed.expand`).
    config: lengths, split, batch size.
    step: of the model.
    output_dir: the folder, `MODEL_DIR/inference_eval` for a run; None writes
      nothing.
    progress: called as progress(f"evaluate {task}", done, total, "examples").

  Returns:
    Task name -> metric name -> value.
  """
  from t5cr.engine import feed

  if not processes.is_first():
    output_dir = None
  results: dict[str, dict[str, Any]] = {}
  pending = []
  for name in task_names:
    evaluator = feed.evaluator(
      name,
      output_dir=output_dir,
      task_feature_lengths=config.task_feature_lengths,
      split=config.split,
      num_examples=config.num_examples,
      use_cached=config.use_cached,
      seed=config.seed,
    )
    predict_fn, score_fn = _model_functions(
      model, config, named(progress, f"evaluate {name}")
    )
    # Metrics are computed in a thread while the next task is decoded.
    metrics, _ = evaluator.evaluate(
      compute_metrics=True,
      step=step,
      predict_fn=predict_fn,
      score_fn=score_fn,
    )
    pending.append((evaluator, metrics))
  for evaluator, metrics in pending:
    results.update(_result(metrics))
    evaluator.close()
  return {name: results[name] for name in task_names}


def _result(metrics: Any) -> dict[str, dict[str, Any]]:
  """Waits for metrics; an error in one is raised as itself."""
  try:
    return metrics.result()
  except ValueError as error:
    # seqio wraps errors; those of the data name file and remedy themselves.
    raise error.__cause__ or error from None
