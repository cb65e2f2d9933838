import copy
import hashlib

import pytest
import seqio
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from t5cr_tasks import vocabulary
from t5cr_tasks.errors import DataError


def test_trained_model_has_the_ids_of_t5(tiny_vocabulary):
  trained = seqio.SentencePieceVocabulary(str(tiny_vocabulary))
  tokenizer = trained.tokenizer
  assert (trained.pad_id, trained.eos_id, trained.unk_id) == (0, 1, 2)
  assert tokenizer.IdToPiece([0, 1, 2]) == ["<pad>", "</s>", "<unk>"]
  assert tokenizer.bos_id() == -1
  assert tokenizer.IdToPiece(trained.vocab_size - 1) == "▁<extra_id_0>"
  assert tokenizer.IdToPiece(trained.vocab_size - 100) == "▁<extra_id_99>"
  assert trained.encode("<extra_id_99> a")[0] == trained.vocab_size - 100


def test_trained_model_knows_the_tasks_and_all_that_may_be_typed(
  tiny_vocabulary,
):
  trained = seqio.SentencePieceVocabulary(str(tiny_vocabulary))
  text = "redial conversation: [user] any @ zulu (1964) @? 2357; ~éclat #1"
  ids = trained.encode(text)
  assert trained.unk_id not in ids
  assert trained.decode(ids) == text


def test_training_returns_the_number_of_ids(tiny_data_dir, tmp_path):
  path = tmp_path / "new" / "v.model"
  ids = vocabulary.train(tiny_data_dir, path, size=110)
  assert ids == 210
  assert seqio.SentencePieceVocabulary(str(path)).vocab_size == ids
  assert list(path.parent.iterdir()) == [path]


def test_training_again_writes_the_same_bytes(
  tiny_data_dir, tiny_vocabulary, tmp_path
):
  vocabulary.train(tiny_data_dir, tmp_path / "v.model", size=300)
  assert (tmp_path / "v.model").read_bytes() == tiny_vocabulary.read_bytes()


# Of the pieces, scores and types of the tiny vocabulary.
PIECES = "81a8ed6cd1e4353da69ebdae3522880ea224e60c75397059519c76796724daf5"


def test_every_version_of_sentencepiece_gives_the_same_pieces(tiny_vocabulary):
  model = ModelProto.FromString(tiny_vocabulary.read_bytes())
  text = "\n".join(f"{p.piece} {p.score} {p.type}" for p in model.pieces)
  assert hashlib.sha256(text.encode()).hexdigest() == PIECES, (
    "the pieces are not those of SentencePiece 0.2.2 and 0.2.3. A change of"
    " the tiny corpus, of the tasks' text or of the training is a reason to"
    " put the new value here; another version is not."
  )


def test_training_reads_the_data_it_is_given(tiny_data_dir, tmp_path):
  calls = []
  seqio.set_tfds_data_dir_override(str(tmp_path / "elsewhere"))
  try:
    vocabulary.train(
      tiny_data_dir,
      tmp_path / "v.model",
      size=110,
      max_examples=3,
      progress=lambda *call: calls.append(call),
    )
  finally:
    seqio.set_tfds_data_dir_override(None)
  assert calls[-1] == (
    "vocabulary: t5cr_movielens_review",
    3,
    None,
    "examples",
  )
  assert sum("sequence" in call[0] for call in calls) == 3


def test_training_without_data_leaves_the_old_model(tmp_path):
  path = tmp_path / "v.model"
  path.write_bytes(b"old")
  with pytest.raises(DataError, match="t5cr data build"):
    vocabulary.train(tmp_path, path, size=110)
  assert path.read_bytes() == b"old"


def test_training_an_impossible_size_leaves_the_old_model(
  tiny_data_dir, tmp_path
):
  path = tmp_path / "v.model"
  path.write_bytes(b"old")
  with pytest.raises(DataError, match="5 pieces"):
    vocabulary.train(tiny_data_dir, path, size=5)
  assert path.read_bytes() == b"old"


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_unreadable_model_is_named_on_first_use(content, tmp_path, monkeypatch):
  path = tmp_path / "v.model"
  if content is not None:
    path.write_bytes(content)
  monkeypatch.setenv("T5CR_VOCABULARY", str(path))
  default = vocabulary.TaskVocabulary()
  assert default.sentencepiece_model_file == str(path)
  with pytest.raises(DataError, match=r"v\.model .*T5CR_VOCABULARY"):
    default.encode("hello")


def test_default_vocabulary_follows_the_environment(
  tiny_data_dir, tiny_vocabulary, tmp_path, monkeypatch
):
  default = vocabulary.default_vocabulary()
  monkeypatch.setenv("T5CR_VOCABULARY", str(tiny_vocabulary))
  tiny = seqio.SentencePieceVocabulary(str(tiny_vocabulary))
  text = "movielens tags: drama"
  assert default.vocab_size == tiny.vocab_size
  assert default.encode(text) == tiny.encode(text)
  assert default.encode_tf(text).numpy().tolist() == tiny.encode(text)
  assert default.decode([*tiny.encode(text), 1, 5]) == text
  vocabulary.train(tiny_data_dir, tmp_path / "v.model", size=110)
  monkeypatch.setenv("T5CR_VOCABULARY", str(tmp_path / "v.model"))
  assert default.vocab_size == 210


def test_default_vocabulary_is_t5s_public_one(monkeypatch):
  monkeypatch.delenv("T5CR_VOCABULARY", raising=False)
  path = vocabulary.default_vocabulary().sentencepiece_model_file
  assert path == (
    "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model"
  )


def test_default_vocabulary_equals_copies_and_the_one_of_t5x_models():
  default = vocabulary.default_vocabulary()
  assert copy.deepcopy(default) == default
  # As t5x/examples/t5/t5_1_1/base.gin configures it.
  assert default == seqio.SentencePieceVocabulary(vocabulary.PUBLIC_MODEL)
