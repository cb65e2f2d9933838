import io
import json

import pytest

from t5cr import progress


class Clock:
  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now


@pytest.mark.parametrize(
  "seconds, words",
  [
    (0.4, "0 s"),
    (59, "59 s"),
    (185, "3 min 05 s"),
    (7800, "2 h 10 min"),
    (-1, "0 s"),
  ],
)
def test_duration(seconds, words):
  assert progress.duration(seconds) == words


def test_plain_lines_come_every_ten_seconds_and_at_the_end():
  clock, stream = Clock(), io.StringIO()
  with progress.Reporter("plain", stream=stream, clock=clock) as report:
    for done in range(41):
      clock.now = float(done)
      report("train", done, 40, "steps")
  lines = stream.getvalue().splitlines()
  assert lines == [
    "train: 10/40 steps, 1 steps/s, 30 s left",
    "train: 20/40 steps, 1 steps/s, 20 s left",
    "train: 30/40 steps, 1 steps/s, 10 s left",
    "train: 40/40 steps, 40 s",
  ]


def test_rate_of_a_stage_that_resumes_counts_only_what_this_process_did():
  clock, stream = Clock(), io.StringIO()
  with progress.Reporter("plain", stream=stream, clock=clock) as report:
    report("train", 900, 1000, "steps")
    clock.now = 10.0
    report("train", 950, 1000, "steps")
  assert "5 steps/s, 10 s left" in stream.getvalue()


def test_rate_is_that_of_the_last_minute():
  """What compiling took is forgotten."""
  clock, stream = Clock(), io.StringIO()
  with progress.Reporter("plain", stream=stream, clock=clock) as report:
    report("train", 0, 1000, "steps")
    clock.now = 100.0
    for done in range(1, 300):
      report("train", done, 1000, "steps")
      clock.now += 0.5
  assert "281/1,000 steps, 2 steps/s, 6 min 00 s left" in stream.getvalue()


def test_unknown_total_shows_no_time_left():
  clock, stream = Clock(), io.StringIO()
  with progress.Reporter("plain", stream=stream, clock=clock) as report:
    report("read", 0, None, "lines")
    clock.now = 10.0
    report("read", 5000, None, "lines")
  assert stream.getvalue().endswith("read: 5,000 lines, 500 lines/s\n")


def test_jsonl_can_be_read_back():
  stream = io.StringIO()
  with progress.Reporter("jsonl", stream=stream) as report:
    report("train", 3, 3, "steps")
    report("read", 7, None, "lines")
  parsed = [progress.parse_line(x) for x in stream.getvalue().splitlines()]
  assert parsed == [("train", 3, 3, "steps"), ("read", 7, None, "lines")]


@pytest.mark.parametrize(
  "line",
  [
    "loss 3.2",
    "{",
    '{"stage": "train"}',
    json.dumps({"a": 1}),
    "",
    '{"a": ' * 100_000,
    '{"stage": "x", "done": 1e999, "total": 1, "unit": "y"}',
    '{"stage": "x", "done": NaN, "total": 1, "unit": "y"}',
    '{"stage": "x", "done": 1' + "0" * 400 + ', "total": 1, "unit": "y"}',
  ],
  ids=range(9),
)
def test_other_lines_are_not_progress(line):
  assert progress.parse_line(line) is None


def test_environment_variable_chooses(monkeypatch):
  monkeypatch.setenv(progress.ENVIRONMENT_VARIABLE, "jsonl")
  assert progress.Reporter().mode == "jsonl"
  monkeypatch.delenv(progress.ENVIRONMENT_VARIABLE)
  assert progress.Reporter(stream=io.StringIO()).mode == "plain"


def test_bars_leave_a_line_for_each_finished_stage():
  stream = io.StringIO()
  with progress.Reporter("bar", stream=stream) as report:
    report("train", 1, 2, "steps")
    report("other", 1, None, "rows")
    report.drop("other")
    report("train", 2, 2, "steps")
  assert "✓ train: 2/2 steps" in stream.getvalue()
