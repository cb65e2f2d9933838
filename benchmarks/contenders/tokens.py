"""Random texts in tokens, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from t5cr.engine.config import T5Config

PAD, EOS = 0, 1
_FIRST = 3  # After padding, end and the unknown token.
_RESERVED = (
  128  # At the end of the vocabulary: sentinels, padding of the table.
)


def random_texts(
  rng: np.random.Generator, config: T5Config, lengths: Sequence[int]
) -> list[list[int]]:
  """Texts of given lengths in tokens, EOS at the end."""
  last = config.vocab_size - _RESERVED
  return [
    [*rng.integers(_FIRST, last, length - 1).tolist(), EOS]
    for length in lengths
  ]


def padded(
  texts: Sequence[Sequence[int]], length: int | None = None
) -> np.ndarray:
  """int32 [texts, length], 0 behind the end.

  Args:
    texts: token ids.
    length: None pads to the longest.
  """
  if length is None:
    length = max(map(len, texts))
  rows = np.zeros((len(texts), length), np.int32)
  for row, text in zip(rows, texts, strict=True):
    row[: len(text)] = text
  return rows


def shifted_right(targets: np.ndarray) -> np.ndarray:
  """Decoder inputs: the targets behind a 0, the last token left out."""
  return np.pad(targets[:, :-1], ((0, 0), (1, 0)))


def batch(inputs: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
  """A batch with seqio's feature names, not packed.

  Args:
    inputs: int32 [b, s], 0 is padding.
    targets: int32 [b, t], 0 is padding.
  """
  return {
    "encoder_input_tokens": inputs,
    "decoder_target_tokens": targets,
    "decoder_input_tokens": shifted_right(targets),
    "decoder_loss_weights": (targets > PAD).astype(np.float32),
  }


def random_batch(
  config: T5Config, rows: int, inputs: int, targets: int, seed: int = 0
) -> dict[str, np.ndarray]:
  """A batch without padding, of that many tokens a row."""
  rng = np.random.default_rng(seed)
  return batch(
    padded(random_texts(rng, config, [inputs] * rows)),
    padded(random_texts(rng, config, [targets] * rows)),
  )


def text(row: Sequence[int] | np.ndarray) -> list[int]:
  """A decoded row's tokens up to and without EOS or padding at the end."""
  tokens = list(map(int, row))
  tokens = tokens[: tokens.index(EOS)] if EOS in tokens else tokens
  while tokens and tokens[-1] == PAD:
    tokens.pop()
  return tokens
