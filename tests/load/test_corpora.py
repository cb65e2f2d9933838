"""Corpora of one dialogue, of one user and of one movie."""

import csv
import json
import pathlib

import numpy as np
import pytest
import seqio
import tensorflow_datasets as tfds

import t5cr_tasks
from t5cr_tasks.datasets import build as datasets
from t5cr_tasks.errors import DataError
from t5cr_tasks.probes import build as probes

TURNS = 600
PREFIX = "load_"


def movielens(raw: pathlib.Path, users: int, movies: int) -> None:
  """Every user rates every movie highly, in the order of the ids."""
  folder = raw / "movielens"
  folder.mkdir(parents=True)
  tables = {
    "movies.csv": [
      ("movieId", "title", "genres"),
      *((m, f"Movie {m} (1990)", "Drama") for m in range(1, movies + 1)),
    ],
    "ratings.csv": [
      ("userId", "movieId", "rating", "timestamp"),
      *(
        (user, movie, 5.0, user * 1000 + movie)
        for user in range(1, users + 1)
        for movie in range(1, movies + 1)
      ),
    ],
  }
  for name, rows in tables.items():
    with (folder / name).open("w", newline="") as file:
      csv.writer(file).writerows(rows)


@pytest.fixture(scope="module")
def long_dialogue(tmp_path_factory):
  """A data directory of one dialogue of TURNS turns, twice."""
  folder = tmp_path_factory.mktemp("long")
  raw = folder / "raw" / "redial"
  raw.mkdir(parents=True)
  (raw / "movies_with_mentions.csv").write_text(
    "movieId,movieName,nbMentions\n7,Heat (1995),1\n"
  )
  answers = {"7": {"suggested": 1, "seen": 0, "liked": 1}}
  dialogue = {
    "conversationId": "1",
    "initiatorWorkerId": 1,
    "respondentWorkerId": 2,
    "movieMentions": {"7": "Heat (1995)"},
    "initiatorQuestions": answers,
    "respondentQuestions": answers,
    "messages": [
      {
        "messageId": turn,
        "timeOffset": turn,
        "senderWorkerId": 1 + turn % 2,
        "text": f"turn {turn}",
      }
      for turn in range(TURNS)
    ],
  }
  for name in ("train_data.jsonl", "test_data.jsonl"):
    (raw / name).write_text(json.dumps(dialogue) + "\n")
  data_dir = folder / "data"
  built = datasets.build(raw.parent, data_dir, only=["t5cr_redial"])
  assert built["t5cr_redial"]["status"] == "built"
  return data_dir


def test_of_a_long_dialogue_the_beginning_is_kept(long_dialogue):
  """As docs/tasks.md says: seqio truncates at the end."""
  t5cr_tasks.register(prefix=PREFIX, vocabulary=seqio.ByteVocabulary())
  lengths = {"inputs": 512, "targets": 128}
  seqio.set_tfds_data_dir_override(str(long_dialogue))
  try:
    task = seqio.get_mixture_or_task(f"{PREFIX}t5cr_redial_conversation")
    examples = list(
      tfds.as_numpy(task.get_dataset(lengths, "validation", shuffle=False))
    )
  finally:
    seqio.set_tfds_data_dir_override(None)
  # The seeker begins, so each second turn is the recommender's.
  assert len(examples) == TURNS // 2
  answers = {e["targets_pretokenized"].decode(): e for e in examples}
  for turn in range(1, TURNS, 2):
    said = [
      f"[{'user' if t % 2 == 0 else 'assistant'}] turn {t}" for t in range(turn)
    ]
    whole = "redial conversation: " + " ".join(said)
    kept = np.frombuffer(whole.encode()[:511], np.uint8) + 3
    found = answers[f"turn {turn}"]["inputs"]
    np.testing.assert_array_equal(found, [*kept, 1])


def test_one_user(tmp_path):
  """The co-occurrences are those of that user's three runs."""
  movielens(tmp_path / "raw", users=1, movies=30)
  datasets.build(tmp_path / "raw", tmp_path / "data")
  with pytest.raises(DataError, match="at least 2 movies that occur over 30"):
    probes.build(tmp_path / "data")
  built = probes.build(tmp_path / "data", min_count=0, phrased_probes=0)
  tally = built["recommendation"]["counts"]["probes"]
  # Each movie goes with the nine of its run; all three popular movies are of
  # the first run, whose movies have no negative that is not related.
  assert tally["read"] == 30 * 9
  assert tally["kept"] == 20 * 9
  assert sum(tally["dropped"].values()) == 10 * 9


def test_one_movie(tmp_path):
  """No run of ten can be made of it, and the message says so."""
  movielens(tmp_path / "raw", users=3, movies=1)
  with pytest.raises(DataError, match='"incomplete": 3'):
    datasets.build(tmp_path / "raw", tmp_path / "data")
  assert datasets.available(tmp_path / "data") == {}
  with pytest.raises(DataError, match="which all probes are made from"):
    probes.build(tmp_path / "data")
