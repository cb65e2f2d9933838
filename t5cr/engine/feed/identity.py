"""What tells data and vocabularies apart."""

import hashlib
import json
from collections.abc import Sequence

import seqio

from t5cr.engine.feed.names import provider, task_names

_INPUTS, _TARGETS = "inputs", "targets"


def vocabulary_size(name: str) -> int:
  """Tokens of the larger vocabulary of a Mixture or Task."""
  features = provider(name).output_features
  return max(
    features[_INPUTS].vocabulary.vocab_size,
    features[_TARGETS].vocabulary.vocab_size,
  )


def vocabulary_model(name: str) -> bytes | None:
  """The SentencePiece model of a Mixture's or Task's targets, if it is one."""
  vocabulary = provider(name).output_features[_TARGETS].vocabulary
  if isinstance(vocabulary, seqio.SentencePieceVocabulary):
    return vocabulary.sp_model
  return None


def fingerprints(names: Sequence[str]) -> dict[str, str]:
  """What identifies the data behind Mixtures and Tasks, and the vocabulary.

  Args:
    names: of Mixtures and Tasks.

  Returns:
    TFDS name -> what the source's own `fingerprint()` gives, or sha256 of the
    data set's description if it has no such method, and `vocabulary` -> sha256
    of a SentencePiece model. Sources that are not of TFDS and other
    vocabularies have none.
  """
  found: dict[str, str] = {}
  for name in dict.fromkeys(t for n in names for t in task_names(n)):
    task = seqio.TaskRegistry.get(name)
    if isinstance(task.source, seqio.TfdsDataSource):
      data_set = str(task.source.tfds_dataset.name)
      found[data_set] = _fingerprint(task.source)
    vocabulary = task.output_features[_TARGETS].vocabulary
    if isinstance(vocabulary, seqio.SentencePieceVocabulary):
      model = vocabulary.sp_model or b""
      found["vocabulary"] = hashlib.sha256(model).hexdigest()
  return found


def _fingerprint(source: seqio.TfdsDataSource) -> str:
  own = getattr(source, "fingerprint", None)
  if own is not None:
    return str(own())
  info = source.tfds_dataset.builder.info
  # The metadata is not part of the description.
  metadata = json.dumps(dict(info.metadata or {}), sort_keys=True, default=str)
  return hashlib.sha256((info.as_json + metadata).encode()).hexdigest()
