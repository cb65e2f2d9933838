"""Results are compared first; ratios, limits and failures come out right."""

import json
import time

import numpy as np
import pytest

from benchmarks import side_by_side, table
from benchmarks.side_by_side import Contender, Disagreement, Timing


def same(theirs, ours):
  side_by_side.check_close(theirs, ours, "sum", rtol=1e-4)


def timing(**seconds) -> Timing:
  return Timing("work", "pairs", dict.fromkeys(seconds, 12.0), seconds)


def test_ratio_is_of_median_rates():
  found = timing(t5cr=[1.0, 9.0, 2.0], peer=[6.0, 5.0, 50.0])
  assert found.median("t5cr") == 2.0
  assert found.rate("t5cr") == 6.0
  assert found.ratio("peer") == pytest.approx(3.0)
  assert found.ratio("t5cr") is None


def test_ratio_counts_what_each_has_done():
  seconds = {"t5cr": [4.0], "peer": [1.0]}
  found = Timing("work", "pairs", {"t5cr": 40.0, "peer": 2.0}, seconds)
  assert found.rate("peer") == 2.0
  assert found.ratio("peer") == pytest.approx(5.0)


def test_a_wrong_contender_is_refused_before_anything_is_timed():
  calls = {"t5cr": 0, "wrong": 0}

  def run(name, result):
    calls[name] += 1
    return result

  contenders = {
    "wrong": Contender(lambda: run("wrong", [1.0, 2.1])),
    "t5cr": Contender(lambda: run("t5cr", [1.0, 2.0])),
  }
  with pytest.raises(Disagreement, match="work: wrong .*2.1, not 2 .1 of 2"):
    side_by_side.measure(
      "work", contenders, same, amount=1, unit="sums", rounds=3
    )
  assert calls == {"t5cr": 1, "wrong": 1}


def test_guarded_contenders_fail_alone():
  def broken():
    raise MemoryError("no memory\nfor this")

  found = side_by_side.measure(
    "work",
    {
      "broken": Contender(broken),
      "wrong": Contender(lambda: 3.0),
      "t5cr": Contender(lambda: 2.0),
      "right": Contender(lambda: 2.0, note="batches of 8"),
    },
    same,
    amount=1,
    unit="sums",
    rounds=3,
    guarded=True,
  )
  assert list(found.seconds) == ["t5cr", "right"]
  assert [len(taken) for taken in found.seconds.values()] == [3, 3]
  assert found.failed["broken"] == "MemoryError: no memory"
  assert found.failed["wrong"].startswith("refused: computes another sum")


def test_a_contender_may_have_its_own_check():
  half = Contender(
    lambda: [1.0],
    amount=1,
    check=lambda theirs, ours: same(theirs, ours[:1]),
  )
  found = side_by_side.measure(
    "work",
    {"t5cr": Contender(lambda: [1.0, 2.0]), "half": half},
    same,
    amount=2,
    unit="sums",
    rounds=1,
  )
  assert found.amounts == {"t5cr": 2, "half": 1}


def test_contenders_take_turns_in_changing_order():
  order = []

  def run(name):
    order.append(name)
    return 0.0

  side_by_side.measure(
    "work",
    {name: Contender(lambda name=name: run(name)) for name in ("t5cr", "b")},
    same,
    amount=1,
    unit="sums",
    rounds=2,
  )
  assert order == ["t5cr", "b", "t5cr", "b", "b", "t5cr"]


def test_no_round_starts_after_the_budget():
  found = side_by_side.measure(
    "work",
    {"t5cr": Contender(lambda: time.sleep(0.02) or 0.0)},
    same,
    amount=1,
    unit="sums",
    rounds=50,
    budget_s=0.05,
  )
  assert 1 < len(found.seconds["t5cr"]) < 10


@pytest.mark.parametrize("theirs", [[1.0, np.nan], [1.0], [1.0, 2.01]])
def test_what_is_not_close_is_told(theirs):
  with pytest.raises(Disagreement):
    side_by_side.check_close(theirs, [1.0, 2.0], "score", rtol=1e-3)


def test_best_takes_the_fastest():
  naps = {8: 0.02, 16: 0.0, 32: 0.03}
  best = side_by_side.best(
    {size: lambda nap=nap: time.sleep(nap) for size, nap in naps.items()}
  )
  assert best == 16


def test_markdown_has_the_figures_of_the_files(tmp_path):
  where = {
    "benchmark": "scoring",
    "model": "small",
    "machine": {
      "processor": "A processor",
      "cores": 2,
      "device": "cpu",
      "load_before": 0.1,
      "versions": {"python": "3.12", "jax": "1.0"},
    },
    "absent": {"t5x": "not asked for"},
  }
  found = timing(t5cr=[1.0, 3.0, 2.0], peer=[5.0, 5.0, 5.0])
  path = tmp_path / "made" / "scoring.json"
  side_by_side.write(path, [found], where)
  assert [entry.name for entry in path.parent.iterdir()] == ["scoring.json"]
  lines = table.markdown([json.loads(path.read_text())]).splitlines()
  assert lines[2] == "| work | t5cr | 2 s | 1 to 3 s | 6 pairs |  |"
  assert lines[3] == (
    "| work | peer | 5 s | 5 to 5 s | 2.4 pairs | 2.50x as fast |"
  )
  assert lines[5].startswith("scoring (small): A processor, 2 cores")
  assert "Without t5x: not asked for" in lines[5]
  assert "2.50x as fast" in table.text([found], where)
