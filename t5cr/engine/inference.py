"""Inference: what a model says of examples, as `t5x.infer` writes it."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from t5cr import errors
from t5cr.engine import decode, evaluate, runs
from t5cr.engine.beam import NEG_INF
from t5cr.engine.evaluate import EvalConfig, Model
from t5cr.progress import Progress

MODES = ("predict", "predict_with_aux", "score")


def check_mode(mode: str, return_all_decodes: bool = False) -> None:
  """Raises UsageError for what `infer` cannot write."""
  if mode not in MODES:
    raise errors.UsageError(
      f"infer.mode: {mode!r} is unknown; known are {', '.join(MODES)}."
    )
  if not isinstance(return_all_decodes, bool):
    raise errors.UsageError(
      f"RETURN_ALL_DECODES is {return_all_decodes!r}; it has to be True or "
      "False."
    )


def infer(
  model: Model,
  task_names: Sequence[str],
  config: EvalConfig,
  *,
  mode: str,
  output_dir: str | os.PathLike,
  return_all_decodes: bool = False,
  progress: Progress | None = None,
) -> list[epath.Path]:
  """Decodes or scores every example of tasks.

  Each task has a file `<task>-<mode>.jsonl-00000-of-00001`, one JSON object a
  line in the order of the data: `inputs` (text and other fields of the
  example, and where it is scored the token ids `targets`), `targets` (text),
  and `prediction` (text) or `score` (summed log-probability in nats). In mode
  'predict_with_aux' a prediction's score is beside it: `"aux": {"scores": …}`.

  Args:
    model: what decodes or scores.
    task_names: registered Tasks, metrics or not.
    config: lengths, split, batch size, decoding.
    mode: 'predict', 'predict_with_aux' or 'score'.
    output_dir: the folder; files of the same name are replaced when done.
    return_all_decodes: predictions and their scores are lists of all decodes
      of an example, in increasing order of score, so the best is the last. A
      beam search that ended with fewer has empty texts with a score of -1e7
      before them. Scoring has none.
    progress: called as progress(f"{mode} {task}", done, total, "examples").

  Returns:
    The files.

  Raises:
    UsageError: unknown mode, task or split.
  """
  check_mode(mode, return_all_decodes)
  folder = epath.Path(output_dir)
  files = []
  for name in task_names:
    lines = _lines(
      model,
      name,
      config,
      mode,
      return_all_decodes,
      evaluate.named(progress, f"{mode} {name}"),
    )
    path = folder / f"{name}-{mode}.jsonl-00000-of-00001"
    runs.write(path, "".join(json.dumps(line) + "\n" for line in lines))
    files.append(path)
  return files


def _lines(
  model: Model,
  task_name: str,
  config: EvalConfig,
  mode: str,
  return_all_decodes: bool,
  progress: Progress | None,
) -> list[dict[str, Any]]:
  """The objects of a task's file."""
  from t5cr.engine import feed

  fields, tokens = feed.records(
    task_name,
    task_feature_lengths=config.task_feature_lengths,
    split=config.split,
    num_examples=config.num_examples,
    use_cached=config.use_cached,
    seed=config.seed,
  )
  if mode == "score":
    scores = evaluate.score_targets(
      model, tokens.inputs, tokens.targets, config, progress
    )
    answers = ({"score": score} for score in scores.tolist())
    # The mean over the tokens takes their number.
    for field, ids in zip(fields, tokens.targets, strict=True):
      field["targets"] = list(map(int, ids))
  elif mode == "predict" and not return_all_decodes:
    predicted = evaluate.predict_tokens(model, tokens.inputs, config, progress)
    texts = feed.detokenize(task_name, predicted.tolist())
    answers = ({"prediction": text} for text in texts)
  else:
    answers = _decodes(
      model,
      task_name,
      tokens.inputs,
      config,
      return_all_decodes,
      progress,
    )
    if mode == "predict":
      answers = ({"prediction": answer["prediction"]} for answer in answers)
  targets = _target_texts(task_name, fields, tokens.targets)
  return [
    {"inputs": field, "targets": target, **answer}
    for field, target, answer in zip(fields, targets, answers, strict=True)
  ]


def _decodes(
  model: Model,
  task_name: str,
  inputs: Sequence[Sequence[int]],
  config: EvalConfig,
  return_all_decodes: bool,
  progress: Progress | None,
) -> Iterator[dict[str, Any]]:
  """Predictions with their scores: of the best decode, or lists of all."""
  from t5cr.engine import feed

  decoded = decode.decode_all(
    model.params,
    model.config,
    inputs,
    config.decode_length,
    config.batch_size,
    decoding=config.decoding,
    mesh=model.mesh,
    progress=progress,
  )
  for decodes in decoded:
    lacking = config.decoding.num_decodes - len(decodes)
    decodes = [*decodes, *[decode.Decoded([], NEG_INF)] * lacking][::-1]
    texts = feed.detokenize(task_name, [tokens for tokens, _ in decodes])
    scores = [score for _, score in decodes]
    if return_all_decodes:
      yield {"prediction": texts, "aux": {"scores": scores}}
    else:
      yield {"prediction": texts[-1], "aux": {"scores": scores[-1]}}


def _target_texts(
  task_name: str,
  fields: Sequence[Mapping[str, Any]],
  targets: Sequence[Sequence[int]],
) -> list[str]:
  """Targets as they were before they became tokens, if that is known."""
  from t5cr.engine import feed

  if all("targets_pretokenized" in field for field in fields):
    return [field["targets_pretokenized"] for field in fields]
  return feed.detokenize(task_name, targets)
