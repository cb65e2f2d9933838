"""Builders on invented worlds: read = kept + dropped, and all is written."""

import collections
import itertools
import json
import pathlib
import tempfile

import fuzz_raw as fuzz
import hypothesis
import pytest
from caches import needs_beam
from hypothesis import strategies as st

from t5cr_tasks.datasets import build
from t5cr_tasks.errors import DataError, InternalError
from t5cr_tasks.raw import counts, files, movielens

SMALL = st.integers(1, 6)
RATINGS = [0.5, 3.0, 4.0, 4.5, 5.0]
BAD = ["", "x", "1,2", "1,2,3,4,5,6", '1,"a', "\0", "1,2,nan,4"]


def _lines(good: st.SearchStrategy[str], most: int):
  """Lines of a file, some of them bad."""
  line = st.one_of(*[good] * 9, st.sampled_from(BAD))
  return st.lists(line, max_size=most)


def _some(text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
  return text.map(lambda t: json.dumps(t.replace("\0", ""))[1:-1])


_TITLE = st.sampled_from(
  ["Alien (1979)", "Heat", "Lion, The (2016)", "(1999)", "", "Heat (1995)"]
)
_MESSAGE = st.builds(
  lambda sender, text: {"senderWorkerId": sender, "text": text},
  st.integers(1, 2),
  st.one_of(st.sampled_from(["", "Hi", "@11111", "@22222 @33333", "@x"]))
  | st.text(max_size=6),
)
_DIALOGUE = st.builds(
  lambda number, messages, mentions: json.dumps(
    {
      "conversationId": number,
      "initiatorWorkerId": 1,
      "respondentWorkerId": 2,
      "messages": messages,
      "movieMentions": mentions,
      "initiatorQuestions": [],
      "respondentQuestions": {},
    }
  ),
  st.integers(1, 8),
  st.lists(_MESSAGE, max_size=5),
  st.dictionaries(
    st.sampled_from(["11111", "22222"]), st.one_of(st.none(), _TITLE)
  ),
)

WORLDS = st.fixed_dictionaries(
  {
    "redial/train_data.jsonl": _lines(_DIALOGUE, 6),
    "redial/test_data.jsonl": _lines(_DIALOGUE, 4),
    "redial/movies_with_mentions.csv": _lines(
      st.builds('{},"{}",1'.format, SMALL.map(lambda n: n * 11111), _TITLE), 5
    ),
    "movielens/movies.csv": _lines(
      st.builds('{},"{}",x'.format, SMALL, _TITLE), 8
    ),
    "movielens/ratings.csv": _lines(
      st.builds(
        "{},{},{},{}".format,
        st.integers(1, 3),
        SMALL,
        st.sampled_from(RATINGS),
        st.integers(0, 50),
      ),
      30,
    ),
    "movielens/genome-tags.csv": _lines(
      st.builds("{},{}".format, SMALL, st.sampled_from(["", "dark", "é"])), 5
    ),
    "movielens/genome-scores.csv": _lines(
      st.builds(
        "{},{},{}".format, SMALL, SMALL, st.sampled_from([0.1, 0.8, 0.9, 1])
      ),
      12,
    ),
    "reviews/reviews.csv": _lines(
      st.builds(
        "{}\t{}".format, _TITLE, st.sampled_from(["Good. Bad!", "...", ""])
      ),
      6,
    ),
  }
)
HEADS = {
  "movies_with_mentions.csv": "movieId,movieName,nbMentions",
  "movies.csv": "movieId,title,genres",
  "ratings.csv": "userId,movieId,rating,timestamp",
  "genome-tags.csv": "tagId,tag",
  "genome-scores.csv": "movieId,tagId,relevance",
}
# What each file's lines are counted as.
LINES = {
  "t5cr_redial": {
    "redial/train_data.jsonl": "train dialogues",
    "redial/test_data.jsonl": "validation dialogues",
    "redial/movies_with_mentions.csv": "movie list",
  },
  "t5cr_movielens/sequences": {
    "movielens/movies.csv": "movies",
    "movielens/ratings.csv": "ratings",
  },
  "t5cr_movielens/tags": {
    "movielens/movies.csv": "movies",
    "movielens/genome-tags.csv": "tags",
    "movielens/genome-scores.csv": "scores",
  },
  "t5cr_reviews": {"reviews/reviews.csv": "reviews"},
  "t5cr_catalogue": {},
}


def write(raw: pathlib.Path, world: dict[str, list[str]]) -> dict[str, int]:
  """Writes a world; how many lines each file has, blank ones left out."""
  for name, lines in world.items():
    path = raw / name
    path.parent.mkdir(parents=True, exist_ok=True)
    head = HEADS.get(path.name)
    text = "\n".join([head, *lines] if head else lines) + "\n"
    path.write_bytes(text.encode())
  return {
    name: sum(bool(line.strip()) for line in lines)
    for name, lines in world.items()
  }


def read_all(name: str, raw: pathlib.Path, folder: pathlib.Path):
  """A builder that has read its files, and what it made of them."""
  builder_class, config = build.BUILDERS[name]
  known = {"run_length": 3} if name == "t5cr_movielens/sequences" else {}
  options = builder_class.OPTIONS(max_bad_lines=1 << 30, **known)
  builder = builder_class(data_dir=folder, config=config, options=options)
  splits = builder.read_splits(builder.find_files(raw))
  return builder, {split: list(made) for split, made in splits.items()}


def check_world(world: dict[str, list[str]]) -> None:
  with tempfile.TemporaryDirectory() as folder:
    raw = pathlib.Path(folder)
    lines = write(raw, world)
    for name in build.NAMES:
      builder, made = read_all(name, raw, raw / "data")
      told = builder.tallies.to_dict()
      for tally in told.values():
        assert tally["read"] == tally["kept"] + sum(tally["dropped"].values())
      for file_name, what in LINES[name].items():
        assert told[what]["read"] == lines[file_name], what
      dropped = sum(t["dropped"].get("bad line", 0) for t in told.values())
      assert dropped == builder.bad_lines.count
      for split, examples in made.items():
        builder.check_written(split, len(examples))
        with pytest.raises(InternalError, match="report it"):
          builder.check_written(split, len(examples) + 1)
        keys = [builder.key(example) for example in examples]
        assert len(set(keys)) == len(keys)
      check_made(name, world, told, made)


def check_made(name, world, told, made) -> None:
  """What can be counted in another way is counted in another way."""
  if name == "t5cr_redial":
    for split, examples in made.items():
      responses = told.get(f"{split} responses", {"kept": 0})
      assert responses["kept"] == len(examples)
      dialogues = {example["dialogue_id"] for example in examples}
      assert told[f"{split} dialogues"]["kept"] == len(dialogues)
  if name == "t5cr_movielens/sequences":
    liked = collections.Counter()
    known = movies_of(world)
    rows, bad = fuzz.plain_numbers(
      "\n".join(
        [HEADS["ratings.csv"], *world["movielens/ratings.csv"]]
      ).encode(),
      movielens.RATING_COLUMNS,
      {"rating": (0, 5)},
    )
    for user, movie, rating, _ in rows:
      liked[user] += rating > 4 and movie in known
    ratings = told["ratings"]
    assert ratings["dropped"].get("bad line", 0) == len(bad)
    assert ratings["kept"] == sum(n - n % 3 for n in liked.values())
    assert len(made["train"]) == sum(n // 3 for n in liked.values())


def movies_of(world) -> set[int]:
  with tempfile.TemporaryDirectory() as folder:
    write(pathlib.Path(folder), world)
    path = pathlib.Path(folder) / "movielens" / "movies.csv"
    return set(movielens.read_movies(path, files.BadLines(99), counts.Tally()))


def run(check, examples: int, *, at_length: bool) -> None:
  @fuzz.settled(examples, at_length=at_length)
  @hypothesis.given(WORLDS)
  def one(world: dict[str, list[str]]) -> None:
    check(world)

  one()


def test_the_counts_of_every_builder_add_up():
  run(check_world, 40, at_length=False)


@pytest.mark.long
def test_the_counts_add_up_at_length():
  run(check_world, 3_000, at_length=True)


def check_build(world, runner=None) -> None:
  """The whole way to the files, with and without a pipeline."""
  import tensorflow_datasets as tfds
  from test_killed_builds import digests

  options = build.BuildOptions(run_length=3)
  with tempfile.TemporaryDirectory() as folder:
    raw = pathlib.Path(folder) / "raw"
    write(raw, world)
    for name, allowed in itertools.product(build.NAMES, (0, 1 << 30)):
      ends = []
      for place in ("alone", "piped") if runner else ("alone",):
        data_dir = pathlib.Path(folder) / f"{place}{allowed}"
        try:
          built = build.build(
            raw,
            data_dir,
            only=[name],
            options=options,
            max_bad_lines=allowed,
            runner=runner if place == "piped" else None,
          )
        except DataError as error:
          ends.append(str(error))
          assert not list(data_dir.rglob("*"))
          continue
        ends.append(built[name])
        builder = tfds.builder(name, data_dir=data_dir)
        assert built[name]["counts"] == builder.info.metadata["counts"]
        made = sum(s.num_examples for s in builder.info.splits.values())
        whole, _ = read_all(name, raw, data_dir)
        kept = (whole.counted(split) for split in builder.info.splits)
        assert made == sum(
          built[name]["counts"].get(what, {"kept": 0})["kept"]
          for what in itertools.chain.from_iterable(kept)
        )
      assert ends[0] == ends[-1]
      if runner:
        folders = [
          pathlib.Path(folder) / f"{p}{allowed}" for p in ("alone", "piped")
        ]
        assert digests(folders[0]) == digests(folders[1])
        for each in folders:
          _empty(each)
      else:
        _empty(pathlib.Path(folder) / f"alone{allowed}")


def _empty(folder: pathlib.Path) -> None:
  import shutil

  shutil.rmtree(folder, ignore_errors=True)


def test_what_is_counted_is_written():
  run(check_build, 3, at_length=False)


@pytest.mark.long
def test_what_is_counted_is_written_at_length():
  run(check_build, 300, at_length=True)


@needs_beam
@pytest.mark.long
def test_pipelines_count_and_refuse_as_one_process_does():
  from t5cr_tasks.pipelines.runner import Runner

  run(
    lambda world: check_build(world, Runner("DirectRunner")),
    20,
    at_length=True,
  )


@pytest.mark.parametrize(
  "spoil",
  [
    lambda tally: tally.keep(-1),
    lambda tally: tally.drop("lost", -2),
    lambda tally: (setattr(tally, "read", 3), tally.to_dict()),
  ],
)
def test_a_tally_that_does_not_add_up_is_an_internal_error(spoil):
  tally = counts.Tally()
  tally.keep(4)
  tally.drop("short")
  assert tally.to_dict()["read"] == 5
  with pytest.raises(InternalError, match="report it"):
    spoil(tally)


def test_rows_that_polars_does_not_give_are_an_internal_error(
  tmp_path, monkeypatch
):
  from t5cr_tasks.raw import tables

  path = tmp_path / "ratings.csv"
  path.write_text(HEADS["ratings.csv"] + "\n1,2,4.5,7\n1,3,4.5,8\n")
  scan = tables._scan_csv
  monkeypatch.setattr(
    tables, "_scan_csv", lambda *a, **kw: scan(*a, **kw).head(1)
  )
  with pytest.raises(InternalError, match="read 1 rows of 2 lines"):
    movielens.read_ratings(path, files.BadLines())
