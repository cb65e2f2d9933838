"""What each figure about the probes means, counted by hand."""

import json
import math

import pytest
import run_folders

from t5cr import errors
from t5cr.study import collect, page_probes, probes, report, variants


def line(probe_id, candidate, score, **fields):
  """A line of an evaluation of this version's tasks."""
  target = {
    "probe_id": probe_id,
    "candidate": candidate,
    "rank": 1,
    "tag": "",
    "movie": f"Movie {probe_id}",
    "related": "Related",
    "negative": "Popular",
    "template": "paper",
    "decile": 1,
    "named": 0,
    "target_tokens": 10,
  }
  return {"input": {}, "target": target | fields, "score": score}


def pair(probe_id, first, second, **fields):
  """Both lines of a probe with these scores."""
  return [
    line(probe_id, candidate, score, **fields)
    for candidate, score in enumerate((first, second))
  ]


def won(probe_id, **fields):
  return pair(probe_id, -10.0, -12.0, **fields)


def lost(probe_id, **fields):
  return pair(probe_id, -12.0, -10.0, **fields)


def write(folder, probe, lines, step=5):
  task = variants.PROBE_TASK_PREFIX + probe
  evaluated = folder / "inference_eval"
  run_folders.write_lines(evaluated / f"{task}-metrics.jsonl", [{"step": step}])
  run_folders.write_lines(evaluated / f"{task}-{step:06}.jsonl", lines)


def scores(folder):
  return probes.scores(collect.read_run(folder))


def values(entries):
  return {entry["key"]: (entry["value"], entry["count"]) for entry in entries}


def test_the_mean_is_over_the_tokens_of_each_target(tmp_path):
  lines = [
    # By the sum the shorter wins, by the mean (-1.1 and -1.5) the longer.
    line(0, 0, -11.0, target_tokens=10),
    line(0, 1, -9.0, target_tokens=6),
    # By the mean of both (-1) a tie, which is not won.
    line(1, 0, -8.0, target_tokens=8),
    line(1, 1, -9.0, target_tokens=9),
    *won(2),
  ]
  write(tmp_path, "recommendation", lines)
  measured = scores(tmp_path)["recommendation"]
  assert measured.value == pytest.approx(2 / 3)  # 1 and 2
  mean = measured.sides["mean_loglik"]
  assert mean["value"] == pytest.approx(2 / 3, abs=1e-6)  # 0 and 2
  assert mean["count"] == 3
  assert mean["low"] <= mean["value"] <= mean["high"]


def test_ties_are_counted_and_not_won(tmp_path):
  lines = [*pair(0, -9.0, -9.0), *won(1), *lost(2), *won(3)]
  write(tmp_path, "attribute", lines)
  measured = scores(tmp_path)["attribute"]
  assert (measured.value, measured.count, measured.ties) == (0.5, 4, 1)


def test_parts_by_hand(tmp_path):
  lines = [
    *won(0, decile=1, rank=1, tag="jazz"),
    *won(1, decile=1, rank=2, tag="jazz"),
    *lost(2, decile=1, rank=2, tag="space"),
    *lost(3, decile=10, rank=3, tag="space"),
  ]
  write(tmp_path, "combination", lines)
  by = scores(tmp_path)["combination"].sides["by"]
  assert values(by["decile"]) == {
    1: (pytest.approx(2 / 3, abs=1e-6), 3),
    10: (0.0, 1),
  }
  assert values(by["rank"]) == {1: (1.0, 1), 2: (0.5, 2), 3: (0.0, 1)}
  assert values(by["tag"]) == {"jazz": (1.0, 2), "space": (0.0, 2)}
  # The probes of one movie alone give no interval.
  assert (by["decile"][1]["low"], by["decile"][1]["high"]) == (None, None)
  assert by["decile"][0]["low"] is not None


def test_what_has_no_rank_or_tag_is_not_parted_by_it(tmp_path):
  write(tmp_path, "attribute", [*won(0, rank=0, tag="jazz"), *lost(1, rank=0)])
  by = scores(tmp_path)["attribute"].sides["by"]
  assert values(by["tag"]) == {"jazz": (1.0, 1)}
  assert set(by) == {"decile", "tag"}


def test_named_probes_are_left_out(tmp_path):
  lines = [*won(0, named=1), *won(1, named=1), *won(2), *lost(3), *lost(4)]
  write(tmp_path, "recommendation", lines)
  measured = scores(tmp_path)["recommendation"]
  assert measured.value == 0.6
  unnamed = measured.sides["unnamed"]
  assert unnamed["value"] == pytest.approx(1 / 3, abs=1e-6)
  assert unnamed["count"] == 3


def test_without_dialogues_nothing_is_said_of_names(tmp_path):
  lines = [*won(0, named=-1), *lost(1, named=-1)]
  write(tmp_path, "recommendation", lines)
  assert "unnamed" not in scores(tmp_path)["recommendation"].sides


def test_older_outputs_report_what_they_have(tmp_path):
  lines = [*won(0), *lost(1), *won(2)]
  for entry in lines:
    for name in ("template", "decile", "named", "target_tokens"):
      del entry["target"][name]
  write(tmp_path, "recommendation", lines)
  measured = scores(tmp_path)["recommendation"]
  assert measured.value == pytest.approx(2 / 3)
  assert set(measured.sides) == {"by"}
  assert set(measured.sides["by"]) == {"rank"}


def test_a_field_that_identifies_a_probe_has_to_be_there(tmp_path):
  lines = won(0)
  del lines[1]["target"]["movie"]
  write(tmp_path, "recommendation", lines)
  with pytest.raises(errors.UsageError, match="lines without 'movie'"):
    scores(tmp_path)


def as_inferred(lines):
  """Lines as `t5x.infer` writes them: floats, token ids with padding."""
  written = []
  for entry in lines:
    fields = dict(entry["target"])
    ids = [7] * (fields.pop("target_tokens") - 1) + [1] + [0] * 5
    numbers = ("probe_id", "candidate", "rank", "decile", "named")
    fields |= {name: float(fields[name]) for name in numbers}
    inputs = fields | {"targets": ids, "targets_pretokenized": "sure"}
    written.append({"inputs": inputs, "score": entry["score"]})
  return written


def test_what_t5x_infers_says_the_same_in_any_order(tmp_path):
  lines = [
    *won(0, target_tokens=8, decile=3),
    *lost(1, named=1),
    *pair(2, -3.0, -4.0, rank=2, tag="jazz"),
    line(3, 0, -11.0, target_tokens=10),
    line(3, 1, -9.0, target_tokens=6),
  ]
  write(tmp_path / "evaluated", "combination", lines)
  task = variants.PROBE_TASK_PREFIX + "combination"
  run_folders.write_lines(
    tmp_path / "inferred" / f"{task}-score.jsonl-00000-of-00001",
    as_inferred(lines[::-1]),
  )
  evaluated, inferred = (
    scores(tmp_path / name)["combination"] for name in ("evaluated", "inferred")
  )
  assert "mean_loglik" in evaluated.sides
  assert evaluated.sides == inferred.sides
  assert evaluated == inferred


def write_phrasings(folder, wins):
  """`wins`: phrasing -> for each probe whether it is won."""
  lines = []
  for template, answers in wins.items():
    for probe_id, answer in enumerate(answers):
      lines += (won if answer else lost)(probe_id, template=template)
  write(folder, "attribute" + variants.PHRASINGS, lines)


def test_spread_over_phrasings_by_hand(tmp_path):
  write_phrasings(
    tmp_path,
    {"short": [1, 1, 0, 0], "paper": [1, 1, 1, 1], "mood": [1, 1, 1, 0]},
  )
  found = probes.phrasings(collect.read_run(tmp_path))
  assert list(found) == ["attribute"]
  entry = found["attribute"]
  # 1, 0.75 and 0.5: squares of 0.25 over the number less one.
  assert entry["mean"] == 0.75
  assert entry["spread"] == pytest.approx(math.sqrt(2 * 0.25**2 / 2))
  assert (entry["least"], entry["most"], entry["count"]) == (0.5, 1.0, 4)
  # In the order of the templates.
  shares = {name: e["value"] for name, e in entry["by"].items()}
  assert list(shares.items()) == [
    ("paper", 1.0),
    ("mood", 0.75),
    ("short", 0.5),
  ]


def test_a_single_phrasing_has_no_spread(tmp_path):
  write_phrasings(tmp_path, {"paper": [1, 0]})
  entry = probes.phrasings(collect.read_run(tmp_path))["attribute"]
  assert (entry["mean"], entry["spread"]) == (0.5, None)


def test_transfer_is_the_paired_difference(tmp_path):
  answers = [1, 1, 0, 0] * 10
  better = [1, 1, 1, 0] * 10
  for probe, wins in (
    ("recommendation", answers),
    (variants.SEQUENCE_PROBE, better),
  ):
    lines = []
    for probe_id, answer in enumerate(wins):
      lines += (won if answer else lost)(probe_id)
    write(tmp_path, probe, lines)
  gap = probes.transfer(scores(tmp_path))
  assert (gap["value"], gap["count"]) == (0.25, 40)
  # The difference is 1 for 10 of 40 probes and else 0, whatever the scores.
  half = 1.96 * math.sqrt(0.25 * 0.75 / 40)
  assert gap["low"] == pytest.approx(0.25 - half, abs=0.03)
  assert gap["high"] == pytest.approx(0.25 + half, abs=0.03)


def test_transfer_is_over_the_pairs_that_both_have(tmp_path):
  write(tmp_path, "recommendation", [*won(0), *lost(1), *won(2)])
  other = [*won(0), *won(1), *lost(2, negative="Another")]
  write(tmp_path, variants.SEQUENCE_PROBE, other)
  gap = probes.transfer(scores(tmp_path))
  assert (gap["value"], gap["count"]) == (0.5, 2)


def test_no_transfer_without_both(tmp_path):
  write(tmp_path, "recommendation", won(0))
  assert probes.transfer(scores(tmp_path)) is None


def test_paired_tests_by_hand(tmp_path):
  answers = {
    # Both win 0; only the first 1 to 6; only the second 7; neither 8 and 9.
    "first": [1] * 7 + [0] * 3,
    "second": [1] + [0] * 6 + [1] + [0] * 2,
    "third": [1] * 7 + [0] * 3,
  }
  rows = {}
  for name, wins in answers.items():
    lines = []
    for probe_id, answer in enumerate(wins):
      lines += (won if answer else lost)(probe_id)
    write(tmp_path / name, "attribute", lines)
    rows[name] = scores(tmp_path / name)
  found = probes.paired(rows)
  assert list(found) == ["attribute"]
  first, same, last = found["attribute"]
  assert (first["first"], first["second"]) == ("first", "second")
  assert (first["first_only"], first["second_only"]) == (6, 1)
  # Of 7 that differ at least 6 one way or the other: 2 (1 + 7) / 2^7.
  assert first["p"] == pytest.approx(16 / 128)
  assert first["p_adjusted"] == pytest.approx(3 * 16 / 128)
  assert first["difference"]["value"] == 0.5
  assert first["difference"]["low"] < 0.5 < first["difference"]["high"]
  assert (same["first"], same["second"], same["p"]) == ("first", "third", 1.0)
  assert same["difference"] == {"value": 0, "low": 0, "high": 0}
  assert last["p_adjusted"] == pytest.approx(3 * 16 / 128)


def test_a_tie_is_won_by_nobody_in_a_paired_test(tmp_path):
  for name, lines in (
    ("tie", [*pair(0, -5.0, -5.0), *won(1)]),
    ("win", [*won(0), *won(1)]),
  ):
    write(tmp_path / name, "attribute", lines)
  rows = {name: scores(tmp_path / name) for name in ("tie", "win")}
  (test,) = probes.paired(rows)["attribute"]
  assert (test["first_only"], test["second_only"]) == (0, 1)


def test_one_row_is_tested_against_none(tmp_path):
  write(tmp_path, "attribute", won(0))
  assert probes.paired({"one": scores(tmp_path)}) == {}


def test_the_report_holds_what_was_agreed(whole):
  out, written = whole
  assert written == json.loads((out / "report" / "report.json").read_text())
  row = written["rows"][-1]
  entry = row["probes"]["combination"]
  assert {"ties", "mean_loglik", "unnamed", "by"} <= entry.keys()
  assert entry["unnamed"]["count"] == 300 - 6
  assert [group["key"] for group in entry["by"]["decile"]] == [*range(1, 11)]
  assert {"key", "value", "low", "high", "count"} == set(entry["by"]["tag"][0])
  found = row["phrasings"]["combination"]
  assert list(found["by"]) == ["paper", "mood", "short"]
  assert found["count"] == 50
  assert row["transfer"]["count"] == 300
  assert set(written["paired"]) == {*variants.PROBES, variants.SEQUENCE_PROBE}
  assert len(written["paired"]["attribute"]) == 10  # of five rows


def test_the_page_says_it_in_words(whole):
  out, written = whole
  text = (out / "report" / "report.md").read_text()
  row = written["rows"][-1]
  gap = row["transfer"]["value"]
  assert f"| {gap:+.3f} (".replace("-", "−") in text
  spread = row["phrasings"]["attribute"]["spread"]
  assert f" ± {spread:.3f} (" in text
  assert "in 3 phrasings (paper, mood, short;" in text
  test = written["paired"]["attribute"][0]
  cell = f"{test['first_only']}\u00a0:\u00a0{test['second_only']}, "
  assert cell in text
  assert "adjusted by Holm for the 50 tests" in text
  assert "not independent" in text


def test_a_page_of_older_rows_leaves_out_what_they_lack(tmp_path):
  lines = [*won(0), *lost(1)]
  for entry in lines:
    for name in ("template", "decile", "named", "target_tokens"):
      del entry["target"][name]
  write(tmp_path, "recommendation", lines)
  written = report.write(tmp_path)
  text = page_probes.markdown(written, {})
  assert text == ""
  assert written["rows"][0]["phrasings"] == {}
  assert written["rows"][0]["transfer"] is None
