"""The TFDS data sets: what is in them, and that bad input changes nothing."""

import hashlib
import io
import json
import pathlib
from collections.abc import Callable

import pytest
import seqio
import tensorflow_datasets as tfds
from rich.console import Console

from t5cr_tasks.datasets import build
from t5cr_tasks.errors import DataError

SEQUENCES = "t5cr_movielens/sequences"
TAGS = "t5cr_movielens/tags"


def dialogue(number: int, *said: tuple[int, str]) -> str:
  """A dialogue of seeker 1 and recommender 2 about two movies."""
  questions = {
    "11111": {"suggested": 1, "seen": 0, "liked": 2},
    "22222": {"suggested": 0, "seen": 1, "liked": 1},
  }
  return json.dumps(
    {
      "conversationId": str(number),
      "initiatorWorkerId": 1,
      "respondentWorkerId": 2,
      "initiatorQuestions": questions,
      "respondentQuestions": [],
      "movieMentions": {"11111": "Alien  (1979)", "22222": "Kill Bill"},
      "messages": [
        {
          "messageId": 0,
          "timeOffset": 0,
          "text": text,
          "senderWorkerId": sender,
        }
        for sender, text in said
      ],
    }
  )


def write_redial(raw_dir: pathlib.Path) -> None:
  folder = raw_dir / "redial"
  folder.mkdir(parents=True)
  train = [
    dialogue(
      1,
      (2, "Hi"),
      (1, "I like @22222"),
      (1, "a lot"),
      (2, "See @11111"),
      (2, "or @22222?"),
      (1, "OK"),
      (2, "Bye"),
    ),
    dialogue(2, (2, "Hello"), (1, "bye")),
  ]
  test = [dialogue(3, (1, "Hi"), (2, "@11111"))]
  (folder / "train_data.jsonl").write_text("\n".join(train) + "\n")
  (folder / "test_data.jsonl").write_text("\n".join(test) + "\n")
  (folder / "movies_with_mentions.csv").write_text(
    "movieId,movieName,nbMentions\n11111,Alien  (1979),9\n33333,Jaws ,1\n"
  )


def write_movielens(raw_dir: pathlib.Path, name: str = "movielens") -> None:
  folder = raw_dir / name
  folder.mkdir(parents=True)
  movies = "".join(
    f'{movie},"Film {movie}, The (2000)",Drama\n' for movie in range(1, 13)
  )
  (folder / "movies.csv").write_text("movieId,title,genres\n" + movies)
  ratings = "".join(f"7,{movie},5.0,{100 - movie}\n" for movie in range(1, 13))
  (folder / "ratings.csv").write_text(
    "userId,movieId,rating,timestamp\n" + ratings
  )
  (folder / "genome-tags.csv").write_text("tagId,tag\n1,war\n2,sad\n")
  (folder / "genome-scores.csv").write_text(
    "movieId,tagId,relevance\n3,1,0.9\n3,2,0.95\n4,1,0.8\n"
  )


def write_reviews(raw_dir: pathlib.Path) -> None:
  (raw_dir / "reviews").mkdir(parents=True)
  (raw_dir / "reviews" / "reviews.csv").write_text(
    "Film 3, The (2000)\tIt is fine. See it.\n"
  )


@pytest.fixture
def raw_dir(tmp_path: pathlib.Path) -> pathlib.Path:
  raw_dir = tmp_path / "raw"
  write_redial(raw_dir)
  write_movielens(raw_dir)
  write_reviews(raw_dir)
  return raw_dir


def read(data_dir: pathlib.Path, name: str, split: str = "train") -> list[dict]:
  """The records of a split as plain python, in the order stored."""

  def plain(value):
    if isinstance(value, bytes):
      return value.decode()
    if hasattr(value, "tolist"):
      return plain(value.tolist())
    return [plain(item) for item in value] if isinstance(value, list) else value

  builder = tfds.builder(f"{name}:1.0.0", data_dir=data_dir)
  records = tfds.as_numpy(builder.as_dataset(split=split))
  return [
    {key: plain(value) for key, value in record.items()} for record in records
  ]


def digests(folder: pathlib.Path) -> dict[str, str]:
  return {
    path.relative_to(folder).as_posix(): hashlib.sha256(
      path.read_bytes()
    ).hexdigest()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def edit(path: pathlib.Path, change: Callable[[str], str]) -> None:
  path.write_text(change(path.read_text()))


def test_builds_everything(raw_dir, tmp_path):
  data_dir = tmp_path / "tfds"
  seen: list[tuple] = []
  results = build.build(
    raw_dir, data_dir, progress=lambda *report: seen.append(report)
  )
  assert list(results) == list(build.NAMES)
  assert {result["status"] for result in results.values()} == {"built"}
  assert build.available(data_dir) == {
    name: result["fingerprint"] for name, result in results.items()
  }
  assert ("build t5cr_redial", 2, 2, "dialogues") in seen
  assert not list(data_dir.glob(".building-*"))

  assert sorted(read(data_dir, "t5cr_redial"), key=lambda r: r["turn"]) == [
    {
      "dialogue_id": "1",
      "turn": 2,
      "roles": ["assistant", "user"],
      "turns": ["Hi", "I like @ Kill Bill @ a lot"],
      "response": "See @ Alien (1979) @ or @ Kill Bill @?",
      "recommended": ["Alien (1979)", "Kill Bill"],
    },
    {
      "dialogue_id": "1",
      "turn": 4,
      "roles": ["assistant", "user", "assistant", "user"],
      "turns": [
        "Hi",
        "I like @ Kill Bill @ a lot",
        "See @ Alien (1979) @ or @ Kill Bill @?",
        "OK",
      ],
      "response": "Bye",
      "recommended": ["Alien (1979)", "Kill Bill"],
    },
  ]
  (valid,) = read(data_dir, "t5cr_redial", "validation")
  assert (valid["dialogue_id"], valid["turns"]) == ("3", ["Hi"])

  (run,) = read(data_dir, SEQUENCES)
  assert run == {
    "user_id": 7,
    "run": 0,
    "movie_ids": list(range(12, 2, -1)),
    "titles": [f"The Film {movie} (2000)" for movie in range(12, 2, -1)],
  }
  assert read(data_dir, TAGS) == [
    {"movie_id": 3, "title": "The Film 3 (2000)", "tags": ["war", "sad"]}
  ]
  assert read(data_dir, "t5cr_reviews") == [
    {
      "review_id": 1,
      "title": "The Film 3 (2000)",
      "sentences": ["It is fine.", "See it."],
    }
  ]
  catalogue = read(data_dir, "t5cr_catalogue")
  assert sorted(
    row["title"] for row in catalogue if row["source"] == "redial"
  ) == ["Alien (1979)", "Jaws", "Kill Bill"]
  assert sum(row["source"] == "movielens" for row in catalogue) == 12


def test_counts_survive_in_the_metadata(raw_dir, tmp_path):
  results = build.build(raw_dir, tmp_path, only=["t5cr_redial"])
  counts = results["t5cr_redial"]["counts"]
  assert counts["train dialogues"] == {
    "read": 2,
    "kept": 1,
    "dropped": {"no recommender turn with something before it": 1},
    "noted": {
      "begun by the recommender": 2,
      "no recommended title": 1,
      "no recommender's answers": 2,
    },
  }
  assert counts["train messages"]["noted"] == {
    "by the recommender": 5,
    "joined to the message before": 2,
  }
  assert counts["train responses"]["dropped"] == {"nothing before it": 2}
  metadata = tfds.builder("t5cr_redial:1.0.0", data_dir=tmp_path).info.metadata
  assert metadata["counts"] == counts
  assert metadata["fingerprint"] == results["t5cr_redial"]["fingerprint"]
  assert metadata["options"]["merge_turns"] is True
  raw_bytes = (raw_dir / "redial" / "test_data.jsonl").read_bytes()
  assert (
    metadata["raw"]["test_data.jsonl"] == hashlib.sha256(raw_bytes).hexdigest()
  )


def test_seqio_reads_them(raw_dir, tmp_path):
  build.build(raw_dir, tmp_path, only=[SEQUENCES])
  loader = seqio.LazyTfdsLoader(
    "t5cr_movielens/sequences:1.0.0", data_dir=str(tmp_path)
  )
  assert loader.size("train") == 1


def test_same_raw_files_give_the_same_bytes(raw_dir, tmp_path):
  for name in ("one", "two"):
    build.build(raw_dir, tmp_path / name)
  one = digests(tmp_path / "one")
  assert len(one) > len(build.NAMES)  # records and metadata of each
  assert one == digests(tmp_path / "two")


@pytest.mark.parametrize(
  ("name", "split", "keys"),
  [
    ("t5cr_redial", "train", [b"1/2", b"1/4"]),
    ("t5cr_redial", "validation", [b"3/1"]),
    (SEQUENCES, "train", ["7/0"]),
    (TAGS, "train", [3]),
    ("t5cr_reviews", "train", [1]),
    (
      "t5cr_catalogue",
      "train",
      [b"redial/Alien (1979)", b"redial/Jaws", b"redial/Kill Bill"]
      + [b"movielens/The Film %d (2000)" % movie for movie in range(1, 13)],
    ),
  ],
)
def test_keys_follow_from_the_examples_and_order_them(
  raw_dir, tmp_path, name, split, keys
):
  build.build(raw_dir, tmp_path, only=[name])
  builder_class, config = build.BUILDERS[name]
  builder = builder_class(data_dir=tmp_path, config=config)
  records = read(tmp_path, name, split)
  found = [builder.key(record) for record in records]
  assert sorted(found, key=str) == sorted(keys, key=str)
  hasher = tfds.core.hashing.Hasher(split)
  hashes = [hasher.hash_key(key) for key in found]
  assert hashes == sorted(hashes)


def test_a_set_that_stands_is_left_and_a_changed_one_is_replaced(
  raw_dir, tmp_path
):
  data_dir = tmp_path / "tfds"
  first = build.build(raw_dir, data_dir)
  info = data_dir / "t5cr_redial" / "1.0.0" / "dataset_info.json"
  written = info.stat().st_mtime_ns
  assert build.build(raw_dir, data_dir) == first
  assert info.stat().st_mtime_ns == written

  edit(
    raw_dir / "redial" / "test_data.jsonl",
    lambda text: text + text.replace('"3"', '"4"'),
  )
  second = build.build(raw_dir, data_dir)
  assert len(read(data_dir, "t5cr_redial", "validation")) == 2
  changed = {name for name in first if first[name] != second[name]}
  assert changed == {"t5cr_redial", "t5cr_catalogue"}


def test_options_change_examples_and_fingerprint(raw_dir, tmp_path):
  plain = build.build(raw_dir, tmp_path / "plain")
  options = build.BuildOptions(
    merge_turns=False,
    recommended_from="questions",
    run_length=5,
    relevance_above=0.7,
  )
  other = build.build(raw_dir, tmp_path / "other", options=options)
  responses = read(tmp_path / "other", "t5cr_redial")
  assert sorted(row["response"] for row in responses) == [
    "Bye",
    "See @ Alien (1979) @",
    "or @ Kill Bill @?",
  ]
  assert responses[0]["recommended"] == ["Alien (1979)"]
  assert len(read(tmp_path / "other", SEQUENCES)) == 2
  assert len(read(tmp_path / "other", TAGS)) == 2
  for name in ("t5cr_redial", SEQUENCES, TAGS):
    assert plain[name]["fingerprint"] != other[name]["fingerprint"]
  assert plain["t5cr_reviews"] == other["t5cr_reviews"]


def test_sources_that_are_not_there_are_skipped(tmp_path):
  raw_dir = tmp_path / "raw"
  write_movielens(raw_dir, "movielens_small")
  for name in ("genome-tags.csv", "genome-scores.csv"):
    (raw_dir / "movielens_small" / name).unlink()
  results = build.build(raw_dir, tmp_path / "tfds")
  assert results[SEQUENCES]["status"] == "built"
  assert results["t5cr_catalogue"]["status"] == "built"
  for name, words in (
    ("t5cr_redial", "redial: no such folder"),
    ("t5cr_reviews", "reviews.csv"),
    (TAGS, "genome-tags.csv, genome-scores.csv not found"),
  ):
    assert results[name]["status"].startswith("skipped: ")
    assert words in results[name]["status"]
    assert (results[name]["counts"], results[name]["fingerprint"]) == ({}, None)
  with pytest.raises(DataError, match="redial: no such folder"):
    build.build(raw_dir, tmp_path / "tfds", only=["t5cr_redial"])


@pytest.mark.parametrize(
  "missing",
  [
    "redial/test_data.jsonl",
    "redial/movies_with_mentions.csv",
    "movielens/movies.csv",
    "movielens/ratings.csv",
    "movielens/genome-tags.csv",
    "reviews/reviews.csv",
  ],
)
def test_a_source_with_a_file_missing_is_an_error(raw_dir, tmp_path, missing):
  (raw_dir / missing).unlink()
  with pytest.raises(DataError) as caught:
    build.build(raw_dir, tmp_path / "tfds")
  assert f"{raw_dir / missing}: no such file" in str(caught.value)


def test_no_raw_files_at_all(tmp_path):
  with pytest.raises(DataError, match="nowhere: no such folder"):
    build.build(tmp_path / "nowhere", tmp_path / "tfds")
  (tmp_path / "raw").mkdir()
  with pytest.raises(DataError, match="holds no raw files"):
    build.build(tmp_path / "raw", tmp_path / "tfds")
  assert not (tmp_path / "tfds").exists()
  with pytest.raises(DataError, match="t5cr_films is no data set. Known ones"):
    build.build(tmp_path / "raw", tmp_path / "tfds", only=["t5cr_films"])
  assert build.available(tmp_path / "tfds") == {}


@pytest.mark.parametrize(
  ("file_name", "line", "words"),
  [
    ("redial/test_data.jsonl", "{", ":2: not valid JSON"),
    ("movielens/ratings.csv", "7,1,bad,9", ':14: rating: "bad" is no number'),
    ("movielens/genome-scores.csv", "1,1,x", ':5: relevance: "x"'),
    ("reviews/reviews.csv", "no tab here", ":2: review:"),
  ],
)
def test_bad_lines_change_nothing_unless_allowed(
  raw_dir, tmp_path, file_name, line, words
):
  data_dir = tmp_path / "tfds"
  build.build(raw_dir, data_dir)
  before = digests(data_dir)
  edit(raw_dir / file_name, lambda text: text + line + "\n")
  with pytest.raises(DataError) as caught:
    build.build(raw_dir, data_dir)
  assert f"{raw_dir / file_name}{words}" in str(caught.value)
  assert digests(data_dir) == before

  results = build.build(raw_dir, data_dir, max_bad_lines=1)
  listed = [m for result in results.values() for m in result["bad_lines"]]
  assert listed and all(f"{file_name}{words}" in message for message in listed)
  for result in results.values():
    dropped = [
      tally["dropped"].get("bad line", 0) for tally in result["counts"].values()
    ]
    assert sum(dropped) == len(result["bad_lines"])


def test_a_split_without_examples_is_an_error(raw_dir, tmp_path):
  edit(
    raw_dir / "movielens" / "ratings.csv", lambda text: text.replace("5.0", "1")
  )
  with pytest.raises(DataError) as caught:
    build.build(raw_dir, tmp_path / "tfds", only=[SEQUENCES])
  assert "no example for the train split of t5cr_movielens/sequences" in str(
    caught.value
  )
  assert '"rated 4 or lower": 12' in str(caught.value)


def test_summary_names_every_count(raw_dir, tmp_path):
  (raw_dir / "reviews" / "reviews.csv").unlink()
  (raw_dir / "reviews").rmdir()
  results = build.build(raw_dir, tmp_path / "tfds")
  console = Console(width=200, file=io.StringIO())
  console.print(build.summary(results))
  text = console.file.getvalue()
  for words in (
    "t5cr_redial",
    "train responses",
    "2 nothing before it",
    "(5 by the recommender)",
    "skipped: ",
    "2 in an incomplete run",
  ):
    assert words in text, text


def test_real_files_build(shared_dir, tmp_path):
  results = build.build(
    shared_dir / "data", tmp_path, only=["t5cr_redial", TAGS]
  )
  counts = results["t5cr_redial"]["counts"]
  assert counts["train responses"]["kept"] == 8760
  assert counts["validation responses"]["kept"] == 3481
  assert counts["train mentions"]["dropped"] == {
    "an @ without an id": 31,
    "title null or blank": 2,
  }
  info = tfds.builder("t5cr_redial:1.0.0", data_dir=tmp_path).info
  assert info.splits["validation"].num_examples == 3481
