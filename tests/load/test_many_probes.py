"""100,000 probes: built, scored by a tiny model, measured and reported."""

import csv
import json
import os
import pathlib
import random
import re
import subprocess
import sys

import pytest

# Peak memory may grow by so much a probe from 10,000 to 100,000.
MOST_BYTES_OF_PROBE = 20_000
RELATED = 10

# Runs a command and tells its peak memory in KiB, alone of all children.
PEAK = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def write_corpus(raw: pathlib.Path, movies: int) -> None:
  """Every movie is in four runs of ten."""
  folder = raw / "movielens"
  folder.mkdir(parents=True)
  with (folder / "movies.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(("movieId", "title", "genres"))
    for number in range(1, movies + 1):
      year = 1950 + number % 70
      table.writerow((number, f"Movie Number {number} ({year})", "Drama"))
  shuffled = random.Random(0)
  with (folder / "ratings.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(("userId", "movieId", "rating", "timestamp"))
    for repeat in range(4):
      order = list(range(1, movies + 1))
      shuffled.shuffle(order)
      for place, movie in enumerate(order):
        user = 1 + repeat * movies + place // 10
        table.writerow((user, movie, 5.0, 1000 + place % 10))


class Runner:
  """Runs `t5cr` in a folder and keeps the peak memory of each command."""

  def __init__(self, repository, folder):
    self.folder = folder
    self.peaks = {}
    self.environment = {
      **os.environ,
      "PYTHONPATH": str(repository),
      "T5CR_PROGRESS": "quiet",
      "T5CR_VOCABULARY": str(folder / "v.model"),
    }

  def __call__(self, what, *arguments):
    command = (sys.executable, "-m", "t5cr.cli", *map(str, arguments))
    ran = subprocess.run(
      (sys.executable, "-c", PEAK, *command),
      env=self.environment,
      capture_output=True,
      text=True,
      check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    (peak,) = re.findall(r"^peak (\d+)$", ran.stdout, re.M)
    self.peaks[what] = int(peak) * 1024


def study(repository, folder: pathlib.Path, movies: int) -> dict[str, int]:
  """From raw files to a report; the peak memory of each command."""
  write_corpus(folder / "raw", movies)
  run = Runner(repository, folder)
  data = ("--tfds_data_dir", folder / "data")
  run("data", "data", "build", "--raw", folder / "raw", *data)
  options = ("--min_count", 2, "--related", RELATED, "--phrased_probes", 0)
  run("probes", "probes", "build", *data, *options)
  model = folder / "v.model"
  run("vocabulary", "data", "vocabulary", *data, "--out", model, "--size", 400)
  tiny = "--gin_file=recipe/tiny.gin"
  run(
    "train",
    *("train", "--gin_file=t5cr/finetune.gin", tiny, *data),
    "--gin.MIXTURE_OR_TASK_NAME='t5cr_movielens_sequence'",
    *("--gin.TRAIN_STEPS=1", "--gin.EVAL_TASKS=()"),
    f"--gin.MODEL_DIR={str(folder / 'run')!r}",
  )
  run(
    "eval",
    *("eval", "--gin_file=t5cr/eval.gin", tiny, *data),
    "--gin.MIXTURE_OR_TASK_NAME='t5cr_probe_recommendation'",
    *("--gin.EVAL_NUM_EXAMPLES=None", "--gin.EVAL_BATCH_SIZE=256"),
    f"--gin.CHECKPOINT_PATH={str(folder / 'run')!r}",
    f"--gin.EVAL_OUTPUT_DIR={str(folder / 'eval')!r}",
  )
  run("report", "report", folder / "eval", "--out", folder / "report")
  return run.peaks


def won(lines: pathlib.Path) -> tuple[int, int]:
  """(probes, probes won), counted line by line."""
  first, probes, wins = {}, 0, 0
  with lines.open() as file:
    for line in map(json.loads, file):
      number, candidate = (
        line["target"][name] for name in ("probe_id", "candidate")
      )
      if number not in first:
        first[number] = (candidate, line["score"])
        continue
      scores = dict([first.pop(number), (candidate, line["score"])])
      probes += 1
      wins += scores[0] > scores[1]
  assert not first
  return probes, wins


@pytest.mark.long
def test_a_hundred_thousand_probes(repository, tmp_path, capsys):
  movies = {"few": 1_000, "many": 10_000}
  peaks = {
    name: study(repository, tmp_path / name, count)
    for name, count in movies.items()
  }
  evaluated = tmp_path / "many" / "eval" / "inference_eval"
  probes, wins = won(evaluated / "t5cr_probe_recommendation-000001.jsonl")
  assert probes > 0.99 * movies["many"] * RELATED
  (metrics,) = map(
    json.loads,
    (evaluated / "t5cr_probe_recommendation-metrics.jsonl")
    .read_text()
    .splitlines(),
  )
  assert metrics["count"] == probes
  assert metrics["accuracy"] == pytest.approx(wins / probes)
  report = json.loads((tmp_path / "many" / "report/report.json").read_text())
  (row,) = report["rows"]
  shown = row["probes"]["recommendation"]
  assert shown["count"] == probes
  assert shown["value"] == pytest.approx(wins / probes, abs=1e-6)
  with capsys.disabled():
    print()
    for what, peak in peaks["many"].items():
      more = peak - peaks["few"][what]
      print(f"{what}: {peak / 1e6:,.0f} MB, {more / 1e6:,.0f} MB more")
  for what, peak in peaks["many"].items():
    more = (peak - peaks["few"][what]) / (0.9 * probes)
    assert more < MOST_BYTES_OF_PROBE, what
