"""The SentencePiece vocabulary that all tasks share, and how to train one.

T5's public vocabulary is the default; the environment variable
`T5CR_VOCABULARY` names another model file, for the tasks and the model alike.
"""

from __future__ import annotations

import functools
import io
import os
import string
from collections.abc import Callable, Iterator

import sentencepiece
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from sentencepiece.sentencepiece_model_pb2 import (
  ModelProto,  # pyright: ignore[reportAttributeAccessIssue]
)

from t5cr_tasks import folders
from t5cr_tasks.errors import DataError

ENVIRONMENT_VARIABLE = "T5CR_VOCABULARY"
PUBLIC_MODEL = "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model"
# T5's sentinels. They are pieces of its public model file (the ".100extra" of
# its name), and of the files that `train` writes.
EXTRA_IDS = 100

# A small corpus lacks some, but a user may still type them.
_REQUIRED_CHARACTERS = (
  string.ascii_lowercase + string.digits + string.punctuation
)

Progress = Callable[[str, int, int | None, str], None]


class TaskVocabulary(seqio.SentencePieceVocabulary):
  """The vocabulary that `T5CR_VOCABULARY` names, else T5's public one.

  The variable and the file are read at each use, never at construction, so
  that importing the tasks needs neither. Raises DataError on use where the
  file cannot be read.
  """

  def __init__(self):
    """Reads nothing."""
    super().__init__(PUBLIC_MODEL)

  @property
  def sentencepiece_model_file(self) -> str:
    """Path of the model file in use."""
    return os.environ.get(ENVIRONMENT_VARIABLE) or PUBLIC_MODEL

  @property
  def tokenizer(self):
    """The loaded SentencePiece processor."""
    return _load(self.sentencepiece_model_file).tokenizer

  @property
  def sp_model(self) -> bytes | None:
    """The model file's content."""
    return _load(self.sentencepiece_model_file).sp_model

  def load_model(self) -> None:
    """Loads the file now, to fail early where it is missing."""
    _load(self.sentencepiece_model_file)


@functools.cache
def _load(path: str) -> seqio.SentencePieceVocabulary:
  """A loaded vocabulary; the cache holds no failures."""
  vocabulary = seqio.SentencePieceVocabulary(path)
  try:
    vocabulary.load_model()
  # The file system, protobuf and SentencePiece each fail in their own way.
  except (tf.errors.OpError, DecodeError, RuntimeError) as error:
    reason = str(error).partition("\n")[0]
    raise DataError(
      f"The vocabulary {path} cannot be read ({reason}). Set"
      f" {ENVIRONMENT_VARIABLE} to the path of a SentencePiece model: a local"
      f" copy of T5's public {PUBLIC_MODEL}, or one that"
      " `t5cr_tasks.vocabulary.train` wrote."
    ) from error
  return vocabulary


@functools.cache
def default_vocabulary() -> TaskVocabulary:
  """The one vocabulary object that all tasks use unless told otherwise."""
  return TaskVocabulary()


def train(
  data_dir: str | os.PathLike[str],
  path: str | os.PathLike[str],
  size: int,
  seed: int = 0,
  *,
  max_examples: int = 10_000,
  progress: Progress | None = None,
) -> int:
  """Trains a vocabulary like T5's on the text of the tasks.

  A SentencePiece model with pad 0, EOS 1, unknown 2 and T5's sentinels last, of
  the inputs and targets of every training task whose data set is built. The
  same data, size and seed give the same bytes. T5's own is a unigram model;
  this one merges pairs (BPE), which keeps the frequent words of a small corpus,
  those of its titles above all, in one piece, where unigram's pruning of rare
  pieces breaks them up.

  Args:
    data_dir: the TFDS data directory.
    path: the model file to write; it appears only when it is whole.
    size: pieces wanted besides the sentinels. A small corpus may yield fewer.
    seed: of the text that the tasks draw at random.
    max_examples: the most examples read from each task.
    progress: called with (stage, done, total, unit).

  Returns:
    The number of ids, sentinels included.

  Raises:
    DataError: no data set is built in `data_dir`, or the text is too short for
      a model.
  """
  model = io.BytesIO()
  lines = list(_task_text(str(data_dir), seed, max_examples, progress))
  if not lines:
    raise DataError(
      f"No data set of the training tasks is built in {data_dir}, so there is"
      " no text to train a vocabulary on. Run `t5cr data build` first."
    )
  # SentencePiece before 0.2.3 ends the whole process at a required character
  # that the text lacks.
  lines.append(" ".join(_REQUIRED_CHARACTERS))
  try:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(lines),
      model_writer=model,
      model_type="bpe",
      vocab_size=size,
      hard_vocab_limit=False,
      character_coverage=0.9999,
      required_chars=_REQUIRED_CHARACTERS,
      max_sentence_length=1 << 20,
      pad_id=0,
      eos_id=1,
      unk_id=2,
      bos_id=-1,
      num_threads=1,  # Threads would add up in another order each time.
      minloglevel=2,
    )
  except RuntimeError as error:
    raise DataError(
      f"No vocabulary of {size} pieces can be trained on the text in"
      f" {data_dir} ({error}). Use a larger corpus or another size."
    ) from error
  content = _with_extra_ids(model.getvalue())
  folders.write_whole(path, content.SerializeToString())
  return len(content.pieces)


def _with_extra_ids(model: bytes) -> ModelProto:
  """The model with T5's sentinels behind its pieces, the last one first."""
  content = ModelProto.FromString(model)
  for number in reversed(range(EXTRA_IDS)):
    content.pieces.add(
      piece=f"▁<extra_id_{number}>",
      score=0.0,
      type=ModelProto.SentencePiece.USER_DEFINED,
    )
  return content


def _task_text(
  data_dir: str, seed: int, max_examples: int, progress: Progress | None
) -> Iterator[str]:
  """Inputs and targets of every training task that has data."""
  # The tasks import this module for their default vocabulary.
  from t5cr_tasks import tasks

  for spec in tasks.TASKS.values():
    if "train" not in spec.splits:
      continue
    try:
      examples = spec.examples("train", data_dir, seed)
    except DataError:
      continue
    for count, example in enumerate(
      tfds.as_numpy(examples.take(max_examples)), 1
    ):
      yield example["inputs"].decode("utf-8")
      yield example["targets"].decode("utf-8")
      if progress:
        progress(f"vocabulary: {spec.name}", count, None, "examples")
