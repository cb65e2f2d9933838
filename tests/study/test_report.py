import html.parser
import json

import pytest

from t5cr import errors
from t5cr.study import claims, markdown, report, summary, variants


@pytest.fixture
def written(whole):
  return whole[1]


@pytest.fixture
def folder(whole):
  return whole[0] / "report"


def test_json_has_the_schema_that_other_tools_read(written, folder):
  on_disk = json.loads((folder / "report.json").read_text())
  assert on_disk == json.loads(json.dumps(written))
  names = [row["name"] for row in on_disk["rows"]]
  assert names == ["none", "redial", "redial_sequence", "redial_review", "all"]
  row = on_disk["rows"][2]
  assert row["label"] == "ReDial + ML Sequences"
  assert row["mixture"] == "t5cr_redial_sequence"
  assert row["steps"] == 100
  for entry in (row["metrics"]["bleu"], row["probes"]["recommendation"]):
    assert {"value", "low", "high", "count"} <= entry.keys()
    assert entry["low"] <= entry["value"] <= entry["high"]
  assert on_disk["paper"]["table2"][2]["bleu"] == 15.39
  assert on_disk["paper"]["table3"]["all"]["combination"] == 0.8418
  assert on_disk["data"]["fingerprint"][variants.REDIAL] == variants.REDIAL
  assert on_disk["environment"]["python"]


def test_change_against_the_redial_row(written):
  change = written["rows"][2]["probes"]["recommendation"]["change"]
  # 191 and 142 of 300 probes.
  assert change["value"] == pytest.approx(191 / 142 - 1, abs=1e-6)
  assert change["low"] < change["value"] < change["high"]
  assert "change" not in written["rows"][1]["probes"]["recommendation"]


def test_markdown_says_what_it_must(written, folder):
  text = (folder / "report.md").read_text()
  assert "**An invented corpus.**" in text
  assert "- **ReDial + ML Tags**: it was not asked for" in text
  # Published rows, and the paper's figure beside ours.
  assert "| *KBRD* | *Knowledge Graph (recommender) + Transformer" in text
  assert "*published* | *11.00* | *3.00* |" in text
  assert "*0.6359*" in text
  assert "6 | 2.0%" in text  # the share of leaks
  assert "| `t5cr_redial` | dialogues | 12 | 10 | 2 | 2 empty |" in text
  assert "not built" in text


def test_pictures_lie_beside_the_page_and_inside_it(written, folder):
  names = ("figure3", "changes", "transfer", "phrasings", "deciles", "ranks")
  names += ("tags", "paired")
  for name in names:
    for theme in ("", "-dark"):
      picture = (folder / f"{name}{theme}.png").read_bytes()
      assert picture.startswith(b"\x89PNG")
  text = (folder / "report.html").read_text()
  assert text.count("data:image/png;base64,") == 2 * len(names)
  assert not [name for name in folder.iterdir() if name.suffix == ".tmp"]


class Checker(html.parser.HTMLParser):
  """Collects what a page loads, and tags left open."""

  def __init__(self):
    super().__init__()
    self.loaded, self.open = [], []

  def handle_starttag(self, tag, attrs):
    if tag not in ("meta", "img", "source", "br", "hr"):
      self.open.append(tag)
    attrs = dict(attrs)
    if tag in ("img", "source", "script", "link"):
      self.loaded.append(attrs.get("src") or attrs.get("srcset", "script"))

  def handle_startendtag(self, tag, attrs):
    pass

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


def test_the_page_needs_no_other_file(written, folder):
  checker = Checker()
  checker.feed((folder / "report.html").read_text())
  assert not checker.open
  assert all(source.startswith("data:") for source in checker.loaded)


def test_replies_cannot_break_the_page(study_dir):
  task = variants.DIALOGUE_TASK
  path = study_dir / f"rows/all/inference_eval/{task}-000100.jsonl"
  lines = path.read_text().splitlines()
  first = json.loads(lines[0])
  first["prediction"] = "<script>alert(1)</script> | **loud** @ X (1990) @"
  path.write_text("\n".join([json.dumps(first), *lines[1:]]))
  report.write(study_dir)
  text = (study_dir / "report" / "report.html").read_text()
  assert "&lt;script&gt;alert(1)" in text
  assert "<script>" not in text and "<strong>loud" not in text


def test_a_run_folder_has_a_report_of_its_own(study_dir):
  run = study_dir / "rows" / "redial"
  written = report.write(run)
  assert [row["name"] for row in written["rows"]] == ["redial"]
  text = (run / "report" / "report.md").read_text()
  assert "invented" not in text


def test_neither_study_nor_run(tmp_path):
  with pytest.raises(errors.UsageError, match="holds no results"):
    report.write(tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_study_without_rows(study_dir):
  for path in study_dir.glob("stages/row_*.json"):
    path.unlink()
  with pytest.raises(errors.UsageError, match="No row of the study"):
    report.write(study_dir)


def entry(value, low, high):
  return {"value": value, "low": low, "high": high, "count": 300}


def with_scores(scores):
  rows = [
    {"name": name, "probes": {p: entry(*e) for p, e in probes.items()}}
    for name, probes in scores.items()
  ]
  return {"rows": rows, "data": {"probes": {}}}


@pytest.mark.parametrize(
  "sequence, met",
  [
    ((0.62, 0.58, 0.66), True),
    ((0.62, 0.53, 0.70), False),  # the intervals overlap
    ((0.59, 0.58, 0.60), False),  # less than 20% more
  ],
)
def test_a_gain_needs_size_and_intervals_apart(sequence, met):
  scores = {
    "redial": {"recommendation": (0.5, 0.46, 0.54)},
    "redial_sequence": {"recommendation": sequence},
  }
  assert claims.check(with_scores(scores))[0].met is met


@pytest.mark.parametrize(
  "unnamed, met",
  [
    ((0.62, 0.58, 0.66), True),
    ((0.52, 0.48, 0.56), False),  # only what dialogues name was learned
  ],
)
def test_a_gain_has_to_hold_without_what_dialogues_name(unnamed, met):
  report = with_scores(
    {
      "redial": {"recommendation": (0.5, 0.46, 0.54)},
      "redial_sequence": {"recommendation": (0.8, 0.76, 0.84)},
    }
  )
  base, row = (row["probes"]["recommendation"] for row in report["rows"])
  base["unnamed"], row["unnamed"] = entry(0.5, 0.46, 0.54), entry(*unnamed)
  by_text = {claim.text: claim.met for claim in claims.check(report)}
  raises = "ReDial + ML Sequences raises the recommendation probe"
  assert by_text[f"{raises} by at least 20%"] is True
  left_out = ", pairs that dialogues name left out,"
  assert by_text[f"{raises}{left_out} by at least 20%"] is met


def test_claims_about_rows_that_are_missing():
  checked = claims.check(with_scores({}))
  assert {claim.met for claim in checked} == {None}
  assert {claim.detail for claim in checked} == {"not measured"}


def test_summary_for_the_terminal(written):
  lines = summary.text(written).splitlines()
  assert lines[0].split() == ["finetuning", "tasks", *variants.PROBES] + [
    "bleu",
    "recall",
  ]
  assert lines[2].startswith("ReDial  ")
  assert "0.473 (0." in lines[2]


def test_table_escapes_bars():
  assert markdown.table(["a", "b"], [["x|y", "1"]]).splitlines() == [
    "| a | b |",
    "| --- | --- |",
    "| x\\|y | 1 |",
  ]
