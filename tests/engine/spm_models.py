"""Small SentencePiece models with T5's sentinels, trained on a text that does
not change: the licence."""

import functools
import io
import pathlib

import sentencepiece
from sentencepiece.sentencepiece_model_pb2 import ModelProto

_TEXT = pathlib.Path(__file__).parents[2] / "LICENSE"

# What a tokenizer may trip over.
STRINGS = (
  "",
  " ",
  "a",
  "redial conversation: [user] i like @ alien (1979) @. [assistant] sure!",
  "@ title (1999) @",
  "@ the incredibles (2004) @ harry potter and the chamber of secrets (2002) @",
  "UPPER Case",
  "two  spaces   three",
  "  in front",
  "behind  ",
  "tab\tnew\nline\r\n end",
  "no\u00a0break\u3000wide\u200bzero\u2028line",
  "café naïve Ångström",
  "cafe\u0301 decomposed",
  "½ ﬁ ① ２００４ Ⅷ",
  "“quoted” – dash… ™",
  "日本語 한국어 русский עברית العربية हिन्दी",
  "😀 👍🏽 👨‍👩‍👧 🇩🇪",
  "unknown ☃☃ ☃ signs",
  "------ ===== ...... aaaaa",
  "a▁b ▁ c",
  "\ufeffmark \x00\x07control",
  "1,234.56 $5 100% a_b a/b c:\\d <tag> {x} [y] ~`^",
  "<extra_id_0>",
  "a <extra_id_0> b <extra_id_1> c <extra_id_99>",
  "<extra_id_7>ly glued behind",
  "glued<extra_id_7> in front",
  "<extra_id_1> <extra_id_2>  <extra_id_3>",
  "<extra_id_1><extra_id_2>",
  "none: <extra_id_100> <extra_id_> <extra_id_07> extra_id_3>",
)


@functools.cache
def trained(kind: str, *, byte_fallback: bool = False) -> bytes:
  """A model without sentinels; `kind` is 'bpe' or 'unigram'."""
  model = io.BytesIO()
  lines = [line.lower() for line in _TEXT.read_text().splitlines() if line]
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(lines),
    model_writer=model,
    model_type=kind,
    vocab_size=800,
    hard_vocab_limit=False,
    byte_fallback=byte_fallback,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    num_threads=1,
    minloglevel=2,
  )
  return model.getvalue()


@functools.cache
def with_sentinels(kind: str, *, byte_fallback: bool = False) -> bytes:
  """The same with the sentinels of T5's public model as its last pieces."""
  proto = ModelProto.FromString(trained(kind, byte_fallback=byte_fallback))
  for number in reversed(range(100)):
    proto.pieces.add(
      piece=f"▁<extra_id_{number}>",
      score=0.0,
      type=ModelProto.SentencePiece.USER_DEFINED,
    )
  return proto.SerializeToString()
