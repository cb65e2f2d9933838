"""The sample corpus: real formats, a latent structure, no leaks."""

import collections
import filecmp
import json
import random

import pytest

from t5cr_tasks import errors, sample

SMALL = sample.Size(users=60, dialogues=300, test_dialogues=20)


@pytest.fixture(scope="module")
def world():
  rng = random.Random(1)
  movies = sample.invent_movies(rng, SMALL)
  dialogues = [sample.invent_dialogue(rng, i, movies) for i in range(1000)]
  return movies, dialogues


def test_the_same_seed_writes_the_same_bytes(tmp_path):
  for name, seed in (("a", 3), ("b", 3), ("c", 4)):
    sample.write_corpus(tmp_path / name, seed=seed, size=SMALL)
  files = [
    str(path.relative_to(tmp_path / "a"))
    for path in (tmp_path / "a").rglob("*.*")
  ]
  assert len(files) == 8
  same, _, _ = filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", files, False)
  assert sorted(same) == sorted(files)
  same, _, _ = filecmp.cmpfiles(tmp_path / "a", tmp_path / "c", files, False)
  assert set(same) <= {"movielens/genome-tags.csv"}


def test_counts_are_what_is_in_the_files(tmp_path):
  counts = sample.write_corpus(tmp_path / "raw", size=SMALL)

  def lines(name):
    return len((tmp_path / "raw" / name).read_text().splitlines())

  assert counts["movies"] == lines("movielens/movies.csv") - 1
  assert counts["ratings"] == lines("movielens/ratings.csv") - 1
  assert counts["reviews"] == lines("reviews/reviews.csv")
  assert counts["dialogues"] == 320
  assert lines("redial/train_data.jsonl") == 300


def test_an_existing_folder_is_left_alone(tmp_path):
  (tmp_path / "kept.txt").write_text("mine")
  with pytest.raises(errors.DataError, match="Name a new folder"):
    sample.write_corpus(tmp_path, size=SMALL)
  assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_titles_and_heroes_of_known_movies_are_unique(world):
  movies, _ = world
  assert len({m.title for m in movies}) == len(movies)
  nouns = {m.title.rsplit(" ", 2)[1] for m in movies}
  assert len(nouns) == len(movies)
  known = [m for m in movies if m.weight]
  assert len({m.hero for m in known}) == len(known)


def test_movies_of_a_taste_are_liked_together(world):
  movies, _ = world
  taste_of = {m.movielens_id: m.taste for m in movies}
  likes = collections.defaultdict(list)
  for user, movie, rating, _ in sample.invent_ratings(
    random.Random(0), movies, SMALL
  ):
    if rating > 4.0:
      likes[user].append(taste_of[movie])
  for tastes in likes.values():
    two_most = collections.Counter(tastes).most_common(2)
    assert sum(count for _, count in two_most) >= 0.7 * len(tastes)


def test_dialogues_name_few_related_pairs(world):
  """Only movies talked about are named in one dialogue with their like."""
  movies, dialogues = world
  by_id = {str(m.redial_id): m for m in movies}
  named = set()
  for dialogue in dialogues:
    mentioned = [by_id[i] for i in dialogue["movieMentions"]]
    named |= {
      (a.movielens_id, b.movielens_id)
      for a in mentioned
      for b in mentioned
      if a != b and a.taste == b.taste and a.weight and b.weight
    }
  talked = {m.movielens_id for m in movies if m.talked_about}
  by_chance = [pair for pair in named if not set(pair) <= talked]
  per_taste = SMALL.movies_per_taste
  pairs = len(sample.TASTES) * per_taste * (per_taste - 1)
  assert len(by_chance) < 0.02 * pairs
  assert len(named) < 0.12 * pairs


def test_dialogues_have_the_publishers_schema(world):
  movies, dialogues = world
  ids = {m.redial_id for m in movies}
  for dialogue in dialogues:
    assert json.loads(json.dumps(dialogue)) == dialogue
    assert isinstance(dialogue["conversationId"], str)
    speakers = {m["senderWorkerId"] for m in dialogue["messages"]}
    assert speakers <= {
      dialogue["initiatorWorkerId"],
      dialogue["respondentWorkerId"],
    }
    for message in dialogue["messages"]:
      mentioned = [
        int(part.split()[0].rstrip(".,?!"))
        for part in message["text"].split("@")[1:]
      ]
      assert set(mentioned) <= ids
      assert {str(i) for i in mentioned} <= dialogue["movieMentions"].keys()
  assert any(d["initiatorQuestions"] == [] for d in dialogues)


def test_reviews_name_hero_and_tags(world):
  movies, _ = world
  reviews = sample.invent_reviews(random.Random(0), movies, SMALL)
  assert {m.title for m, _ in reviews} == {m.title for m in movies if m.weight}
  for movie, text in reviews:
    assert movie.hero in text
    assert any(tag in text for tag in movie.tags)


def test_articles_move_as_in_movielens():
  assert (
    sample._moved_article("The Wild Otter (1990)") == "Wild Otter, The (1990)"
  )
  assert sample._moved_article("Wild Otter (1990)") == "Wild Otter (1990)"
