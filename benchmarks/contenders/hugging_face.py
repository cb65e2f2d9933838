"""Hugging Face's transformers on torch as a contender."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.contenders import tokens
from benchmarks.contenders.engine import LEARNING_RATE, Batch
from t5cr.engine import huggingface
from t5cr.engine.config import T5Config

_IGNORED = -100  # Labels of this value do not count.


@dataclasses.dataclass(frozen=True)
class How:
  """How torch computes.

  Attributes:
    device: 'cpu' or 'cuda'.
    weights: dtype of the weights.
    autocast: dtype that operations are cast to; None leaves them.
    compiled: with `torch.compile`; decoding then has a cache of fixed size.
    micro_rows: rows of a batch at once in training, their gradients are added
      up; None takes them all.
  """

  device: str = "cpu"
  weights: str = "float32"
  autocast: str | None = None
  compiled: bool = False
  micro_rows: int | None = None

  def describe(self) -> str:
    """The same in words."""
    words = [f"{self.weights} weights"]
    if self.autocast:
      words.append(f"{self.autocast} autocast")
    words.append("torch.compile" if self.compiled else "eager")
    if self.micro_rows:
      words.append(f"{self.micro_rows} rows at once")
    return ", ".join(words)


def load(config: T5Config, params: Any, how: How) -> Any:
  """The weights as transformers' model, by way of a folder that it loads."""
  transformers.logging.set_verbosity_error()
  transformers.logging.disable_progress_bar()
  with tempfile.TemporaryDirectory() as parent:
    folder = pathlib.Path(parent) / "model"
    huggingface.write(folder, params, config)
    model: Any = transformers.T5ForConditionalGeneration.from_pretrained(
      folder, dtype=torch.float32
    )
  return model.to(how.device, getattr(torch, how.weights)).eval()


def by_length(
  inputs: Sequence[Sequence[int]], targets: Sequence[Sequence[int]] | None
) -> list[int]:
  """Indices sorted by length, so that little of a batch is padding."""
  return sorted(
    range(len(inputs)),
    key=lambda i: (len(inputs[i]), len(targets[i]) if targets else 0),
  )


class HuggingFace:
  """transformers' T5ForConditionalGeneration, with the attention it chooses."""

  name = "transformers"

  def __init__(self, config: T5Config, params: Any, how: How | None = None):
    """Takes the weights."""
    self._how = how or How()
    self._model = load(config, params, self._how)
    self._dropout = config.dropout_rate > 0
    self._forward = self._made(self._model)

  def describe(self) -> str:
    """The attention that transformers chose, and how torch computes."""
    attention = self._model.config._attn_implementation
    return f"{attention} attention, {self._how.describe()}"

  def _made(self, model: Any) -> Callable:
    return torch.compile(model) if self._how.compiled else model

  def _cast(self) -> Any:
    if self._how.autocast is None:
      return contextlib.nullcontext()
    return torch.autocast(
      self._how.device, dtype=getattr(torch, self._how.autocast)
    )

  def _ids(self, rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rows.astype(np.int64)).to(self._how.device)

  def _sources(self, rows: np.ndarray) -> dict[str, Any]:
    ids = self._ids(rows)
    return {"input_ids": ids, "attention_mask": (ids != tokens.PAD).long()}

  def _loss(self, forward: Callable, batch: Batch) -> torch.Tensor:
    targets = self._ids(batch["decoder_target_tokens"])
    labels = targets.masked_fill(targets == tokens.PAD, _IGNORED)
    sources = self._sources(batch["encoder_input_tokens"])
    count = float((batch["decoder_target_tokens"] != tokens.PAD).sum())
    with self._cast():
      return forward(**sources, labels=labels).loss * count

  def gradient(self, batch: Batch) -> np.ndarray:
    """[loss summed over tokens, norms of gradient and of the embedding's]."""
    return self.gradients([batch])

  def gradients(self, batches: Sequence[Batch]) -> np.ndarray:
    """The same of several batches, their gradients added up."""
    self._model.zero_grad(set_to_none=True)
    total = 0.0
    for batch in batches:
      loss = self._loss(self._forward, batch)
      loss.backward()
      total += loss.item()
    # `norm` would add float32 squares up one by one: 0.2% off in the embedding.
    squares = [
      parameter.grad.square().sum() for parameter in self._model.parameters()
    ]
    embedding = self._model.shared.weight.grad.square().sum()
    norms = torch.stack([torch.stack(squares).sum(), embedding]).sqrt()
    return np.array([total, *norms.tolist()])

  def trainer(self) -> Callable[..., np.ndarray]:
    """Training with torch's Adafactor, see `Engine.trainer`.

    It factors every matrix, t5x only those of 128 rows and columns or more: the
    relative position biases take other steps.
    """
    model = copy.deepcopy(self._model).train(self._dropout)
    forward = self._made(model)
    # torch squares the first epsilon; T5's is 1e-30.
    optimizer = torch.optim.Adafactor(
      model.parameters(), lr=LEARNING_RATE, eps=(1e-15, 1e-3), foreach=True
    )

    def step(batch: Batch) -> torch.Tensor:
      optimizer.zero_grad(set_to_none=True)
      total = torch.zeros((), device=self._how.device)
      rows = len(batch["encoder_input_tokens"])
      size = self._how.micro_rows or rows
      for start in range(0, rows, size):
        part = {k: v[start : start + size] for k, v in batch.items()}
        loss = self._loss(forward, part)
        loss.backward()
        total += loss.detach()
      optimizer.step()
      return total

    def take(batch: Batch, number: int = 1) -> np.ndarray:
      return torch.stack([step(batch) for _ in range(number)]).cpu().numpy()

    return take

  def score(
    self,
    inputs: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    batch_size: int,
    lengths: tuple[int, int] | None = None,
  ) -> np.ndarray:
    """L(target | input) of pairs, sorted by length.

    Args:
      inputs: token ids of each pair.
      targets: token ids of each pair.
      batch_size: pairs at once.
      lengths: that all are padded to; None pads each batch to its longest.
    """
    order = by_length(inputs, targets)
    source_length, target_length = lengths or (None, None)
    scores = np.zeros(len(inputs), np.float32)
    with torch.inference_mode():
      for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        wanted = tokens.padded([targets[i] for i in rows], target_length)
        sources = tokens.padded([inputs[i] for i in rows], source_length)
        with self._cast():
          logits = self._forward(
            **self._sources(sources),
            decoder_input_ids=self._ids(tokens.shifted_right(wanted)),
          ).logits
        losses = torch.nn.functional.cross_entropy(
          logits.flatten(0, 1).float(),
          self._ids(wanted).flatten(),
          reduction="none",
          ignore_index=tokens.PAD,
        )
        scores[rows] = -losses.view(wanted.shape).sum(-1).cpu().numpy()
    return scores

  def decode(
    self,
    inputs: Sequence[Sequence[int]],
    length: int,
    batch_size: int,
    beams: int = 1,
    alpha: float = 0.6,
  ) -> list[list[int]]:
    """The best decode of each input, see `Engine.decode`.

    Sorted by length and padded to the longest of a batch. The length penalty is
    another function of the length than t5x's: sum / length^alpha.
    """
    order = by_length(inputs, None)
    cache = {"cache_implementation": "static"} if self._how.compiled else {}
    texts: list[list[int]] = [[] for _ in inputs]
    with torch.inference_mode(), self._cast():
      for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        out = self._model.generate(
          **self._sources(tokens.padded([inputs[i] for i in rows])),
          max_new_tokens=length,
          num_beams=beams,
          do_sample=False,
          length_penalty=alpha,
          early_stopping=False,
          **cache,
        )[:, 1:]
        for i, row in zip(rows, out.cpu().numpy(), strict=True):
          texts[i] = tokens.text(row)
    return texts
