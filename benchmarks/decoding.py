"""Decoding, greedy and with four beams, side by side.

    python benchmarks/decoding.py [--model small] [--json FILE]

Two cases, float32:

  full    8 inputs of 128 tokens, 64 tokens decoded of each: random weights,
          scaled so that texts vary, hardly ever end one before
  mixed   16 inputs of 12 to 128 tokens in batches of 8, up to 64 tokens of
          each: the end-of-text embedding is scaled so that texts end at
          different places. t5x pads all inputs to the longest, transformers
          sorts them by length and pads each batch to its longest

What is compared, before anything is timed:

  greedy  the tokens; where they part, the two tokens' log-probabilities under
          t5cr's model have to be equal to 1e-3 (a tie of float32)
  beam 4  the log-probability of each best text, as t5cr's model scores it and
          divided by the length penalty of t5x: equal to 1e-3 for t5x, whose
          definition is t5cr's. transformers stops elsewhere and divides by
          another penalty, so texts that end are searched without a penalty
          (alpha 0) by all, and the mean log-probability of a text has to be
          equal to 2%

A rate counts the tokens that t5cr decodes, ends included.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from benchmarks import contenders, side_by_side
from benchmarks.contenders import engine, tokens
from benchmarks.side_by_side import Contender, Disagreement
from t5cr.engine import losses, model
from t5cr.engine.config import T5Config

BEAMS = 4
_TIE = 1e-3  # nats
_SEARCH_TOLERANCE = 0.02
# How far embeddings are scaled down, and the end of a text up.
_QUIET = 0.05
_END_SCALE = 4.0


@dataclasses.dataclass(frozen=True)
class Case:
  """Inputs and how they are decoded.

  Attributes:
    name: for the reader.
    inputs: token ids.
    length: most tokens decoded, the end included.
    batch_size: inputs at once.
    alpha: length penalty of beams.
  """

  name: str
  inputs: list[list[int]]
  length: int
  batch_size: int
  alpha: float


def full(
  config: T5Config, rows: int = 8, inputs: int = 128, length: int = 64
) -> Case:
  """Inputs of one length, texts that do not end."""
  rng = np.random.default_rng(0)
  texts = tokens.random_texts(rng, config, [inputs] * rows)
  return Case(f"{rows} x {inputs} in, {length} out", texts, length, rows, 0.6)


def mixed(
  config: T5Config,
  number: int = 16,
  inputs: int = 128,
  length: int = 64,
  batch_size: int = 8,
) -> Case:
  """Inputs of many lengths, texts that end at different places."""
  rng = np.random.default_rng(1)
  lengths = rng.integers(max(inputs // 10, 2), inputs + 1, number)
  texts = tokens.random_texts(rng, config, lengths.tolist())
  name = f"{number} x {min(lengths)} to {max(lengths)} in, ends within {length}"
  return Case(name, texts, length, batch_size, 0.0)


def talkative(params: Any, end_scale: float = 1.0) -> Any:
  """Random weights that decode texts of many tokens.

  At T5's initial scale the stream is mostly the last token's embedding, which
  the tied output layer then finds again: every text repeats the start token.
  Here embeddings are smaller, and the last norm makes up for it.

  Args:
    params: at T5's initial scale.
    end_scale: of the end-of-text embedding: above 1, texts end now and then.

  Returns:
    The parameters.
  """
  table = params["token_embedder"]["embedding"] * _QUIET
  table = table.at[tokens.EOS].multiply(end_scale)
  norm = {"scale": params["decoder"]["decoder_norm"]["scale"] / _QUIET}
  return {
    **params,
    "token_embedder": {"embedding": table},
    "decoder": {**params["decoder"], "decoder_norm": norm},
  }


class Judge:
  """Scores decoded texts with t5cr's model, token by token."""

  def __init__(self, config: T5Config, params: Any):
    """Takes the weights."""
    self._params = params

    def log_probs(params, batch):
      return losses.log_likelihood(
        model.apply(params, config, batch),
        batch["decoder_target_tokens"],
        batch["decoder_loss_weights"],
      )

    self._log_probs = jax.jit(log_probs)

  def token_scores(self, case: Case, texts: Sequence[Sequence[int]]) -> Any:
    """Log-probability of each token [texts, length]; EOS ends shorter texts."""
    ended = [
      [*text, tokens.EOS] if len(text) < case.length else list(text)
      for text in texts
    ]
    inputs = tokens.padded(case.inputs)
    targets = tokens.padded(ended, case.length)
    scores = []
    for start in range(0, len(texts), case.batch_size):
      rows = slice(start, start + case.batch_size)
      batch = tokens.batch(inputs[rows], targets[rows])
      # Token 0 may be decoded too, inside a text.
      lengths = np.array([len(text) for text in ended[rows]])
      real = np.arange(case.length) < lengths[:, None]
      batch["decoder_loss_weights"] = real.astype(np.float32)
      scores.append(np.asarray(self._log_probs(self._params, batch)))
    return np.concatenate(scores)


def check_greedy(judge: Judge, case: Case, theirs: Any, ours: Any) -> None:
  """Raises Disagreement unless texts are equal up to their first tie."""
  scores = judge.token_scores(case, theirs), judge.token_scores(case, ours)
  for row, (left, right) in enumerate(zip(theirs, ours, strict=True)):
    if left == right:
      continue
    place = next(
      (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
      min(len(left), len(right)),
    )
    gap = float(abs(scores[0][row, place] - scores[1][row, place]))
    if not gap <= _TIE:
      raise Disagreement(
        f"decodes another token {place} of text {row}, {gap:.2g} nats off"
      )


def check_beams(
  judge: Judge, case: Case, theirs: Any, ours: Any, *, same_search: bool
) -> None:
  """Raises Disagreement unless the best texts are equally probable.

  Args:
    judge: scores the texts.
    case: what was decoded.
    theirs: best texts of a peer.
    ours: t5cr's.
    same_search: the search is defined as t5cr's; else only means are compared.
  """
  found = []
  for texts in (theirs, ours):
    lengths = [min(len(text) + 1, case.length) for text in texts]
    penalty = ((5.0 + np.array(lengths)) / 6.0) ** case.alpha
    found.append(judge.token_scores(case, texts).sum(-1) / penalty)
  left, right = found
  if same_search:
    side_by_side.check_close(
      left, right, "score of a best text", rtol=_TIE, atol=_TIE
    )
  else:
    side_by_side.check_close(
      left.mean(),
      right.mean(),
      "mean score of the best texts",
      rtol=_SEARCH_TOLERANCE,
    )


def measure(
  made: contenders.Contenders,
  judge: Judge,
  case: Case,
  beams: int,
  rounds: int,
) -> side_by_side.Timing:
  """Times a case.

  Args:
    made: who takes part.
    judge: scores texts with the same weights.
    case: what to decode.
    beams: 1 is greedy.
    rounds: timed calls of each.
  """
  decode = {
    name: lambda each=each: each.decode(
      case.inputs, case.length, case.batch_size, beams, case.alpha
    )
    for name, each in {side_by_side.OURS: made.engine, **made.peers}.items()
  }

  def check(theirs, ours):
    if beams == 1:
      check_greedy(judge, case, theirs, ours)
    else:
      check_beams(judge, case, theirs, ours, same_search=True)

  def check_mean(theirs, ours):
    check_beams(judge, case, theirs, ours, same_search=False)

  own_check = {"transformers": check_mean} if beams > 1 else {}
  return side_by_side.measure(
    f"{'greedy' if beams == 1 else f'beam {beams}'}, {case.name}",
    {
      name: Contender(run, check=own_check.get(name))
      for name, run in decode.items()
    },
    check,
    amount=lambda texts: sum(min(len(t) + 1, case.length) for t in texts),
    unit="tokens",
    rounds=rounds,
  )


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  parser = side_by_side.argument_parser(__doc__, list(contenders.SHAPES))
  parser.add_argument(
    "--cases", default="full,mixed", help="full, mixed or both"
  )
  options = parser.parse_args(arguments)
  config = contenders.SHAPES[options.model]
  size = {"inputs": 16, "length": 8} if options.model == "tiny" else {}
  only = options.only
  params = engine.random_params(config)
  known = {
    "full": (full(config, **size), talkative(params)),
    "mixed": (mixed(config, **size), talkative(params, _END_SCALE)),
  }
  names = options.cases.split(",")
  if not set(names) <= set(known):
    parser.error(f"--cases is {options.cases}; known are {', '.join(known)}.")

  def measured():
    for name in names:
      case, weights = known[name]
      made = contenders.make(config, weights, only)
      judge = Judge(config, weights)
      for beams in (1, BEAMS):
        yield measure(made, judge, case, beams, options.rounds)

  side_by_side.run(measured, options, contenders.absent(only))


if __name__ == "__main__":
  main()
