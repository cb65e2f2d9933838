"""The files are those of TFDS's own writer, and the same in each process."""

import hashlib
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.core.utils import shard_utils

from t5cr_tasks import sample
from t5cr_tasks.datasets import build, writer

FEATURES = {
  "text": tfds.features.Text(),
  "small": np.int32,
  "number": np.int64,
  "texts": tfds.features.Sequence(tfds.features.Text()),
  "numbers": tfds.features.Sequence(np.int64),
}
EXAMPLE = {
  "text": "Amélie (2001)",
  "small": -7,
  "number": 1 << 40,
  "texts": ["a", "", "ü"],
  "numbers": [3, -1, 0],
}
EMPTY = {"text": "", "small": 0, "number": 0, "texts": [], "numbers": []}


def features() -> tfds.features.FeaturesDict:
  return tfds.features.FeaturesDict(FEATURES)


def stock(example: dict) -> tf.train.Example:
  """What TFDS's serialiser makes of an example."""
  serializer = example_serializer.ExampleSerializer(
    features().get_serialized_info()
  )
  return tf.train.Example.FromString(
    serializer.serialize_example(features().encode_example(example))
  )


@pytest.mark.parametrize("example", [EXAMPLE, EMPTY])
def test_an_example_gives_the_bytes_of_tfds_in_the_order_of_names(example):
  written = writer.Serializer(features()).serialize_example(example)
  assert written == stock(example).SerializeToString(deterministic=True)


def test_another_process_gives_the_same_bytes():
  code = (
    "import sys; sys.path[:0] = sys.argv[1:];"
    "import test_datasets_writer as t;"
    "s = t.writer.Serializer(t.features()).serialize_example(t.EXAMPLE);"
    "sys.stdout.write(s.hex())"
  )
  folders = [
    str(pathlib.Path(module.__file__).parents[depth])
    for module, depth in ((sys.modules[__name__], 0), (writer, 2))
  ]
  other = subprocess.run(
    [sys.executable, "-c", code, *folders],
    check=True,
    capture_output=True,
    text=True,
  )
  written = writer.Serializer(features()).serialize_example(EXAMPLE)
  assert other.stdout == written.hex()


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"small": 1 << 31}, "2147483648 is not between"),
    ({"more": 1}, "where the features are"),
  ],
)
def test_an_example_that_does_not_fit_is_an_error(change, words):
  with pytest.raises(ValueError, match=words):
    writer.Serializer(features()).serialize_example(EXAMPLE | change)


def test_a_feature_of_another_kind_is_an_error():
  other = tfds.features.FeaturesDict({"share": np.float32})
  with pytest.raises(TypeError, match="share"):
    writer.Serializer(other)


def digests(folder: pathlib.Path) -> dict[str, str]:
  return {
    path.relative_to(folder).as_posix(): hashlib.sha256(
      path.read_bytes()
    ).hexdigest()
    for path in folder.rglob("*")
    if path.is_file()
  }


def test_a_build_writes_the_files_that_tfds_writes(tmp_path, monkeypatch):
  sample.write_corpus(tmp_path / "raw")
  # Several shards, though the sample is small.
  for shards in (writer.ShardConfig, shard_utils.ShardConfig):
    monkeypatch.setattr(shards, "min_shard_size", 1 << 12)
  build.build(tmp_path / "raw", tmp_path / "lean")

  # All is TFDS's own but for the order of the features in a record.
  def in_order(self, example):
    return self.get_tf_example(example).SerializeToString(deterministic=True)

  monkeypatch.setattr(
    example_serializer.ExampleSerializer, "serialize_example", in_order
  )
  monkeypatch.delattr(writer.LeanBuilder, "_generate_splits")
  build.build(tmp_path / "raw", tmp_path / "stock")
  lean, stock = digests(tmp_path / "lean"), digests(tmp_path / "stock")
  assert lean == stock
  assert any("00002-of-000" in name for name in lean), sorted(lean)
