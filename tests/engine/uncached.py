"""Decoding without a cache: the whole model on the whole text at each step."""

import functools

import jax
import numpy as np

from t5cr.engine import model


@functools.partial(jax.jit, static_argnames="config")
def _log_probs(params, config, sources, inputs):
  batch = {
    "encoder_input_tokens": sources,
    "decoder_input_tokens": inputs,
    "decoder_target_tokens": np.ones(inputs.shape, np.int32),  # no padding
  }
  return jax.nn.log_softmax(model.apply(params, config, batch))


class Uncached:
  """Log-probabilities of what follows some beginnings of an input's text."""

  def __init__(self, tiny, source, length, rows):
    self.tiny, self.length, self.rows = tiny, length, rows
    self.sources = np.repeat(np.asarray(source)[None], rows, axis=0)

  def __call__(self, texts):
    inputs = np.zeros((self.rows, self.length), np.int32)
    for row, text in zip(inputs, texts, strict=False):
      row[1 : len(text) + 1] = text
    found = _log_probs(self.tiny.params, self.tiny.config, self.sources, inputs)
    return np.asarray(found)[: len(texts), len(texts[0])]


def beams(log_probs, count, alpha, length, eos_id):
  """Beam search, written plainly.

  Args:
    log_probs: list of texts of one length -> [texts, v].
    count: of beams.
    alpha: of the brevity penalty.
    length: of the longest text.
    eos_id: ends a text.

  Returns:
    (score, tokens) of each decode, the best first.
  """
  live, finished = [(0.0, [])], []
  for step in range(length):
    following = log_probs([text for _, text in live])
    candidates = sorted(
      (
        (score + float(more), [*text, token])
        for (score, text), row in zip(live, following, strict=True)
        for token, more in enumerate(row)
      ),
      reverse=True,
    )[: 2 * count]
    penalty = ((5 + step + 1) / 6) ** alpha
    finished += [(s / penalty, t) for s, t in candidates if t[-1] == eos_id]
    finished = sorted(finished, reverse=True)[:count]
    live = [(s, t) for s, t in candidates if t[-1] != eos_id][:count]
    reachable = live[0][0] / ((5 + length) / 6) ** alpha
    if len(finished) == count and finished[-1][0] > reachable:
      break
  return finished or live


def greedy(log_probs, length, eos_id):
  """The likeliest token each time: (log-probability, tokens)."""
  total, text = 0.0, []
  while len(text) < length and text[-1:] != [eos_id]:
    row = log_probs([text])[0]
    text = [*text, int(row.argmax())]
    total += float(row.max())
  return total, text
