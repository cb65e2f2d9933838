"""All baselines of a small invented corpus, from the command line."""

import json
import pathlib
import shutil

import pytest
import run_folders

from t5cr import cli, errors
from t5cr.study import collect, sources, variants
from t5cr.study import probes as probe_scores
from t5cr.study.baselines import build, folder
from t5cr.study.baselines.options import Options
from t5cr_tasks import metrics, sample
from t5cr_tasks.datasets import build as datasets
from t5cr_tasks.probes import build as probes

SIZE = sample.Size(
  users=120, dialogues=60, test_dialogues=8, reviews_per_movie=1
)
QUICK = Options(factors=8, als_iterations=3, bpr_iterations=50)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> pathlib.Path:
  """The data sets and probes of a small invented corpus."""
  root = tmp_path_factory.mktemp("corpus")
  sample.write_corpus(root / "raw", size=SIZE)
  datasets.build(root / "raw", root / "data")
  probes.build(root / "data", min_count=10, max_probes=60, phrased_probes=0)
  return root / "data"


@pytest.fixture(scope="module")
def measured(data_dir, tmp_path_factory) -> pathlib.Path:
  out = tmp_path_factory.mktemp("baselines") / "out"
  results = build.run(data_dir, out, options=QUICK)
  assert results == dict.fromkeys(build.BASELINES, "measured")
  return out


def contents(directory: pathlib.Path) -> dict[str, bytes]:
  return {
    str(path.relative_to(directory)): path.read_bytes()
    for path in sorted(directory.rglob("*"))
    if path.is_file()
  }


def without_probe(data_dir, tmp_path, *names) -> pathlib.Path:
  """A data directory that has all but some data sets."""
  other = tmp_path / "data"
  shutil.copytree(data_dir, other)
  for name in names:
    shutil.rmtree(other / name)
  return other


def test_every_baseline_is_a_run_that_a_report_reads(measured):
  for name, baseline in build.BASELINES.items():
    run = collect.read_run(measured / name)
    assert sources.engine(run) == "baseline"
    assert (run.label, run.step) == (baseline.label, 0)
    assert set(run.files) == set(baseline.tasks)
    assert set(sources.data(run)) >= set(baseline.needs)
    scores = probe_scores.scores(run) | collect.dialogue_metrics(run)
    for entry in scores.values():
      assert entry.estimate is not None
    for task, written in run.metrics.items():
      if task == variants.DIALOGUE_TASK:
        assert written["bleu"] == pytest.approx(scores["bleu"].value)
      else:
        found = scores[task.removeprefix(variants.PROBE_TASK_PREFIX)]
        assert written["accuracy"] == pytest.approx(found.value)
        assert written["ties"] == found.ties


def test_all_are_measured_on_the_same_examples(measured):
  found = [
    sources.examples(collect.read_run(measured / name))
    for name in build.BASELINES
  ]
  for example in ("dialogue", *variants.PROBES):
    digests = [run[example] for run in found if example in run]
    assert len(digests) > (example != "description")
    assert len(set(digests)) == 1


def test_the_invented_structure_shows(measured):
  def score(name, probe):
    run = collect.read_run(measured / name)
    return probe_scores.scores(run)[probe].value

  for probe in variants.PROBES:
    assert score("popularity", probe) < 0.3
  assert score("cooccurrence", "recommendation") > 0.9
  assert score("als", "recommendation") > 0.8
  assert score("bpr", "recommendation") > 0.8
  assert score("tag_overlap", "attribute") > 0.8
  assert score("tag_overlap", "combination") > 0.7
  retrieved = collect.read_run(measured / "retrieval")
  frequent = collect.read_run(measured / "most_frequent")
  dialogues = map(collect.dialogue_metrics, (frequent, retrieved))
  worst, better = (found["bleu"].value for found in dialogues)
  assert worst < better


def test_the_target_is_what_the_task_makes_of_it(measured, data_dir):
  from t5cr_tasks import tasks

  task = variants.DIALOGUE_TASK
  spec = tasks.TASKS[task]
  wanted = [
    spec.postprocess(example["targets"].decode(), example, is_target=True)
    for example in spec.examples(
      "validation", str(data_dir)
    ).as_numpy_iterator()
  ]
  lines = collect.read_run(measured / "retrieval").outputs(task)
  assert [line["target"] for line in lines] == wanted
  training = {
    example["targets"].decode()
    for example in spec.examples("train", str(data_dir)).as_numpy_iterator()
  }
  assert {line["prediction"] for line in lines} <= training


def test_probe_targets_have_no_number_of_tokens(measured):
  task = variants.PROBE_TASK_PREFIX + "combination"
  lines = collect.read_run(measured / "als").outputs(task)
  assert all("target_tokens" not in line["target"] for line in lines)
  wins = metrics.probe_wins(
    [line["target"] for line in lines], [line["score"] for line in lines]
  )
  assert len(wins) == 60


def test_the_same_data_give_the_same_bytes(measured, data_dir, tmp_path):
  build.run(data_dir, tmp_path / "again", options=QUICK)
  assert contents(tmp_path / "again") == contents(measured)


def test_what_stands_is_left_alone(data_dir, measured, tmp_path):
  out = tmp_path / "out"
  shutil.copytree(measured, out)
  times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
  other = Options(**{**vars(QUICK), "bpr_iterations": 51})
  results = build.run(data_dir, out, options=other)
  assert [n for n, said in results.items() if said == "measured"] == ["bpr"]
  written = json.loads((out / "bpr" / "run.json").read_text())
  assert written["settings"]["options"]["bpr_iterations"] == 51
  for path, time in times.items():
    if path != out and "bpr" not in path.parts:
      assert path.stat().st_mtime_ns == time
  # A task's file that is gone is measured again.
  next((out / "popularity").rglob("*-metrics.jsonl")).unlink()
  results = build.run(data_dir, out, options=other)
  assert results["popularity"] == "measured"
  assert contents(out / "popularity") == contents(measured / "popularity")


def test_a_baseline_that_fails_leaves_nothing(data_dir, tmp_path, monkeypatch):
  from t5cr.study.baselines import counts

  def fails(interactions):
    def score(asked):
      raise MemoryError

    return score

  monkeypatch.setattr(counts, "popularity", fails)
  out = tmp_path / "out"
  with pytest.raises(MemoryError):
    build.run(data_dir, out, only=["popularity"])
  assert list(out.iterdir()) == []


@pytest.mark.parametrize(
  "gone, left",
  [
    (("t5cr_redial",), ("popularity", "cooccurrence", "als", "bpr")),
    (
      ("t5cr_movielens", "t5cr_probes"),
      ("most_frequent", "retrieval"),
    ),
    (("t5cr_probes",), ("most_frequent", "retrieval")),
  ],
)
def test_a_baseline_without_its_data_is_left_out(
  data_dir, tmp_path, gone, left
):
  there = without_probe(data_dir, tmp_path, *gone)
  planned = {
    name: build.plan(baseline, there, QUICK)
    for name, baseline in build.BASELINES.items()
  }
  able = {name for name, plan in planned.items() if not isinstance(plan, str)}
  assert able >= set(left)
  for name in build.BASELINES.keys() - able:
    assert any(set_name in planned[name] for set_name in gone) or (
      "probe sets" in planned[name]
    )


def run_cli(*arguments) -> int:
  return cli.main(["baselines", *map(str, arguments)])


def test_the_command(data_dir, tmp_path, capsys):
  out = tmp_path / "out"
  flags = ("--tfds_data_dir", data_dir, "--out", out)
  assert run_cli(*flags, "--only=popularity", "--only=most_frequent") == 0
  assert sorted(path.name for path in out.iterdir()) == [
    "most_frequent",
    "popularity",
  ]
  assert "popularity: measured" in capsys.readouterr().out
  assert run_cli(*flags, "--only=popularity") == 0
  assert "popularity: stands" in capsys.readouterr().out


def test_what_the_command_refuses(data_dir, tmp_path, capsys):
  out = tmp_path / "out"
  flags = ("--tfds_data_dir", data_dir, "--out", out)
  assert run_cli(*flags, "--only=popular") == 2
  assert "Did you mean 'popularity'?" in capsys.readouterr().err
  assert run_cli(*flags, "--factors=0") == 2
  assert "--factors is 0" in capsys.readouterr().err
  empty = ("--tfds_data_dir", tmp_path / "empty", "--out", out)
  assert run_cli(*empty) == 2
  assert "t5cr data build" in capsys.readouterr().err
  assert run_cli(*empty, "--only=als") == 2
  said = capsys.readouterr().err
  assert "'als'" in said and "ratings.csv" in said
  run_folders.write_run(out / "popularity", "all")
  assert run_cli(*flags, "--only=popularity") == 2
  assert "holds something else" in capsys.readouterr().err


def test_probes_of_other_data_are_refused(data_dir, tmp_path):
  there = without_probe(data_dir, tmp_path)
  (path,) = (there / "t5cr_movielens" / "tags").glob("*/metadata.json")
  metadata = json.loads(path.read_text())
  path.write_text(json.dumps(metadata | {"fingerprint": "another"}))
  with pytest.raises(errors.UsageError, match="made from another .*tags"):
    build.run(there, tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_a_folder_of_other_options_does_not_stand(measured, tmp_path):
  assert not folder.stands(measured / "als", {"other": 1}, [])
  assert not folder.stands(tmp_path / "nothing", {}, [])
