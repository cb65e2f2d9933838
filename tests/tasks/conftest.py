"""A tiny corpus as TFDS data sets, and a vocabulary trained on it."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import seqio
import tensorflow_datasets as tfds

from t5cr_tasks import vocabulary

TEXT = tfds.features.Text()
TEXTS = tfds.features.Sequence(tfds.features.Text())

DIALOGUES = [
  {
    "dialogue_id": "7",
    "turn": 3,
    "roles": ["user", "assistant", "user"],
    "turns": ["Hi!", "Hello. What do you LIKE?", "Comedies"],
    "response": "Did you see @ Airplane! (1980) @ ?",
    "recommended": ["Airplane! (1980)", "The Naked Gun (1988)"],
  },
  {
    "dialogue_id": "8",
    "turn": 1,
    "roles": ["user"],
    "turns": ["Anything with ÉCLAT?"],
    "response": "No idea, sorry.",
    "recommended": [],
  },
]
RUNS = [
  {
    "user_id": 1,
    "run": 0,
    "movie_ids": list(range(10)),
    "titles": [f"Movie {letter} (1990)" for letter in "ABCDEFGHIJ"],
  },
  {
    "user_id": 2,
    "run": 0,
    "movie_ids": list(range(10)),
    "titles": [f"Film {letter} (2001)" for letter in "KLMNOPQRST"],
  },
]
TAGGED = [
  {
    "movie_id": 1,
    "title": "The Book Thief (2013)",
    "tags": ["Drama", "based on a book", "adapted from:book", "war", "sad"]
    + ["slow", "long"],
  },
  {"movie_id": 2, "title": "Heat (1995)", "tags": ["Crime"]},
]
REVIEWS = [
  {
    "review_id": 1,
    "title": "Alien (1979)",
    "sentences": ["Scary.", "I LIKED it.", "See it!"],
  }
]
CATALOGUE = [
  {"title": "Airplane! (1980)", "source": "redial"},
  {"title": "Heat (1995)", "source": "movielens"},
]


def probe_records(inputs: list[str], targets: list[str]) -> list[dict]:
  """The two records of one probe."""
  shared = {
    "probe_id": 3,
    "movie": "Heat (1995)",
    "related": "Fargo (1996)",
    "negative": "Jaws (1975)",
    "tag": "",
    "rank": 2,
    "decile": 1,
    "named": 0,
    "template": "paper",
  }
  return [
    {**shared, "candidate": candidate, "inputs": i, "targets": t}
    for candidate, (i, t) in enumerate(zip(inputs, targets, strict=True))
  ]


PROBES = probe_records(
  ["redial conversation: [User] A movie like @ Heat (1995) @?"] * 2,
  ["Sure: @ Fargo (1996) @?", "Sure: @ Jaws (1975) @?"],
)
_PROBE_FEATURES = {
  "probe_id": np.int64,
  "candidate": np.int32,
  "rank": np.int32,
  "decile": np.int32,
  "named": np.int32,
} | {
  name: TEXT
  for name in ("inputs", "targets", "movie", "related", "negative", "tag")
  + ("template",)
}

_DATA_SETS: list[tuple[str, dict[str, Any], dict[str, list[dict]]]] = [
  (
    "t5cr_redial",
    {
      "dialogue_id": TEXT,
      "turn": np.int32,
      "roles": TEXTS,
      "turns": TEXTS,
      "response": TEXT,
      "recommended": TEXTS,
    },
    {"train": DIALOGUES, "validation": DIALOGUES},
  ),
  (
    "t5cr_movielens/sequences",
    {
      "user_id": np.int64,
      "run": np.int32,
      "movie_ids": tfds.features.Sequence(np.int64),
      "titles": TEXTS,
    },
    {"train": RUNS},
  ),
  (
    "t5cr_movielens/tags",
    {"movie_id": np.int64, "title": TEXT, "tags": TEXTS},
    {"train": TAGGED},
  ),
  (
    "t5cr_reviews",
    {"review_id": np.int64, "title": TEXT, "sentences": TEXTS},
    {"train": REVIEWS},
  ),
  ("t5cr_catalogue", {"title": TEXT, "source": TEXT}, {"train": CATALOGUE}),
  ("t5cr_probes/recommendation", _PROBE_FEATURES, {"validation": PROBES}),
]


@pytest.fixture(scope="session")
def tiny_data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
  """A data directory with every kind of data set, in the stored formats."""
  folder = tmp_path_factory.mktemp("tfds")
  for name, features, splits in _DATA_SETS:
    name, _, config = name.partition("/")
    tfds.dataset_builders.store_as_tfds_dataset(
      name=name,
      config=config or None,
      version="1.1.0" if name == "t5cr_probes" else "1.0.0",
      features=tfds.features.FeaturesDict(features),
      split_datasets={
        split: list(enumerate(records)) for split, records in splits.items()
      },
      data_dir=folder,
      disable_shuffling=name == "t5cr_probes",  # Pairs stay together.
    )
  return str(folder)


@pytest.fixture(scope="session")
def tiny_vocabulary(
  tiny_data_dir: str, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
  """A SentencePiece model of the tiny corpus, of at most 300 pieces."""
  path = tmp_path_factory.mktemp("vocabulary") / "sentencepiece.model"
  vocabulary.train(tiny_data_dir, path, size=300)
  return path


@pytest.fixture
def tiny_corpus(
  tiny_data_dir: str,
  tiny_vocabulary: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
  """The tiny data and vocabulary as those in use; gives the data directory."""
  monkeypatch.setenv(vocabulary.ENVIRONMENT_VARIABLE, str(tiny_vocabulary))
  seqio.set_tfds_data_dir_override(tiny_data_dir)
  yield tiny_data_dir
  seqio.set_tfds_data_dir_override(None)
