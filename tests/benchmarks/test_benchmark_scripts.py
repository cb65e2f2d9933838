"""The scripts end to end, at a tiny shape, without peers."""

import json

import pytest

from benchmarks import (
  accelerator,
  accelerator_stages,
  decoding,
  scoring,
  side_by_side,
  training,
)


def figures(path, capsys) -> dict:
  found = json.loads(path.read_text())
  shown = capsys.readouterr().out
  assert found["machine"]["cores"] > 0
  assert found["machine"]["versions"]["jax"]
  for timing in found["timings"]:
    assert timing["work"] in shown
    ours = timing["contenders"]["t5cr"]
    assert ours["least"] <= ours["median"] <= ours["most"]
    assert ours["rate"] == pytest.approx(
      ours["amount"] / ours["median"], rel=0.05
    )
  return found


def test_training(tmp_path, capsys):
  path = tmp_path / "training.json"
  training.main(
    ["--model=tiny", "--rounds=2", "--only=none", "--work=step"]
    + [f"--json={path}"]
  )
  found = figures(path, capsys)
  assert [timing["work"] for timing in found["timings"]] == ["step, 2 x 16/8"]
  assert set(found["absent"]) == {"t5x", "transformers"}


def test_scoring(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(scoring, "BATCH_SIZES", (8,))
  path = tmp_path / "scoring.json"
  scoring.main(
    ["--model=tiny", "--rounds=1", "--only=none", "--examples=12"]
    + [f"--json={path}"]
  )
  (timing,) = figures(path, capsys)["timings"]
  assert timing["contenders"]["t5cr"]["amount"] == 12
  assert timing["contenders"]["t5cr"]["note"] == "batches of 8"


def test_decoding(tmp_path, capsys):
  path = tmp_path / "decoding.json"
  decoding.main(
    ["--model=tiny", "--rounds=1", "--only=none", "--cases=full"]
    + [f"--json={path}"]
  )
  found = figures(path, capsys)["timings"]
  assert [timing["work"][:6] for timing in found] == ["greedy", "beam 4"]
  assert found[0]["contenders"]["t5cr"]["amount"] == 64


def test_a_wrong_peer_stops_a_script(tmp_path, monkeypatch, capsys):
  path = tmp_path / "training.json"

  class Wrong:
    def gradient(self, batch):
      return [1.0, 1.0, 1.0]

  make = training.contenders.make

  def with_wrong(*given):
    made = make(*given)
    made.peers["wrong"] = Wrong()
    return made

  monkeypatch.setattr(training.contenders, "make", with_wrong)
  with pytest.raises(SystemExit, match="Nothing was timed. .*: wrong computes"):
    training.main(
      ["--model=tiny", "--work=gradient", "--only=none", f"--json={path}"]
    )
  assert not path.exists()


@pytest.mark.long
def test_accelerator(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(
    accelerator_stages.contenders,
    "absent",
    lambda only=None: dict(
      t5x="not asked for", transformers="left out of this test"
    ),
  )
  path = tmp_path / "accelerator.json"
  accelerator.main(
    ["--model=tiny", "--rounds=1", "--dropout=0", f"--json={path}"]
    + ["--stages=matmul,train"]
  )
  matmul, train = figures(path, capsys)["timings"]
  assert matmul["unit"] == "TFLOP"
  assert "of the matmul peak" in train["contenders"]["t5cr"]["note"]


def test_stages_that_fail_or_come_too_late_are_lines_of_the_table():
  class Bench:
    def train(self):
      raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nmore")

    def score(self):
      return [side_by_side.Timing("score", "", {}, {})]

  kept = []
  found = accelerator.run(Bench(), ["train", "score"], 60.0, kept.append)
  assert found[0].failed == {
    "t5cr": "RuntimeError: RESOURCE_EXHAUSTED: out of memory"
  }
  assert found[1].work == "score"
  assert len(kept) == 2
  (late,) = accelerator.run(Bench(), ["score"], 0.0, kept.append)
  assert late.failed["t5cr"] == "OutOfTime: the 0 s were over"


def test_a_limit_of_time_interrupts():
  with pytest.raises(accelerator_stages.OutOfTime):
    with accelerator_stages.limited(1.0):
      while True:
        sum(range(1000))
