"""Baselines in a report: beside the rows, and never among them."""

import copy
import json

import baseline_folders
import pytest
import run_folders

from t5cr import cli, errors
from t5cr.study import page, page_baselines, report, sources, summary, variants


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """The report of a study with three baselines, which no test changes."""
  out = tmp_path_factory.mktemp("study") / "out"
  run_folders.write_study(out)
  baselines = {"popularity": 0.25, "als": 0.8, "most_frequent": 0.0}
  for name, share in baselines.items():
    baseline_folders.write(out / "baselines" / name, name, share)
  return report.of([sources.Source(out)])


def test_a_study_has_its_baselines_beside_its_rows(written):
  assert [entry["name"] for entry in written["baselines"]] == [
    "popularity",
    "als",
    "most_frequent",
  ]
  assert {entry["engine"] for entry in written["baselines"]} == {"baseline"}
  assert {row["engine"] for row in written["rows"]} == {"t5cr"}
  als = written["baselines"][1]
  assert als["label"] == "Matrix factorisation, ALS"
  assert set(als["probes"]) == {"recommendation", "combination"}
  entry = als["probes"]["recommendation"]
  assert entry["value"] == pytest.approx(0.8)
  assert entry["low"] < 0.8 < entry["high"]
  assert (entry["count"], entry["ties"]) == (300, 0)


def test_what_the_page_says_of_them(written):
  text = page.markdown(written, {})
  section = text.split("## What the figures are worth")[1].split("\n## ")[0]
  lines = section.splitlines()
  (als,) = (line for line in lines if line.startswith("| Matrix"))
  cells = [cell.strip() for cell in als.strip("|").split("|")]
  assert cells[1].startswith("0.800 (0.") and cells[2] == cells[4] == "–"
  assert "| *Matrix factorisation, the paper's* | *0.8096* |" in section
  (best,) = (line for line in lines if line.startswith("| Best row here"))
  assert best.count("All (T5-CR)") == 4
  assert "- **Popularity** scores a candidate by how many runs" in section
  assert "(Jaccard)" not in section
  table_2 = text.split("**Table 2.**")[1].split("\n## ")[0]
  (row,) = (x for x in table_2.splitlines() if x.startswith("| Most frequent"))
  assert "| baseline | measured |" in row
  assert row.count("(") == 2
  assert "*published*" in table_2


def test_a_report_without_baselines_says_nothing_of_them(study_dir):
  written = report.of([sources.Source(study_dir)])
  assert written["baselines"] == []
  assert "What the figures are worth" not in page.markdown(written, {})


def test_nothing_to_count_is_a_dash(written):
  changed = copy.deepcopy(written)
  changed["baselines"][2]["metrics"]["recall"]["count"] = 0
  (row,) = page_baselines.table_2_rows(changed)
  assert row[-1] == "–"


def test_folders_given_by_hand(tmp_path):
  run_folders.write_run(tmp_path / "all", "all")
  baseline_folders.write(tmp_path / "als", "als", 0.7)
  out = tmp_path / "out"
  folders = [str(tmp_path / "all"), f"mine={tmp_path / 'als'}"]
  assert cli.main(["report", *folders, f"--out={out}"]) == 0
  written = json.loads((out / "report.json").read_text())
  assert [row["name"] for row in written["rows"]] == ["all"]
  (entry,) = written["baselines"]
  assert (entry["name"], entry["label"]) == ("mine", "mine")
  assert "| mine | 0.700" in (out / "report.md").read_text()
  assert "What the figures are worth" in (out / "report.html").read_text()


def test_a_baseline_alone(tmp_path):
  baseline_folders.write(tmp_path / "als", "als", 0.7)
  written = report.of([sources.Source(tmp_path / "als")])
  assert written["rows"] == []
  assert written["baselines"][0]["label"] == "Matrix factorisation, ALS"
  assert "| Matrix factorisation, ALS | 0.700" in page.markdown(written, {})
  assert "Matrix factorisation, ALS" in summary.text(written)


def test_a_baseline_of_other_data_is_refused(tmp_path):
  run_folders.write_run(tmp_path / "all", "all")
  path = tmp_path / "all" / "run.json"
  about = json.loads(path.read_text())
  data = {f"{variants.SEQUENCES}:1.0.0": "one"}
  path.write_text(json.dumps(about | {"data": data}))
  data = {variants.SEQUENCES: "another"}
  baseline_folders.write(tmp_path / "als", "als", data=data)
  given = [sources.Source(tmp_path / name) for name in ("all", "als")]
  with pytest.raises(errors.UsageError, match="als .*different data"):
    report.of(given)
  data = {variants.SEQUENCES: "one"}
  baseline_folders.write(tmp_path / "als", "als", data=data)
  report.of(given)


def test_a_baseline_of_other_probes_is_refused(tmp_path):
  run_folders.write_run(tmp_path / "all", "all")
  baseline_folders.write(tmp_path / "als", "als")
  task = variants.PROBE_TASK_PREFIX + "recommendation"
  path = tmp_path / "als" / "inference_eval" / f"{task}-000000.jsonl"
  path.write_text(path.read_text().replace("Popular (1991)", "Liked (1991)"))
  given = [sources.Source(tmp_path / name) for name in ("all", "als")]
  with pytest.raises(errors.UsageError, match="different examples"):
    report.of(given)
