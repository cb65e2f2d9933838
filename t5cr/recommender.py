"""A trained model from Python: `t5cr.load(path)`.

Nothing is compiled before it is used, inputs of any lengths share few
compiled shapes, and TensorFlow is not needed.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from t5cr import errors, nested
from t5cr.engine import (
  checkpoints,
  compilation,
  decode,
  formats,
  model,
  partitioning,
  score,
)
from t5cr.engine import vocabulary as vocabulary_lib
from t5cr.engine.beam import Decodes
from t5cr.engine.config import DTYPES, T5Config
from t5cr.engine.decode import GREEDY, Decoding

ROLES = ("user", "assistant")

# What the tasks put before a dialogue (`t5cr_tasks.preprocessors`).
_CONVERSATION_PREFIX = "redial conversation: "
# The paper's lengths in tokens (section 2.6).
_FEATURE_LENGTHS = {"inputs": 512, "targets": 128}
# A length that a file says may not take all memory.
_MOST_TOKENS = 1 << 20

Turn = str | tuple[str, str]


def load(
  path: str | os.PathLike,
  *,
  vocabulary: str | os.PathLike | None = None,
  dtype: str | None = None,
  batch_size: int = 32,
  feature_lengths: Mapping[str, int] | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> "Recommender":
  """Loads a model.

  >>> recommender = t5cr.load("runs/all")
  >>> recommender.respond(["hi! i loved @ alien (1979) @. what should i see?"])
  'have you seen @ aliens (1986) @?'

  Args:
    path: a run folder, whose latest checkpoint is meant; a checkpoint of this
      engine or of t5x (either format), local or on gs://; or a Hugging Face
      folder.
    vocabulary: a SentencePiece model; None takes the one in the checkpoint's
      or the run's folder, else what `T5CR_VOCABULARY` names, else T5's public
      one. It is read when text is first given.
    dtype: of activations, such as 'bfloat16'; None is that of the
      training where this engine's checkpoint records it, else float32.
    batch_size: inputs decoded or scored at once.
    feature_lengths: most tokens of inputs and targets; None takes those that a
      run was trained with, else the paper's 512 and 128. Longer inputs are cut
      as the tasks cut them.
    mesh: the devices; None for the first one.

  Returns:
    The model.

  Raises:
    UsageError: there is no checkpoint at `path`, it is damaged, or it is no
      T5's; it says what was looked for.
  """
  _check_arguments(dtype, batch_size, feature_lengths)
  found = formats.find(path)
  mesh = mesh or partitioning.make_mesh(devices=jax.local_devices()[:1])
  compilation.enable()
  params, config, _ = checkpoints.restore_params(found, mesh)
  if dtype is not None:
    config = dataclasses.replace(config, dtype=dtype)
  lengths = feature_lengths or _trained_lengths(found) or _FEATURE_LENGTHS
  return Recommender(
    params,
    config,
    found=found,
    vocabulary=vocabulary,
    batch_size=batch_size,
    feature_lengths=lengths,
    mesh=mesh,
  )


def _check_arguments(
  dtype: str | None, batch_size: int, lengths: Mapping[str, int] | None
) -> None:
  """Raises UsageError for what `load` cannot use."""
  if dtype not in (None, *DTYPES):
    raise errors.UsageError(
      f"dtype is {dtype!r}; known are {', '.join(DTYPES)}."
    )
  errors.check_count("batch_size", batch_size)
  if lengths is not None:
    if set(lengths) != set(_FEATURE_LENGTHS):
      raise errors.UsageError(
        f"feature_lengths is {lengths!r}; it has to give the most tokens of "
        f"both sides, such as {_FEATURE_LENGTHS}."
      )
    for name, length in lengths.items():
      errors.check_count(f"feature_lengths[{name!r}]", length)


def _trained_lengths(found: formats.Found) -> Mapping[str, int] | None:
  """What `run.json` says of the lengths in training."""
  path = found.run / "run.json"
  try:
    settings = nested.load_object(path.read_text())["settings"]
    lengths = settings["TrainData"]["task_feature_lengths"]
    lengths = {side: lengths[side] for side in _FEATURE_LENGTHS}
  except (OSError, ValueError, KeyError, TypeError):
    return None
  for side, length in lengths.items():
    errors.check_count(f"{path}: the length of the {side}", length)
    if length > _MOST_TOKENS:
      raise errors.UsageError(
        f"{path} says that the {side} have {length:,} tokens. That is no T5's "
        "length: give those wanted, as feature_lengths."
      )
  return lengths


class Recommender:
  """A T5 that answers, decodes and scores; made by `load`.

  Attributes:
    params: the parameter tree, t5x's names.
    config: the shape of the model.
    found: the checkpoint that it was loaded from.
    mesh: where the parameters lie.
    batch_size: inputs decoded or scored at once.
    feature_lengths: most tokens of inputs and targets.
  """

  def __init__(
    self,
    params: Any,
    config: T5Config,
    *,
    found: formats.Found,
    vocabulary: str | os.PathLike | None,
    batch_size: int,
    feature_lengths: Mapping[str, int],
    mesh: jax.sharding.Mesh,
  ):
    """See `load`."""
    self.params = params
    self.config = config
    self.found = found
    self.mesh = mesh
    self.batch_size = batch_size
    self.feature_lengths = dict(feature_lengths)
    self._given_vocabulary = vocabulary
    self._vocabulary: vocabulary_lib.Vocabulary | None = None

  @property
  def vocabulary(self) -> vocabulary_lib.Vocabulary:
    """The model's vocabulary, read at first use."""
    if self._vocabulary is None:
      self._vocabulary = vocabulary_lib.find_vocabulary(
        self.found, self.config.vocab_size, self._given_vocabulary
      )
    return self._vocabulary

  def respond(
    self,
    turns: Sequence[Turn],
    *,
    decoding: Decoding = GREEDY,
    max_decode_length: int | None = None,
  ) -> str:
    """The recommender's next response in a dialogue.

    Args:
      turns: the dialogue so far, as (role, text) with role 'user' or
        'assistant', or as texts alone, which then alternate and end with the
        user's. Movies stand between @, as in '@ alien (1979) @'.
      decoding: greedy, beam search or sampling.
      max_decode_length: most tokens; None is that of the targets.

    Returns:
      The response, in lower case, movies between @.

    Raises:
      UsageError: there are no turns, or a role is unknown.
    """
    (response,) = self.decode(
      [conversation(turns)],
      decoding=decoding,
      max_decode_length=max_decode_length,
    )
    return response

  def decode(
    self,
    inputs: Sequence[str],
    *,
    decoding: Decoding = GREEDY,
    max_decode_length: int | None = None,
  ) -> list[str]:
    """Decodes texts, such as 'movielens sequence: @ alien (1979) @'.

    Args:
      inputs: the tasks' own are in lower case.
      decoding: greedy, beam search or sampling.
      max_decode_length: most tokens; None is that of the targets.

    Returns:
      The best text for each input.
    """
    decoded = self.decode_all(
      inputs, decoding=decoding, max_decode_length=max_decode_length
    )
    return [best[0][0] if best else "" for best in decoded]

  def decode_all(
    self,
    inputs: Sequence[str],
    *,
    decoding: Decoding = GREEDY,
    max_decode_length: int | None = None,
  ) -> list[list[tuple[str, float]]]:
    """All decodes of texts with their scores; arguments as of `decode`.

    Returns:
      For each input its (text, log-probability in nats; of beams, divided by
      their brevity penalty), the best first.
    """
    decoded = decode.decode_all(
      self.params,
      self.config,
      self._tokens(inputs, "inputs"),
      self._length(max_decode_length),
      self._rows(len(inputs)),
      decoding=decoding,
      mesh=self.mesh,
    )
    return [
      [(self.vocabulary.decode(one.tokens), one.score) for one in of_input]
      for of_input in decoded
    ]

  def score(
    self, inputs: Sequence[str], targets: Sequence[str]
  ) -> Float[np.ndarray, " n"]:
    """Log-likelihoods of targets.

    Args:
      inputs: texts, one for each target; equal ones are encoded once.
      targets: texts.

    Returns:
      float32, sum of the log-probabilities of each target's tokens, EOS
      included, in nats.

    Raises:
      UsageError: there are not as many inputs as targets.
    """
    if len(inputs) != len(targets):
      raise errors.UsageError(
        f"There are {len(inputs)} inputs and {len(targets)} targets; each "
        "target needs an input of its own, equal ones cost nothing."
      )
    return score.score_examples(
      self.params,
      self.config,
      self._tokens(inputs, "inputs"),
      self._tokens(targets, "targets"),
      self._rows(len(inputs)),
      mesh=self.mesh,
    )

  def logits(self, batch: model.Batch) -> Float[Array, "b t v"]:
    """Unnormalised logits of token arrays, float32.

    Args:
      batch: int arrays with seqio's names, packed or not:
        `encoder_input_tokens`, `decoder_input_tokens`, `decoder_target_tokens`.
    """
    return _logits(self.params, self.config, batch)

  def score_batch(self, batch: model.Batch) -> Float[Array, " b"]:
    """Log-likelihoods of token arrays.

    Args:
      batch: as of `logits`, not packed; `decoder_loss_weights` says which
        target tokens count, without it all that are not padding.
    """
    if "decoder_loss_weights" not in batch:
      targets = np.asarray(batch["decoder_target_tokens"])
      batch = {
        **batch,
        "decoder_loss_weights": (targets > 0).astype(np.float32),
      }
    return score.score_batch(self.params, self.config, batch)

  def decode_batch(
    self,
    batch: model.Batch,
    *,
    decoding: Decoding = GREEDY,
    max_decode_length: int | None = None,
  ) -> Decodes:
    """Decodes token arrays.

    Args:
      batch: `encoder_input_tokens`, int [b, s].
      decoding: greedy, beam search or sampling.
      max_decode_length: most tokens; None is that of the targets.

    Returns:
      Tokens [b, num_decodes, max_decode_length] and scores [b, num_decodes], in
      increasing order of score, as t5x has them.
    """
    return decode.decode_batch(
      self.params,
      self.config,
      batch["encoder_input_tokens"],
      self._length(max_decode_length),
      decoding,
    )

  def _tokens(self, texts: Sequence[str], feature: str) -> list[list[int]]:
    if isinstance(texts, str):
      raise errors.UsageError(
        f"One text was given as the {feature}; give a list of texts."
      )
    length = self.feature_lengths[feature]
    return [self.vocabulary.encode(one, length) for one in texts]

  def _length(self, max_decode_length: int | None) -> int:
    if max_decode_length is None:
      return self.feature_lengths["targets"]
    errors.check_count("max_decode_length", max_decode_length)
    return max_decode_length

  def _rows(self, count: int) -> int:
    """Rows of a batch: no more than a few inputs need, few shapes in all."""
    parts = partitioning.batch_parts(self.mesh)
    rows = parts
    while rows < count and rows * 2 <= self.batch_size:
      rows *= 2
    return rows


_logits = jax.jit(model.apply, static_argnames=("config",))


def conversation(turns: Sequence[Turn]) -> str:
  """A dialogue as the input of the task `t5cr_redial_conversation`.

  >>> conversation(["Hi!", "Hello.", "A comedy?"])
  'redial conversation: [user] hi! [assistant] hello. [user] a comedy?'

  Args:
    turns: see `Recommender.respond`.

  Returns:
    The text, in lower case.

  Raises:
    UsageError: there are no turns, or a role is unknown.
  """
  if isinstance(turns, str) or not turns:
    raise errors.UsageError(
      "A dialogue is a list of turns, with at least one: the user's."
    )
  parts = []
  for back, turn in enumerate(reversed(turns)):
    pair = (ROLES[back % 2], turn) if isinstance(turn, str) else tuple(turn)
    if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
      raise errors.UsageError(
        f"A turn is {turn!r}; it has to be a text or a pair (role, text)."
      )
    role, said = pair
    if role not in ROLES:
      raise errors.UsageError(
        f"The role of a turn is {role!r}; known are {' and '.join(ROLES)}."
      )
    parts.append(f"[{role}] {said}")
  return (_CONVERSATION_PREFIX + " ".join(reversed(parts))).lower()
