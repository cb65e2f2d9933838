import copy
import json

import pytest
import run_folders

from t5cr import cli, errors
from t5cr.study import against, against_page, report, variants

OTHER_DATA = "fingerprints of t5cr_redial differ"


@pytest.fixture
def here(whole):
  return whole[1]


@pytest.fixture
def there(here):
  """The same report, for tests to change."""
  return copy.deepcopy(here)


def figure(comparison, row, name):
  (found,) = (
    f for f in comparison["figures"] if (f["row"], f["name"]) == (row, name)
  )
  return found


def row_of(written, name):
  return next(row for row in written["rows"] if row["name"] == name)


def test_a_report_against_itself(here, there):
  compared = against.compare(here, there, "there")
  assert compared["warnings"] == []
  assert compared["only_here"] == compared["only_there"] == []
  assert compared["unknown_data"] == []
  assert {f["result"] for f in compared["figures"]} == {"same"}
  measured = [
    (row["name"], name)
    for row in here["rows"]
    for kind in ("probes", "metrics")
    for name in row[kind]
  ]
  assert [(f["row"], f["name"]) for f in compared["figures"]] == measured


def test_difference_by_hand():
  a = {"value": 0.7, "low": 0.66, "high": 0.72}
  b = {"value": 0.6, "low": 0.58, "high": 0.63}
  # sqrt(.04² + .03²) = .05 down; sqrt(.02² + .02²) up.
  assert against.difference(a, b) == pytest.approx(
    {"value": 0.1, "low": 0.05, "high": 0.1 + 0.0008**0.5}, abs=1e-6
  )


@pytest.mark.parametrize(
  "interval, result, overlap",
  [
    ((0.60, 0.58, 0.62), "higher", False),
    ((0.66, 0.64, 0.685), "higher", True),  # it asks for less than apart
    ((0.69, 0.66, 0.72), "unclear", True),
    ((0.80, 0.78, 0.82), "lower", False),
    ((0.60, None, None), None, None),
  ],
)
def test_results(here, there, interval, result, overlap):
  mine = row_of(there, "all")["probes"]["recommendation"]
  value, low, high = interval
  theirs = mine | {"value": value, "low": low, "high": high}
  there_rows = copy.deepcopy(there)
  row_of(there_rows, "all")["probes"]["recommendation"] = theirs
  mine |= {"value": 0.7, "low": 0.68, "high": 0.72}
  found = figure(
    against.compare(there, there_rows, "x"), "all", "recommendation"
  )
  assert (found["result"], found["overlap"]) == (result, overlap)
  assert found["difference"]["value"] == pytest.approx(0.7 - value)


def test_rows_and_figures_of_one_report_only(here, there):
  there["rows"] = [r for r in there["rows"] if r["name"] != "none"]
  there["rows"][0] |= {"name": "mine", "label": "Mine"}  # was redial
  del row_of(there, "all")["probes"]["attribute"]
  compared = against.compare(here, there, "x")
  assert compared["only_here"] == ["none", "redial"]
  assert compared["only_there"] == ["mine"]
  found = figure(compared, "all", "attribute")
  assert found["there"] is None
  assert found["here"]["value"] == pytest.approx(0.77, abs=0.01)
  assert found["difference"] is found["result"] is None


def test_no_row_in_both(here, there):
  for row in there["rows"]:
    row["name"] += "_2"
  compared = against.compare(here, there, "x")
  assert compared["warnings"] == [
    "No row is in both reports: nothing is compared."
  ]
  assert compared["figures"] == []


def test_other_data_are_warned_of(here, there):
  there["data"]["fingerprint"][variants.REDIAL] = "another"
  (warning,) = against.compare(here, there, "x")["warnings"]
  assert OTHER_DATA in warning
  assert "cannot be compared" in warning


@pytest.mark.parametrize("told_by", ["examples", "fingerprint", "count"])
def test_no_difference_is_taken_of_other_examples(here, there, told_by):
  here = copy.deepcopy(here)
  theirs = row_of(there, "all")
  if told_by == "examples":
    theirs["examples"]["attribute"] = "another"
  else:  # reports that are older than the digest of examples
    del theirs["examples"]
  if told_by == "fingerprint":
    there["data"]["probes"]["attribute"]["fingerprint"] = "another"
  if told_by == "count":
    theirs["probes"]["attribute"]["count"] -= 1
  compared = against.compare(here, there, "x")
  assert figure(compared, "all", "attribute")["result"] == "other examples"
  assert figure(compared, "all", "attribute")["difference"] is None
  assert figure(compared, "all", "combination")["result"] == "same"
  (warning,) = compared["warnings"]
  assert warning.startswith("Measured on other examples there: attribute.")


def test_runs_of_two_engines_on_the_same_examples(tmp_path):
  for name in ("all", "upstream"):
    run_folders.write_run(tmp_path / name, "all")
  (tmp_path / "upstream" / "run.json").unlink()
  (tmp_path / "upstream" / "model-info.txt").write_text("Variable …")
  report.write(tmp_path / "upstream")
  written = report.write(tmp_path / "all", other=tmp_path / "upstream")
  compared = written["against"]
  assert compared["rows"] == [
    {
      "name": "all",
      "label": "All (T5-CR)",
      "there": "upstream",
      "engines": ["t5cr", "t5x"],
    }
  ]
  assert compared["warnings"] == []
  assert compared["unknown_data"] == ["all"]
  assert {f["result"] for f in compared["figures"]} == {"same"}


def test_the_section_is_in_every_file(whole, here, there, tmp_path):
  there["data"]["fingerprint"][variants.REDIAL] = "another"
  (tmp_path / "report.json").write_text(json.dumps(there))
  run = tmp_path / "redial"
  run_folders.write_run(run, "redial")
  about = json.loads((run / "run.json").read_text())
  about["data"] = {"t5cr_redial:1.0.0": "t5cr_redial", "vocabulary": "v"}
  (run / "run.json").write_text(json.dumps(about))
  written = report.write(run, other=tmp_path)
  folder = run / "report"
  assert json.loads((folder / "report.json").read_text())["against"] == (
    json.loads(json.dumps(written["against"]))
  )
  for name in ("report.md", "report.html"):
    text = (folder / name).read_text()
    assert "Against another report" in text
    assert text.index("made from different data") < text.index("MOVER")
  # Asked without, it is gone.
  report.write(run)
  assert "Against" not in (folder / "report.md").read_text()


def test_plain_when_piped(here, there, capsys):
  there["data"]["fingerprint"][variants.REDIAL] = "another"
  there["rows"] = [r for r in there["rows"] if r["name"] != "none"]
  row_of(there, "all")["label"] = "[bold]"
  against_page.show(against.compare(here, there, "[x]/report"))
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith("WARNING: The two were made from different data")
  text = "\n".join(lines)
  assert "\x1b" not in text
  assert "There: [x]/report" in text
  assert "Rows that are only here: none." in text
  assert "+0.000 (" in text
  assert all(line == line.rstrip() for line in lines)


def test_command_compares_reports_that_are_written(whole, capsys):
  out, _ = whole
  before = (out / "report" / "report.json").read_bytes()
  command = ["report", str(out / "report"), f"--against={out}"]
  assert cli.main(command) == 0
  assert "same" in capsys.readouterr().out
  assert (out / "report" / "report.json").read_bytes() == before
  assert cli.main([*command, f"--out={out}"]) == 2
  assert "drop --out" in capsys.readouterr().err


@pytest.mark.parametrize(
  "content, message",
  [
    (None, "holds no report; looked for"),
    ("{'rows'", "is damaged: it is no JSON"),
    ('{"rows": [', "is damaged: it is no JSON"),
    ("[]", "it has no 'rows'"),
    ('{"rows": []}', "it has no 'data'"),
    ('{"schema": 9, "rows": [], "data": {}}', "is a report of schema 9"),
    ('{"rows": [{}], "data": {}}', r"rows\[0\] has no name"),
    ('{"rows": [{"name": "a"}], "data": {}}', r"rows\[0\] has no 'metrics'"),
    (
      '{"rows": [{"name": "a", "metrics": {"bleu": {"value": 1}},'
      ' "probes": {}}], "data": {}}',
      r"rows\[0\].metrics.bleu has no value",
    ),
  ],
)
def test_what_is_no_report(tmp_path, content, message):
  if content is not None:
    (tmp_path / "report.json").write_text(content)
  with pytest.raises(errors.UsageError, match=message) as told:
    against.read(tmp_path)
  assert str(tmp_path) in str(told.value)
  assert "`t5cr report" in str(told.value)


def test_a_report_that_is_no_text(tmp_path):
  (tmp_path / "report.json").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(errors.UsageError, match="is damaged"):
    against.read(tmp_path / "report.json")


def test_a_bad_report_is_told_before_anything_is_written(tmp_path):
  run_folders.write_run(tmp_path / "all", "all")
  with pytest.raises(errors.UsageError, match="holds no report"):
    report.write(tmp_path / "all", other=tmp_path / "nowhere")
  assert not (tmp_path / "all" / "report").exists()
