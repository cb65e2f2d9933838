"""From raw files to probe sets, on twelve movies."""

import collections
import csv
import json
import shutil

import numpy as np
import pytest

from t5cr_tasks.datasets import build as datasets_build
from t5cr_tasks.datasets import movielens as datasets_movielens
from t5cr_tasks.datasets import probes as datasets_probes
from t5cr_tasks.errors import DataError
from t5cr_tasks.probes import build, templates

MOVIES = 12
OPTIONS = {"min_count": 3, "related": 3, "popular_share": 0.5}


def _write_csv(path, header, rows, delimiter=","):
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([header, *rows] if header else rows)


def _write_raw(raw):
  rng = np.random.default_rng(0)
  movielens = raw / "movielens"
  _write_csv(
    movielens / "movies.csv",
    ["movieId", "title", "genres"],
    [[m, f"Film {m}, The ({1990 + m})", "Drama"] for m in range(1, MOVIES + 1)],
  )
  ratings = []
  for user in range(1, 21):
    liked = rng.choice(MOVIES, 10, replace=False) + 1
    for time, movie in enumerate(liked):
      ratings.append([user, movie, 5.0, 1000 + time])
  _write_csv(
    movielens / "ratings.csv",
    ["userId", "movieId", "rating", "timestamp"],
    ratings,
  )
  _write_csv(
    movielens / "genome-tags.csv",
    ["tagId", "tag"],
    [[1, "heist"], [2, "space"], [3, "everywhere"]],
  )
  _write_csv(
    movielens / "genome-scores.csv",
    ["movieId", "tagId", "relevance"],
    [
      [movie, tag, 0.9 if tag == 3 or movie % (tag + 1) else 0.1]
      for movie in range(1, MOVIES + 1)
      for tag in (1, 2, 3)
    ],
  )
  (raw / "reviews").mkdir(parents=True)
  (raw / "reviews" / "reviews.csv").write_text(
    "The Film 1 (1991)\tWhat a film. It has one. It has two. Then three. End.\n"
    "The Film 1 (1991)\tA second opinion that is long enough to stay here.\n"
    "The Film 3 (1993)\tAll in a single sentence and nothing more than that.\n"
  )
  _write_redial(raw / "redial")


def _write_redial(folder):
  folder.mkdir()
  _write_csv(
    folder / "movies_with_mentions.csv",
    ["movieId", "movieName", "nbMentions"],
    [[100 + m, f"The Film {m}  ({1990 + m})", 1] for m in (1, 2, 5)],
  )
  texts = [
    (1, "I liked @101 and want a heist"),
    (2, "Have you seen @102 ?"),
    (1, "I have. Anything else?"),
    (2, "Then @105 !"),
  ]
  dialogue = {
    "conversationId": "1",
    "initiatorWorkerId": 1,
    "respondentWorkerId": 2,
    "messages": [
      {
        "messageId": i,
        "timeOffset": i,
        "senderWorkerId": worker,
        "text": text,
      }
      for i, (worker, text) in enumerate(texts)
    ],
    "movieMentions": {
      str(100 + m): f"The Film {m} ({1990 + m})" for m in (1, 2, 5)
    },
    "initiatorQuestions": {},
    "respondentQuestions": {},
  }
  for name in ("train_data.jsonl", "test_data.jsonl"):
    (folder / name).write_text(json.dumps(dialogue) + "\n")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  """The data sets that probes are made from."""
  raw = tmp_path_factory.mktemp("raw")
  data = tmp_path_factory.mktemp("data")
  _write_raw(raw)
  datasets_build.build(raw, data)
  return data


@pytest.fixture(scope="module")
def built(data_dir, tmp_path_factory):
  """(data directory with probes, what the build returned, its reports)."""
  directory = tmp_path_factory.mktemp("built") / "data"
  shutil.copytree(data_dir, directory)
  reports = []
  results = build.build(
    directory, progress=lambda *report: reports.append(report), **OPTIONS
  )
  return directory, results, reports


def _records(directory, probe):
  builder = datasets_probes.T5crProbes(data_dir=directory, config=probe)
  return [
    {
      key: value.decode() if isinstance(value, bytes) else int(value)
      for key, value in record.items()
    }
    for record in builder.as_dataset("validation").as_numpy_iterator()
  ]


@pytest.mark.parametrize("probe", templates.PROBES)
def test_two_adjacent_records_a_probe(built, probe):
  directory, results, _ = built
  records = _records(directory, probe)

  assert results[probe]["status"] == "built"
  assert len(records) == 2 * results[probe]["counts"]["probes"]["kept"] > 0
  for number, (related, negative) in enumerate(
    zip(records[::2], records[1::2], strict=True)
  ):
    assert related["probe_id"] == negative["probe_id"] == number
    assert (related["candidate"], negative["candidate"]) == (0, 1)
    assert related["negative"] not in (related["movie"], related["related"])


def test_recommendation_and_its_sequence_format_have_the_same_pairs(built):
  directory, _, _ = built
  dialogue = _records(directory, "recommendation")
  sequence = _records(directory, "recommendation_sequence")

  names = ("probe_id", "candidate", "movie", "related", "negative", "rank")
  assert [[r[n] for n in names] for r in dialogue] == [
    [r[n] for n in names] for r in sequence
  ]
  assert sequence[0]["inputs"] == "movielens sequence: @ The Film 1 (1991) @"


@pytest.fixture(scope="module")
def phrased(data_dir, tmp_path_factory):
  """As `built`, with three probes of each kind in every phrasing."""
  directory = tmp_path_factory.mktemp("phrased") / "data"
  shutil.copytree(data_dir, directory)
  return directory, build.build(directory, **OPTIONS, phrased_probes=3)


@pytest.mark.parametrize("name", templates.PHRASED)
def test_phrasings_ask_the_very_same_probes(phrased, name):
  directory, results = phrased
  same = ("candidate", "movie", "related", "negative", "tag", "rank")
  same += ("decile", "named")
  whole = {
    (record["probe_id"], record["candidate"]): record
    for record in _records(directory, templates.PHRASED[name])
  }

  records = _records(directory, name)

  assert len(records) == 2 * 3 * len(templates.NAMES)
  assert [record["template"] for record in records[::6]] == list(
    templates.NAMES
  )
  for record in records:
    asked = whole[record["probe_id"], record["candidate"]]
    assert [record[key] for key in same] == [asked[key] for key in same]
    if record["template"] == "paper":
      assert record == asked
  texts = {
    (record["probe_id"], record["inputs"], record["targets"])
    for record in records
  }
  assert len(texts) == len(records)
  assert results[name]["counts"]["probes"]["kept"] == 3


def test_phrasings_can_be_left_out_and_changed_alone(phrased, tmp_path):
  directory = tmp_path / "data"
  shutil.copytree(phrased[0], directory)
  results = build.build(directory, **OPTIONS, phrased_probes=0)
  assert results["attribute_phrasings"]["status"] == (
    "skipped: phrased_probes is 0"
  )
  reports = []
  build.build(
    directory,
    **OPTIONS,
    phrased_probes=2,
    progress=lambda stage, *_: reports.append(stage),
  )
  written = {stage for stage in reports if stage.startswith("write ")}
  assert written == {f"write {name} probes" for name in templates.PHRASED}


def test_decile_is_the_tenth_of_the_popular_movies(built):
  directory, _, _ = built
  # The fixture's six popular movies: place 0 to 5, ten tenths.
  records = _records(directory, "recommendation")
  found = {record["negative"]: record["decile"] for record in records}
  runs = collections.Counter(
    title.decode()
    for record in datasets_movielens.T5crMovielens(
      data_dir=directory, config="sequences"
    )
    .as_dataset("train")
    .as_numpy_iterator()
    for title in record["titles"]
  )
  number = {title: int(title.split()[2]) for title in runs}
  popular = sorted(runs, key=lambda title: (-runs[title], number[title]))[:6]
  tenths = dict(zip(popular, (1, 2, 4, 6, 7, 9), strict=True))
  assert found == {title: tenths[title] for title in found}
  assert len(found) > 1


def test_attribute_leaves_out_the_tag_that_all_popular_movies_carry(built):
  directory, results, _ = built
  tags = collections.Counter(
    record["tag"] for record in _records(directory, "attribute")
  )

  # Heist films have the six odd numbers, space films no multiple of three.
  assert tags == {"heist": 2 * 6, "space": 2 * 8}
  counts = results["attribute"]["counts"]["probes"]
  assert counts["dropped"] == {"no admissible negative": MOVIES}


def test_description_takes_the_first_sentences_of_the_first_review(built):
  directory, _, _ = built
  asked = [
    (record["movie"], record["rank"], record["targets"])
    for record in _records(directory, "description")
    if record["candidate"] == 0
  ]

  assert asked == [
    ("The Film 1 (1991)", 1, "What a film."),
    ("The Film 1 (1991)", 2, "It has one."),
    ("The Film 1 (1991)", 3, "It has two."),
    ("The Film 1 (1991)", 4, "Then three."),
    (
      "The Film 3 (1993)",
      1,
      "All in a single sentence and nothing more than that.",
    ),
  ]


def test_leak_is_what_the_one_dialogue_names(built):
  directory, results, _ = built
  named = {"The Film 1 (1991)", "The Film 2 (1992)", "The Film 5 (1995)"}
  for record in _records(directory, "recommendation"):
    assert record["named"] == ({record["movie"], record["related"]} <= named)

  def count(probe, is_named):
    return sum(
      is_named(record)
      for record in _records(directory, probe)
      if record["candidate"] == 0
    )

  assert results["recommendation"]["leak"]["named"] == count(
    "recommendation", lambda r: {r["movie"], r["related"]} <= named
  )
  # Films 2 and 5 are answers to "heist"; only film 5 carries the tag.
  assert results["attribute"]["leak"]["named"] == 1
  assert results["combination"]["leak"]["named"] == count(
    "combination",
    lambda r: (
      r["tag"] == "heist"
      and r["related"] == "The Film 5 (1995)"
      and r["movie"] in named
    ),
  )
  assert results["description"]["leak"] == {
    "pairs": 5,
    "named": 0,
    "share": 0.0,
  }


def test_metadata_holds_options_sources_counts_and_leak(built):
  directory, results, _ = built
  builder = datasets_probes.T5crProbes(data_dir=directory, config="combination")
  metadata = builder.info.metadata
  available = datasets_build.available(directory)

  assert metadata["options"]["min_count"] == 3
  assert metadata["options"]["template"] == "paper"
  assert metadata["sources"] == {
    name: available[name]
    for name in (
      "t5cr_movielens/sequences",
      "t5cr_movielens/tags",
      "t5cr_redial",
    )
  }
  assert metadata["fingerprint"] == available["t5cr_probes/combination"]
  assert metadata["counts"] == results["combination"]["counts"]
  assert metadata["leak"] == results["combination"]["leak"]


def test_progress_names_stages_and_ends_complete(built):
  _, _, reports = built
  last = {stage: (done, total) for stage, done, total, _ in reports}

  assert "read t5cr_reviews" in last
  assert "write attribute probes" in last
  assert all(done == total for done, total in last.values())


def _state(directory):
  return {
    path: (path.stat().st_mtime_ns, path.read_bytes())
    for path in sorted(directory.rglob("*"))
    if path.is_file()
  }


def test_a_second_build_changes_nothing(built):
  directory, results, _ = built
  before = _state(directory)

  assert build.build(directory, **OPTIONS) == results
  assert _state(directory) == before


def test_same_sources_and_options_give_the_same_bytes(
  built, data_dir, tmp_path
):
  directory, results, _ = built
  shutil.copytree(data_dir, tmp_path / "again")
  build.build(tmp_path / "again", **OPTIONS)

  probes = directory / "t5cr_probes"
  files = [path for path in probes.rglob("*") if path.is_file()]
  assert {path.relative_to(probes).parts[0] for path in files} == set(results)
  assert set(results) == {*templates.PROBES, *templates.PHRASED}
  for path in files:
    again = tmp_path / "again" / path.relative_to(directory)
    assert again.read_bytes() == path.read_bytes(), path


def test_other_options_replace_the_probes(data_dir, tmp_path):
  directory = tmp_path / "data"
  shutil.copytree(data_dir, directory)
  first = build.build(directory, **OPTIONS)
  second = build.build(directory, **OPTIONS, template="short", max_probes=7)

  records = _records(directory, "recommendation")
  assert (
    first["recommendation"]["fingerprint"]
    != (second["recommendation"]["fingerprint"])
  )
  assert len(records) == 14
  assert records[0]["template"] == "short"
  assert len({record["probe_id"] for record in records}) == 7
  assert sorted(path.name for path in directory.iterdir()) == sorted(
    {name.split("/")[0] for name in datasets_build.available(directory)}
  )


def test_missing_tags_and_reviews_are_skipped_with_a_word(data_dir, tmp_path):
  directory = tmp_path / "data"
  for name in ("t5cr_movielens/sequences",):
    shutil.copytree(data_dir / name, directory / name)

  results = build.build(directory, **OPTIONS)

  assert {name for name, r in results.items() if r["status"] == "built"} == {
    "recommendation",
    "recommendation_sequence",
    "recommendation_phrasings",
  }
  records = _records(directory, "recommendation")
  assert {record["named"] for record in records} == {-1}
  assert results["recommendation"]["leak"] is None
  assert "t5cr_movielens/tags" in results["combination"]["status"]
  assert "t5cr_reviews" in results["description"]["status"]
  assert results["attribute"]["fingerprint"] is None


def test_without_sequences_there_is_one_clear_error(tmp_path):
  with pytest.raises(DataError, match="no data set t5cr_movielens/sequences"):
    build.build(tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_failed_build_leaves_what_stands(built):
  directory, _, _ = built
  before = _state(directory)

  with pytest.raises(DataError, match="over 1000 times"):
    build.build(directory, **{**OPTIONS, "min_count": 1000})
  assert _state(directory) == before


def test_reading_probes_that_were_not_made_says_how_to_make_them(tmp_path):
  builder = datasets_probes.T5crProbes(
    data_dir=tmp_path, config="recommendation"
  )

  with pytest.raises(DataError, match="t5cr probes build"):
    builder.download_and_prepare()
