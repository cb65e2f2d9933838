"""Text to token ids and back, as the tasks do it, without TensorFlow."""

import os
from collections.abc import Sequence

import sentencepiece
from etils import epath

from t5cr import errors
from t5cr.engine.formats import Found

EOS_ID = 1

# A run folder keeps a copy of its tasks' vocabulary; the other name is the one
# that Hugging Face folders have.
FILE = "sentencepiece.model"
_FILES = (FILE, "spiece.model")

# As `t5cr_tasks.vocabulary` has them, which needs TensorFlow.
ENVIRONMENT_VARIABLE = "T5CR_VOCABULARY"
PUBLIC_MODEL = "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model"


# Rows of an embedding come in multiples of this, which suits accelerators.
_MULTIPLE = 128


def embedding_rows(tokens: int) -> int:
  """Rows that an embedding has for so many tokens."""
  return -(-tokens // _MULTIPLE) * _MULTIPLE


class Vocabulary:
  """A SentencePiece model; ids equal those of the tasks' vocabulary.

  Attributes:
    path: where it was read.
    content: the file.
  """

  def __init__(self, path: str | os.PathLike):
    """Reads a model file.

    Args:
      path: local, or on gs://.

    Raises:
      UsageError: it cannot be read.
    """
    self.path = os.fspath(path)
    try:
      self.content = epath.Path(path).read_bytes()
      if not self.content:
        raise ValueError("it is empty")
      self._model = sentencepiece.SentencePieceProcessor(
        model_proto=self.content  # pyright: ignore[reportCallIssue]
      )
    # gs:// fails with errors of whatever library reads it.
    except Exception as error:
      reason = str(error).partition("\n")[0]
      raise errors.UsageError(
        f"The vocabulary {self.path} cannot be read ({reason}). Give the "
        "SentencePiece model that the model was trained with, or set "
        f"{ENVIRONMENT_VARIABLE}; T5's public one is {PUBLIC_MODEL}."
      ) from error

  @property
  def size(self) -> int:
    """Number of ids."""
    return self._model.vocab_size()

  def encode(self, text: str, length: int | None = None) -> list[int]:
    """Ids of a text, EOS last; at most `length` of them, EOS included."""
    ids = self._model.encode(text)
    return [*ids[: None if length is None else length - 1], EOS_ID]

  def decode(self, ids: Sequence[int]) -> str:
    """The text of ids; those that the vocabulary lacks read as unknown."""
    unknown = self._model.unk_id()
    return self._model.decode([i if i < self.size else unknown for i in ids])


def beside(found: Found) -> epath.Path | None:
  """The vocabulary in a checkpoint's own folder or its run folder, if any."""
  for folder in dict.fromkeys((found.path, found.run)):
    for name in _FILES:
      if (folder / name).exists():
        return folder / name
  return None


def find_vocabulary(
  found: Found, vocab_size: int, given: str | os.PathLike | None = None
) -> Vocabulary:
  """The vocabulary of a checkpoint.

  Args:
    found: the checkpoint.
    vocab_size: rows of its embedding.
    given: a model file; None takes the one beside the checkpoint, else what
      `T5CR_VOCABULARY` names, else T5's public one.

  Returns:
    The vocabulary.

  Raises:
    UsageError: it cannot be read, or has more ids than the model has rows.
  """
  fallback = os.environ.get(ENVIRONMENT_VARIABLE) or PUBLIC_MODEL
  vocabulary = Vocabulary(given or beside(found) or fallback)
  if vocabulary.size > vocab_size:
    raise errors.UsageError(
      f"The vocabulary {vocabulary.path} has {vocabulary.size} ids, but the "
      f"model {found.path} has only {vocab_size} rows, so it was trained with "
      f"another one. Give that one, or set {ENVIRONMENT_VARIABLE}."
    )
  return vocabulary
