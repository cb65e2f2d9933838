"""The exported tokenizer gives the ids of the SentencePiece vocabulary."""

import json
import pathlib

import pytest
import sentencepiece
import spm_models
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from spm_models import STRINGS

from t5cr import errors
from t5cr.engine import huggingface_tokenizer

ROWS = 1024  # of the model's embedding

KINDS = [
  pytest.param("bpe", False, id="bpe"),
  pytest.param("unigram", False, id="unigram"),
  pytest.param("bpe", True, id="bpe-bytes"),
  pytest.param("unigram", True, id="unigram-bytes"),
]


def _written(content: bytes, folder: pathlib.Path, rows: int = ROWS):
  """A folder with the tokenizer files and what AutoTokenizer needs beside."""
  for name, value in huggingface_tokenizer.files(content, rows).items():
    if not isinstance(value, bytes):
      value = json.dumps(value).encode()
    (folder / name).write_bytes(value)
  (folder / "config.json").write_text('{"model_type": "t5"}')
  return folder


@pytest.mark.parametrize(("kind", "byte_fallback"), KINDS)
def test_ids_are_those_of_sentencepiece(kind, byte_fallback, tmp_path):
  tokenizers = pytest.importorskip("tokenizers")
  content = spm_models.with_sentinels(kind, byte_fallback=byte_fallback)
  folder = _written(content, tmp_path)
  tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
  processor = sentencepiece.SentencePieceProcessor(model_proto=content)
  assert tokenizer.get_vocab_size() == processor.GetPieceSize()
  for text in STRINGS:
    expected = processor.EncodeAsIds(text)
    assert tokenizer.encode(text, add_special_tokens=False).ids == expected, (
      text
    )
    assert tokenizer.encode(text).ids == [*expected, 1], text


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_decoded_text_is_that_of_sentencepiece(kind, tmp_path):
  tokenizers = pytest.importorskip("tokenizers")
  content = spm_models.with_sentinels(kind)
  folder = _written(content, tmp_path)
  tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
  processor = sentencepiece.SentencePieceProcessor(model_proto=content)
  compared = 0
  for text in STRINGS:
    ids = processor.EncodeAsIds(text)
    if processor.unk_id() not in ids:  # shown as another sign
      text = tokenizer.decode(ids, skip_special_tokens=False)
      assert text == processor.DecodeIds(ids)
      compared += 1
  assert compared > 10


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_auto_tokenizer_is_the_seqio_vocabulary(kind, tmp_path):
  transformers = pytest.importorskip("transformers")
  import seqio

  folder = _written(spm_models.with_sentinels(kind), tmp_path)
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  vocabulary = seqio.SentencePieceVocabulary(str(folder / "spiece.model"))
  ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
  assert ids == (0, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
  assert len(tokenizer) == vocabulary.vocab_size
  for number in (0, 42, 99):
    (sentinel,) = vocabulary.encode(f"<extra_id_{number}>")
    assert sentinel == vocabulary.vocab_size - 1 - number
    assert tokenizer.convert_tokens_to_ids(f"<extra_id_{number}>") == sentinel
    assert tokenizer.convert_ids_to_tokens(sentinel) == f"<extra_id_{number}>"
  for text in STRINGS:
    expected = vocabulary.encode(text)
    assert tokenizer(text).input_ids == [*expected, 1], text
    assert tokenizer(text, add_special_tokens=False).input_ids == expected, text
  batch = tokenizer(["a", "a movie"], padding=True)
  assert set(batch) == {"input_ids", "attention_mask"}
  assert batch.attention_mask[0] == [int(i != 0) for i in batch.input_ids[0]]
  tokenizer.save_pretrained(tmp_path / "again")
  again = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
  assert [again(text).input_ids for text in STRINGS] == [
    tokenizer(text).input_ids for text in STRINGS
  ]


def test_sentinels_are_added_to_a_model_without(tmp_path):
  tokenizers = pytest.importorskip("tokenizers")
  content = spm_models.trained("unigram")
  folder = _written(content, tmp_path)
  assert (folder / "spiece.model").read_bytes() == content
  tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
  held = _written(spm_models.with_sentinels("unigram"), tmp_path)
  same = tokenizers.Tokenizer.from_file(str(held / "tokenizer.json"))
  for text in STRINGS:
    assert tokenizer.encode(text).ids == same.encode(text).ids, text


def test_the_files_can_be_read_by_older_versions():
  """Those before tokenizers 0.20 know merges as text, and no ignore_merges."""
  files = huggingface_tokenizer.files(spm_models.with_sentinels("bpe"), ROWS)
  model = files["tokenizer.json"]["model"]
  assert all(len(merge.split(" ")) == 2 for merge in model["merges"])
  assert "ignore_merges" not in model


def _changed(**values) -> bytes:
  proto = ModelProto.FromString(spm_models.with_sentinels("bpe"))
  for name, value in values.items():
    part, _, field = name.partition("__")
    setattr(getattr(proto, part), field, value)
  return proto.SerializeToString()


@pytest.mark.parametrize(
  ("content", "words"),
  [
    (b"no model", "no SentencePiece model"),
    (_changed(normalizer_spec__add_dummy_prefix=False), "add_dummy_prefix"),
    (
      _changed(normalizer_spec__remove_extra_whitespaces=False),
      "remove_extra_whitespaces",
    ),
    (_changed(trainer_spec__model_type=3), "neither a unigram nor a BPE"),
  ],
)
def test_other_vocabularies_are_refused(content, words):
  with pytest.raises(errors.UsageError, match=words):
    huggingface_tokenizer.files(content, ROWS)


def test_user_defined_pieces_are_refused_by_name():
  proto = ModelProto.FromString(spm_models.trained("bpe"))
  proto.pieces.add(
    piece="<mine>", score=0.0, type=ModelProto.SentencePiece.USER_DEFINED
  )
  with pytest.raises(errors.UsageError, match="<mine>"):
    huggingface_tokenizer.files(proto.SerializeToString(), ROWS)


def test_other_special_ids_are_refused():
  proto = ModelProto.FromString(spm_models.with_sentinels("bpe"))
  proto.pieces[1].type = ModelProto.SentencePiece.NORMAL
  with pytest.raises(errors.UsageError, match="first three ids"):
    huggingface_tokenizer.files(proto.SerializeToString(), ROWS)


def test_a_vocabulary_larger_than_the_embedding_is_refused():
  with pytest.raises(errors.UsageError, match="embeds 512 ids"):
    huggingface_tokenizer.files(spm_models.with_sentinels("bpe"), 512)


def test_a_vocabulary_that_is_not_there_is_named(tmp_path):
  with pytest.raises(errors.UsageError, match="spm.model"):
    huggingface_tokenizer.read(tmp_path / "spm.model")
