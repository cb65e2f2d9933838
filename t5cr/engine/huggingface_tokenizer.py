"""A SentencePiece vocabulary as the tokenizer files of transformers.

`AutoTokenizer` reads `tokenizer.json`, the format of the `tokenizers` library.
It is plain JSON and is written here as such, in the spelling that the oldest
version which transformers 4.44 takes can read: what a newer library saves,
that one cannot.

How SentencePiece reads text is told in the terms of `tokenizers`:

- the normalizer does all that SentencePiece does before it looks for pieces,
  the space in front of the text included, and no pre-tokenizer cuts the text
  into words, so that both models see the same string;
- a sentinel is the piece `▁<extra_id_0>` there, found at the beginning of a
  word only. Here it is the added token `<extra_id_0>`, looked for behind the
  normalizer, which takes the ▁ before a sentinel away and breaks one in the
  middle of a word with a mark that the pre-tokenizer removes.
"""

import base64
import os
import pathlib
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece.sentencepiece_model_pb2 import (
  ModelProto,  # pyright: ignore[reportAttributeAccessIssue]
)

from t5cr import errors

VOCABULARY_FILE = "spiece.model"
EXTRA_IDS = 100

_UNIGRAM, _BPE = 1, 2  # TrainerSpec.ModelType
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6
_SPACE = "▁"
_MARK = "\ufdd0"  # A character that Unicode keeps out of texts.
_REST_OF_SENTINEL = "extra_id_[1-9]?[0-9]>"
# The engine's own: padding, the end of a text and what is unknown.
_SPECIAL_IDS = {"pad": 0, "eos": 1, "unk": 2}


def _sentinel(number: int) -> str:
  return f"<extra_id_{number}>"


def read(vocabulary: str | os.PathLike[str] | bytes) -> bytes:
  """The content of a SentencePiece model, given itself or its path.

  Raises:
    UsageError: there is no such file.
  """
  if isinstance(vocabulary, bytes):
    return vocabulary
  path = pathlib.Path(vocabulary)
  if not path.is_file():
    raise errors.UsageError(
      f"No vocabulary at {path}: give the SentencePiece model that the model "
      "was trained with, as a local file."
    )
  return path.read_bytes()


def files(content: bytes, vocab_size: int) -> dict[str, Any]:
  """What `AutoTokenizer` reads, for a vocabulary like T5's.

  Args:
    content: the SentencePiece model, BPE or unigram, with T5's 100 sentinels
      as its last pieces. To one without sentinels they are added, as
      transformers and `seqio.SentencePieceVocabulary(extra_ids=100)` do.
    vocab_size: rows of the model's embedding; more than there are pieces is
      padding.

  Returns:
    File name -> bytes (`spiece.model`, as given) or what to write as JSON.

  Raises:
    UsageError: the vocabulary cannot be said in these files, or has more ids
      than the model.
  """
  proto = _parse(content)
  pieces, added = _split(proto)
  if len(pieces) + EXTRA_IDS > vocab_size:
    raise errors.UsageError(
      f"The vocabulary has {len(pieces)} pieces and {EXTRA_IDS} sentinels, but "
      f"the model embeds {vocab_size} ids. Give the vocabulary that the model "
      "was trained with."
    )
  names = {name: pieces[i].piece for name, i in _SPECIAL_IDS.items()}
  sentinels = [_sentinel(i) for i in range(EXTRA_IDS)]
  special = {f"{name}_token": piece for name, piece in names.items()}
  special_map = {**special, "additional_special_tokens": sentinels}
  return {
    VOCABULARY_FILE: content,
    "tokenizer.json": _tokenizer(proto, pieces, names),
    "tokenizer_config.json": {
      # Not T5Tokenizer: that one of transformers 5 makes a unigram model of
      # every vocabulary and cuts the text at each white space.
      "tokenizer_class": "PreTrainedTokenizerFast",
      **special_map,
      # For T5Tokenizer of transformers 4, which counts from spiece.model.
      "extra_ids": EXTRA_IDS if added else 0,
      "clean_up_tokenization_spaces": False,
      "model_input_names": ["input_ids", "attention_mask"],
    },
    "special_tokens_map.json": special_map,
  }


def _parse(content: bytes) -> Any:
  """Reads the model; refuses one whose text handling is not like T5's."""
  try:
    proto = ModelProto.FromString(content)
  except DecodeError as error:
    raise errors.UsageError(
      f"The vocabulary is no SentencePiece model ({error})."
    ) from error
  trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
  wrong = []
  if trainer.model_type not in (_UNIGRAM, _BPE):
    wrong.append("it is neither a unigram nor a BPE model")
  for name, wanted in (
    ("add_dummy_prefix", True),
    ("remove_extra_whitespaces", True),
    ("escape_whitespaces", True),
  ):
    if getattr(normalizer, name) != wanted:
      wrong.append(f"{name} is {not wanted}")
  if trainer.treat_whitespace_as_suffix:
    wrong.append("treat_whitespace_as_suffix is True")
  kinds = [piece.type for piece in proto.pieces[:3]]
  if kinds != [_CONTROL, _CONTROL, _UNKNOWN]:
    wrong.append("the first three ids are not padding, EOS and unknown")
  if wrong:
    raise errors.UsageError(
      f"The vocabulary cannot be exported: {'; '.join(wrong)}. Those of T5, "
      "and those that this project trains, can."
    )
  return proto


def _split(proto: Any) -> tuple[list[Any], bool]:
  """The pieces before the sentinels; whether sentinels are to be added."""
  pieces = list(proto.pieces)
  sentinels = [_SPACE + _sentinel(i) for i in reversed(range(EXTRA_IDS))]
  held = [piece.piece for piece in pieces[-EXTRA_IDS:]] == sentinels
  if held:
    pieces = pieces[:-EXTRA_IDS]
  known = (_NORMAL, _UNKNOWN, _CONTROL, _BYTE)
  others = [piece.piece for piece in pieces if piece.type not in known]
  if others:
    raise errors.UsageError(
      f"The vocabulary cannot be exported: {len(others)} of its pieces are "
      f"user-defined or unused ({', '.join(others[:5])}). Of such, only T5's "
      f"{EXTRA_IDS} sentinels are known, as the last pieces: "
      f"{sentinels[0]} … {sentinels[-1]}."
    )
  return pieces, not held


def _tokenizer(
  proto: Any, pieces: list[Any], names: dict[str, str]
) -> dict[str, Any]:
  """The content of `tokenizer.json`."""
  byte_fallback = proto.trainer_spec.byte_fallback
  unigram = proto.trainer_spec.model_type == _UNIGRAM
  model = (
    _unigram_model(pieces) if unigram else _bpe_model(pieces, names["unk"])
  )
  return {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": _added_tokens(pieces, names),
    "normalizer": _normalizer(proto.normalizer_spec.precompiled_charsmap),
    "pre_tokenizer": {
      "type": "Split",
      "pattern": {"String": _MARK},
      "behavior": "Removed",
      "invert": False,
    },
    "post_processor": _ends_with(names["eos"]),
    "decoder": _decoder(byte_fallback),
    "model": {**model, "byte_fallback": byte_fallback},
  }


def _unigram_model(pieces: list[Any]) -> dict[str, Any]:
  return {
    "type": "Unigram",
    "unk_id": _SPECIAL_IDS["unk"],
    "vocab": [[piece.piece, piece.score] for piece in pieces],
  }


def _bpe_model(pieces: list[Any], unknown: str) -> dict[str, Any]:
  """SentencePiece's BPE merges whatever gives the piece with the best score.

  Here a merge is of two given pieces, so every way to put a piece together is
  one, in the order of the pieces' scores.
  """
  scores = {p.piece: p.score for p in pieces if p.type == _NORMAL}
  merges = []
  for piece in sorted(scores, key=lambda piece: -scores[piece]):
    for cut in range(1, len(piece)):
      left, right = piece[:cut], piece[cut:]
      if left in scores and right in scores:
        merges.append(f"{left} {right}")
  return {
    "type": "BPE",
    "dropout": None,
    "unk_token": unknown,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": True,
    "vocab": {piece.piece: i for i, piece in enumerate(pieces)},
    "merges": merges,
  }


def _added_tokens(
  pieces: list[Any], names: dict[str, str]
) -> list[dict[str, Any]]:
  """Special tokens with their ids; the sentinels follow on the pieces."""

  def token(number: int, content: str, normalized: bool) -> dict[str, Any]:
    return {
      "id": number,
      "content": content,
      "single_word": False,
      "lstrip": False,
      "rstrip": False,
      "normalized": normalized,
      "special": True,
    }

  return [
    *(token(i, names[name], False) for name, i in _SPECIAL_IDS.items()),
    *(
      token(len(pieces) + i, _sentinel(EXTRA_IDS - 1 - i), True)
      for i in range(EXTRA_IDS)
    ),
  ]


def _replace(pattern: str, by: str, *, regex: bool = False) -> dict[str, Any]:
  kind = "Regex" if regex else "String"
  return {"type": "Replace", "pattern": {kind: pattern}, "content": by}


def _normalizer(charsmap: bytes) -> dict[str, Any]:
  """SentencePiece's: characters, spaces, ▁ for each and in front; sentinels."""
  steps: list[dict[str, Any]] = []
  if charsmap:
    encoded = base64.b64encode(charsmap).decode("ascii")
    steps.append({"type": "Precompiled", "precompiled_charsmap": encoded})
  steps += [
    _replace(r"\A +|[ ▁]+\z", "", regex=True),
    _replace(" +", _SPACE, regex=True),
    {"type": "Prepend", "prepend": _SPACE},
    _replace(f"(?<=[^▁])<(?={_REST_OF_SENTINEL})", "<" + _MARK, regex=True),
    _replace(f"▁(?=<{_REST_OF_SENTINEL})", "", regex=True),
  ]
  return {"type": "Sequence", "normalizers": steps}


def _decoder(byte_fallback: bool) -> dict[str, Any]:
  """Spaces for ▁, one before a sentinel, and none in front of the text."""
  steps = [_replace(_SPACE, " "), _replace("<extra_id_", " <extra_id_")]
  if byte_fallback:
    steps.append({"type": "ByteFallback"})
  steps += [
    {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
  ]
  return {"type": "Sequence", "decoders": steps}


def _ends_with(eos: str) -> dict[str, Any]:
  """Puts EOS behind every text, as T5 is trained."""

  def text(name: str, kind: int) -> dict[str, Any]:
    return {"Sequence": {"id": name, "type_id": kind}}

  def end(kind: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": eos, "type_id": kind}}

  return {
    "type": "TemplateProcessing",
    "single": [text("A", 0), end(0)],
    "pair": [text("A", 0), end(0), text("B", 0), end(0)],
    "special_tokens": {
      eos: {"id": eos, "ids": [_SPECIAL_IDS["eos"]], "tokens": [eos]}
    },
  }
