"""The pipelines write the files that the builders in one process write."""

import filecmp
import importlib.util
import itertools
import pathlib
import re
import shlex
import shutil

import numpy as np
import pytest
from caches import needs_beam
from etils import epath

from t5cr_tasks import sample
from t5cr_tasks.datasets import build, writer
from t5cr_tasks.errors import DataError
from t5cr_tasks.pipelines.runner import Runner
from t5cr_tasks.probes import build as probes_build
from t5cr_tasks.probes import sources, worlds

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
SEQUENCES = "t5cr_movielens/sequences"
TAGS = "t5cr_movielens/tags"
TWO_WORKERS = "direct_num_workers=2,direct_running_mode=multi_threading"


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> pathlib.Path:
  """The raw files of the sample corpus, without dialogues and reviews."""
  folder = tmp_path_factory.mktemp("raw")
  sample.write_corpus(folder)
  for name in ("redial", "reviews"):
    shutil.rmtree(folder / name)
  return folder


def _small_shards(patch: pytest.MonkeyPatch) -> None:
  """Cuts what is small into shards too."""
  patch.setattr(writer.ShardConfig, "min_shard_size", 1 << 16)


@pytest.fixture(scope="module")
def data(raw, tmp_path_factory) -> pathlib.Path:
  """Its data sets, in files of several shards, made in this process."""
  folder = tmp_path_factory.mktemp("data")
  with pytest.MonkeyPatch.context() as patch:
    _small_shards(patch)
    build.build(raw, folder)
  assert len(list(folder.glob(f"{SEQUENCES}/*/*.tfrecord-*"))) == 8
  return folder


@pytest.fixture
def small_parts(monkeypatch):
  """Tables in many parts, and data sets in many shards."""
  from t5cr_tasks.pipelines import probes, tables

  monkeypatch.setattr(tables, "PART_BYTES", 1 << 16)
  monkeypatch.setattr(probes, "_BLOCK", 70)
  _small_shards(monkeypatch)


def _assert_same_files(left: pathlib.Path, right: pathlib.Path) -> None:
  names = [
    sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    for folder in (left, right)
  ]
  assert names[0] == names[1]
  same, different, failed = filecmp.cmpfiles(
    left, right, names[0], shallow=False
  )
  assert same and not different and not failed


@needs_beam
@pytest.mark.parametrize(
  ("options", "path_class"),
  # epath's paths are those of buckets too.
  [("", pathlib.Path), (TWO_WORKERS, epath.Path)],
)
def test_movielens_files_are_the_same(
  options, path_class, raw, data, small_parts, tmp_path
):
  results = build.build(
    path_class(raw),
    path_class(tmp_path),
    only=[SEQUENCES, TAGS],
    runner=Runner.parse("DirectRunner", options),
  )
  assert results == build.build(raw, data, only=[SEQUENCES, TAGS])
  _assert_same_files(data / "t5cr_movielens", tmp_path / "t5cr_movielens")
  assert not list(tmp_path.glob(".*"))


@needs_beam
def test_probe_files_are_the_same(data, small_parts, tmp_path):
  shutil.copytree(data, tmp_path / "serial")
  shutil.copytree(data, tmp_path / "beam")
  options = worlds.ProbeOptions(min_count=10, max_probes=150, phrased_probes=9)
  serial = probes_build.build(tmp_path / "serial", options=options)
  beam = probes_build.build(
    epath.Path(tmp_path / "beam"),
    options=options,
    runner=Runner("DirectRunner"),
  )
  built = {name: result for name, result in beam.items() if result["counts"]}
  assert len(built) == 7  # All but those of the reviews.
  assert built == {name: serial[name] for name in built}
  _assert_same_files(tmp_path / "serial", tmp_path / "beam")
  assert not list((tmp_path / "beam").glob(".*"))


def _write_ratings(raw: pathlib.Path, lines: list[str], crlf=False) -> None:
  """A small world; two movies have one title."""
  folder = raw / "movielens"
  folder.mkdir(parents=True)
  movies = [f"{i},Movie {i % 20} (1990),Drama" for i in range(1, 22)]
  end = "\r\n" if crlf else "\n"
  for name, header, rows in (
    ("movies.csv", "movieId,title,genres", movies),
    ("ratings.csv", "userId,movieId,rating,timestamp", lines),
  ):
    text = "".join(row + end for row in [header, *rows])
    (folder / name).write_text(text, newline="")


def _ratings() -> list[str]:
  """Of 30 users, unsorted; with ties in time and movies that are unknown."""
  rng = np.random.default_rng(0)
  rows = zip(
    rng.integers(1, 31, 2000),
    rng.integers(1, 24, 2000),
    rng.choice([3.0, 4.0, 4.5, 5.0], 2000),
    rng.integers(0, 400, 2000),
    strict=True,
  )
  return [
    f"{user},{movie},{rating},{time}" for user, movie, rating, time in rows
  ]


@needs_beam
def test_probed_worlds_are_the_same(tmp_path, small_parts):
  from t5cr_tasks.pipelines import cooccurrence

  _write_ratings(tmp_path, _ratings(), crlf=True)
  data = tmp_path / "data"
  build.build(tmp_path, data, only=[SEQUENCES], runner=Runner("DirectRunner"))
  options = worlds.ProbeOptions(min_count=20, related=4)
  serial = worlds.probed_world(sources.read_runs(str(data)), options)
  beam = cooccurrence.probed_world(str(data), options, Runner("DirectRunner"))
  assert serial.titles == beam.titles and len(serial.titles) == 20
  assert serial.movies_in_runs == beam.movies_in_runs
  for name in ("frequency", "related", "popular", "unrelated"):
    left, right = getattr(serial, name), getattr(beam, name)
    assert left.dtype == right.dtype
    np.testing.assert_array_equal(left, right)
  few = worlds.ProbeOptions(min_count=10_000)
  with pytest.raises(DataError) as serial_error:
    worlds.probed_world(sources.read_runs(str(data)), few)
  with pytest.raises(DataError) as beam_error:
    cooccurrence.probed_world(str(data), few, Runner("DirectRunner"))
  assert str(serial_error.value) == str(beam_error.value)


def _bad_ratings() -> list[str]:
  lines = _ratings()
  lines[150] = "x,1,5.0,1"
  lines[700] = ""  # Blank lines are no bad ones.
  lines[1234] = "1,1,9.5,1"
  lines[1600] = "1,1,5.0,1,1,1"
  return lines


def _built(raw, data, runner, **settings):
  """What came of a build: the results or the error."""
  try:
    return build.build(raw, data, only=[SEQUENCES], runner=runner, **settings)
  except DataError as error:
    return str(error)


@needs_beam
@pytest.mark.parametrize(
  ("lines", "allowed", "told"),
  [
    (_bad_ratings(), 3, "bad_lines"),
    (_bad_ratings(), 2, "ratings.csv:1602: 6 fields where the header has 4"),
    (_bad_ratings(), 0, 'ratings.csv:152: userId: "x" is no number'),
    ([], 0, "no example for the train split"),
    (["1,1,5.0,1"], 0, "no example for the train split"),
  ],
)
def test_bad_lines_are_told_as_in_one_process(
  lines, allowed, told, small_parts, tmp_path, monkeypatch
):
  from t5cr_tasks.pipelines import tables

  monkeypatch.setattr(tables, "PART_BYTES", 1 << 12)
  _write_ratings(tmp_path, lines)
  serial, beam = (
    _built(tmp_path, tmp_path / name, runner, max_bad_lines=allowed)
    for name, runner in (("serial", None), ("beam", Runner("DirectRunner")))
  )
  assert told in str(serial)
  assert beam == serial
  if allowed == 3:
    _assert_same_files(tmp_path / "serial", tmp_path / "beam")
  else:
    assert not list((tmp_path / "beam").iterdir())


@needs_beam
def test_a_missing_column_is_told_before_the_pipeline(tmp_path):
  _write_ratings(tmp_path, [])
  path = tmp_path / "movielens" / "ratings.csv"
  path.write_text("userId,movieId,rating\n")
  with pytest.raises(DataError, match=r"ratings\.csv:1: timestamp: no such"):
    build.build(
      tmp_path, tmp_path / "data", only=[SEQUENCES], runner=Runner("Direct")
    )


def test_without_beam_the_extra_is_named(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(DataError, match=r"pip install 't5cr\[beam\]'"):
    Runner.parse("DirectRunner")
  assert Runner.parse(None, None) is None


@needs_beam
@pytest.mark.parametrize(
  ("name", "options"),
  [("NoRunner", None), (None, "runner=NoRunner"), ("DataflowRunner", None)],
)
def test_what_beam_refuses_is_told_at_once(name, options):
  with pytest.raises(DataError, match="--beam_runner"):
    Runner.parse(name, options)


@needs_beam
def test_options_are_taken_as_tfds_and_as_seqio_take_them():
  for options in ("runner=FlinkRunner,flink_master=h:1",) + (
    "--runner=FlinkRunner,--flink_master=h:1",
  ):
    flags = Runner.parse(None, options).pipeline_options().get_all_options()
    assert (flags["runner"], flags["flink_master"]) == ("FlinkRunner", "h:1")


def _blocks(word: str) -> list[list[list[str]]]:
  """The commands of each block of docs/beam.md that has this word."""
  text = (DOCS / "beam.md").read_text()
  found = re.findall(rf"^```sh {word}\n(.*?)^```$", text, re.M | re.S)
  return [
    [
      shlex.split(line)
      for line in block.replace("\\\n", "").splitlines()
      if line
    ]
    for block in found
  ]


@needs_beam
def test_the_local_commands_of_the_docs_run(tmp_path, monkeypatch, capfd):
  from t5cr import cli

  _write_ratings(tmp_path / "RAW", _ratings())
  genome = {"genome-tags.csv": "tagId,tag\n0,dry\n1,wry\n"}
  scores = [f"{movie},{movie % 2},0.9\n" for movie in range(1, 22)]
  genome["genome-scores.csv"] = "movieId,tagId,relevance\n" + "".join(scores)
  for name, text in genome.items():
    (tmp_path / "RAW" / "movielens" / name).write_text(text)
  monkeypatch.chdir(tmp_path)
  for block in _blocks("local"):
    for program, *arguments in block:
      assert program == "t5cr"
      assert cli.main(arguments) == 0, capfd.readouterr().err
  built = build.available("DIR")
  assert {SEQUENCES, TAGS, "t5cr_probes/attribute"} <= set(built)


@needs_beam
def test_beam_knows_the_options_of_the_docs():
  from apache_beam.options.pipeline_options import PipelineOptions

  known = PipelineOptions([]).get_all_options()
  seen = set()
  for command in itertools.chain(*_blocks("cloud"), *_blocks("local")):
    given = command[-1].removeprefix("--pipeline_options=")
    given = given.removeprefix("--beam_pipeline_options=").removeprefix(
      "options=" if given.startswith("options=") else "options+=,"
    )
    if given == command[-1] or given == "$options":
      continue
    for option in given.split(","):
      seen.add(option.removeprefix("--").partition("=")[0])
  assert {"flink_master", "sdk_container_image", "project", "runner"} <= seen
  assert seen <= set(known)
