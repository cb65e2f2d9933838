"""What TensorBoard shows: numbers of the training, metrics, sample decodes."""

import html
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf
from clu import metric_writers
from etils import epath

# Examples of a task that are shown, always its first ones, and characters of
# each of their texts.
_SAMPLES = 8
_CHARACTERS = 400
# What Markdown would take for a mark; HTML's are escaped besides.
_MARKS = re.compile(r"[\\`*_\[\]|~]")


def metric_writer(folder: str | os.PathLike) -> metric_writers.MetricWriter:
  """Writes scalars for TensorBoard from a thread of its own."""
  epath.Path(folder).mkdir(parents=True, exist_ok=True)
  return metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(folder)))


class TensorBoardLogger(seqio.TensorBoardLogger):
  """seqio's `eval/<metric>`, and `eval/samples`: a table of some examples."""

  def __call__(self, task_name, step, metrics, dataset, inferences, targets):
    """Writes metrics and samples of a task at a step."""
    super().__call__(task_name, step, metrics, dataset, inferences, targets)
    if dataset is None or not inferences or targets is None:
      return
    text = samples(dataset, inferences, targets)
    folder = os.path.join(self.output_dir, task_name)
    writer = self._get_summary_writer(folder)
    with writer.as_default():
      tf.summary.text("eval/samples", text, step=step or 0)
    writer.flush()


def samples(
  dataset: tf.data.Dataset,
  inferences: Mapping[str, Sequence[Any]],
  targets: Sequence[Any],
) -> str:
  """The first examples of a task with what the model made of them.

  Args:
    dataset: examples as seqio has them before they are converted.
    inferences: of each example, `output` (the decoded text) or `score` (the
      log-likelihood of the target, in nats), or both.
    targets: of each example; shown where it has no `targets_pretokenized`.

  Returns:
    A Markdown table; whatever the texts hold, it is shown as it is.
  """
  kinds = {"output": "prediction", "score": "score"}
  shown = [kind for kind in kinds if kind in inferences]
  names = ["input", "target", *(kinds[kind] for kind in shown)]
  lines = [" | ".join(names), " | ".join("---" for _ in names)]
  for number, example in enumerate(dataset.take(_SAMPLES)):
    cells = [
      example.get("inputs_pretokenized", ""),
      example.get("targets_pretokenized", targets[number]),
      *(inferences[kind][number] for kind in shown),
    ]
    lines.append(" | ".join(map(_cell, cells)))
  return "\n".join(f"| {line} |" for line in lines)


def _cell(value: Any) -> str:
  """A value as one cell of a Markdown table."""
  if isinstance(value, tf.Tensor):
    value = value.numpy()
  if isinstance(value, bytes):
    value = value.decode("utf-8", errors="replace")
  text = f"{value:.4f}" if isinstance(value, float) else str(value)
  text = " ".join(text.split())
  if len(text) > _CHARACTERS:
    text = text[:_CHARACTERS] + "…"
  return _MARKS.sub(lambda mark: f"&#{ord(mark[0])};", html.escape(text))
