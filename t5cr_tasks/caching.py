"""What keeps a task's cache from being read with other words or other data.

seqio caches what a task makes before its `CacheDatasetPlaceholder` and asks
nothing when it reads that again. So each cached example carries a stamp of the
vocabulary that made its tokens and of the data set that it comes from. The
stamp is the name of a field, and so it also stands in the cache's `info` file
and can be checked without reading an example.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import seqio
import tensorflow as tf

from t5cr_tasks import blocks, sources
from t5cr_tasks.errors import DataError

STAMP = "t5cr_stamp"
_NONE = "none"
# Vocabularies that are no SentencePiece models are told apart by what they make
# of this.
_SENTENCE = "[user] I'd like a movie like @ Amélie (2001) @, 90 minutes: why?"


@blocks.on_blocks
def stamp(
  dataset: tf.data.Dataset,
  output_features: Mapping[str, Any],
  *,
  source: sources.BuiltDataSource,
  tokenized: bool,
) -> tf.data.Dataset:
  """Tokenizes examples and stamps them; goes right before the placeholder.

  Args:
    dataset: examples that may be cached.
    output_features: the task's features, as seqio passes them.
    source: where the examples come from.
    tokenized: whether to tokenize them; here, because each step of a pipeline
      costs every example some time.

  Returns:
    The examples with a field STAMP/VOCABULARY/DATA, whose value is 0.
  """
  name = "/".join([STAMP, *_stamp(output_features, source, tokenized)])

  def stamped(example: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
    if tokenized:
      example = seqio.preprocessors.tokenize_impl(example, output_features)
    return {**example, name: tf.constant(0)}

  return dataset.map(stamped, num_parallel_calls=tf.data.AUTOTUNE)


def unstamped(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
  """The example without its stamp, if it has one."""
  return {
    name: value
    for name, value in example.items()
    if not name.startswith(f"{STAMP}/")
  }


@blocks.on_blocks
def check(
  dataset: tf.data.Dataset,
  output_features: Mapping[str, Any],
  *,
  task_name: str,
  source: sources.BuiltDataSource,
  tokenized: bool,
) -> tf.data.Dataset:
  """Checks the stamp; goes right behind the placeholder.

  A cache is read on any machine, so its data set need not be there; where it
  is, it must be the one that was cached.

  Args:
    dataset: examples, cached or not.
    output_features: the task's features, as seqio passes them.
    task_name: for the error.
    source: where the examples would come from without a cache.
    tokenized: whether they hold tokens.

  Returns:
    The examples as they are.

  Raises:
    DataError: the examples were cached with another vocabulary, from another
      data set, or by another version of this package.
  """
  fields: Any = dataset.element_spec
  stamps = [name for name in fields if name.startswith(f"{STAMP}/")]
  found = stamps[0].split("/")[1:] if len(stamps) == 1 else []
  if len(found) != 2:
    raise _refusal(task_name, "not written by this version of t5cr_tasks")
  vocabulary, data = _stamp(output_features, source, tokenized)
  if found[0] != vocabulary:
    raise _refusal(
      task_name,
      "written with another vocabulary, so that its tokens would be read as"
      " other words. Set T5CR_VOCABULARY as it was then, if that is the one"
      " you mean",
    )
  if data not in (found[1], _NONE):
    raise _refusal(
      task_name,
      "written from another data set than stands in the TFDS folder in use."
      " Name the cache that belongs to --tfds_data_dir, if there is one",
    )
  return dataset


def _refusal(task_name: str, problem: str) -> DataError:
  folder = seqio.TaskRegistry.get(task_name).cache_dir
  return DataError(
    f"The cache of the task {task_name} in {folder} was {problem}. Or delete"
    f" that folder and cache the task again (`seqio_cache_tasks"
    f" --tasks={task_name}`)."
  )


def _stamp(
  output_features: Mapping[str, Any],
  source: sources.BuiltDataSource,
  tokenized: bool,
) -> tuple[str, str]:
  """What identifies the vocabularies and the data set, or _NONE."""
  vocabularies = {
    vocabulary_fingerprint(feature.vocabulary)
    for feature in output_features.values()
    if tokenized
  }
  data = source.fingerprint() if source.is_built() else ""
  return _short("".join(sorted(vocabularies))), _short(data)


def vocabulary_fingerprint(vocabulary: seqio.Vocabulary) -> str:
  """What identifies a vocabulary: equal where the tokens of all text are.

  Raises:
    DataError: the model file of `T5CR_VOCABULARY` cannot be read.
  """
  if isinstance(vocabulary, seqio.SentencePieceVocabulary):
    return _digest(vocabulary.sp_model or b"")
  ids = vocabulary.encode(_SENTENCE)
  name = f"{type(vocabulary).__name__} {vocabulary.vocab_size} {ids}"
  return _digest(name.encode())


@functools.lru_cache(maxsize=16)
def _digest(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()


def _short(fingerprint: str) -> str:
  return _digest(fingerprint.encode())[:16] if fingerprint else _NONE
