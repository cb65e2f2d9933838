import json
import pathlib

import pytest
import run_folders

from t5cr import cli, errors
from t5cr.study import collect, drawing, report, sources, summary, variants


def write_upstream(folder: pathlib.Path, name: str = "all") -> None:
  """A row's results as t5x leaves them."""
  run_folders.write_run(folder, name)
  (folder / "run.json").unlink()
  (folder / "model-info.txt").write_text("Variable …\n")


def as_inferred(folder: pathlib.Path) -> None:
  """Makes of an evaluation what `t5x.infer` writes of the same."""
  for path in sorted((folder / "inference_eval").glob("*-000100.jsonl")):
    task = path.name.removesuffix("-000100.jsonl")
    lines = []
    for line in map(json.loads, path.read_text().splitlines()):
      target = dict(line["target"])
      text = target.pop("text", None)
      inputs = line["input"] | {
        key: float(value) if isinstance(value, int) else value
        for key, value in target.items()
      }
      if text is not None:
        inputs |= {"targets_pretokenized": text}
        inputs["recommended"] = [*target["recommended"], ""]
      kept = {k: line[k] for k in ("score", "prediction") if k in line}
      lines.append({"inputs": inputs, **kept})
    mode = "score" if "score" in lines[0] else "predict"
    name = f"{task}-{mode}.jsonl-00000-of-00001"
    run_folders.write_lines(folder / name, lines[::-1])
    path.unlink()
    path.with_name(f"{task}-metrics.jsonl").unlink()


def test_runs_of_both_engines_in_one_report(tmp_path):
  run_folders.write_run(tmp_path / "all", "all")
  write_upstream(tmp_path / "evaluated")
  write_upstream(tmp_path / "inferred")
  as_inferred(tmp_path / "inferred")
  out = tmp_path / "out"
  folders = [tmp_path / "all", tmp_path / "evaluated"]
  given = [*map(str, folders), f"t5x infer={tmp_path / 'inferred'}"]
  assert cli.main(["report", *given, f"--out={out}"]) == 0
  written = json.loads((out / "report.json").read_text())
  rows = written["rows"]
  assert [(row["name"], row["engine"], row["steps"]) for row in rows] == [
    ("all", "t5cr", 100),
    ("evaluated", "t5x", 100),
    ("t5x infer", "t5x", None),
  ]
  assert rows[0]["examples"].keys() == {
    "dialogue",
    *variants.PROBES,
    variants.SEQUENCE_PROBE,
    *(probe + variants.PHRASINGS for probe in variants.PROBES),
  }
  for row in rows[1:]:
    assert row["examples"] == rows[0]["examples"]
    assert row["metrics"] == rows[0]["metrics"]
    assert row["probes"] == rows[0]["probes"]
    assert row["phrasings"] == rows[0]["phrasings"]
    assert row["transfer"] == rows[0]["transfer"]
  text = (out / "report.md").read_text()
  assert "| Finetuning tasks | Engine | Recommendation probe |" in text
  assert "| evaluated | t5x | **" in text
  assert "| T5, 100 steps, by t5x | measured |" in text
  lines = summary.text(written).splitlines()
  assert lines[0].split()[:3] == ["finetuning", "tasks", "engine"]
  assert len(lines) == 4
  # Nothing is left in the folders that were read.
  assert not (tmp_path / "all" / "report").exists()


def test_the_engine_column_is_there_only_for_other_engines(tmp_path):
  run_folders.write_run(tmp_path / "all", "all")
  written = report.write(tmp_path / "all")
  assert "engine" not in summary.text(written)
  assert "| Engine |" not in (tmp_path / "all/report/report.md").read_text()


@pytest.mark.parametrize(
  "file, expected",
  [
    ("run.json", "t5cr"),
    ("results_of.json", "t5cr"),
    ("model-info.txt", "t5x"),
    (None, None),
  ],
)
def test_what_tells_the_engine(tmp_path, file, expected):
  run_folders.write_run(tmp_path, "all")
  (tmp_path / "run.json").unlink()
  if file:
    (tmp_path / file).write_text("{}")
  assert sources.engine(collect.read_run(tmp_path)) == expected


def test_results_tell_what_their_run_was_trained_on(tmp_path):
  run_folders.write_run(tmp_path, "all")
  (tmp_path / "run.json").unlink()
  about = {"trained_on": {"a:1.0.0": "x", "vocabulary": "v"}}
  about |= {"run": "somewhere", "data": {"b:1.0.0": "y"}}
  (tmp_path / "results_of.json").write_text(json.dumps(about))
  assert sources.data(collect.read_run(tmp_path)) == {"a": "x", "b": "y"}


def test_a_study_beside_a_run(study_dir, tmp_path):
  write_upstream(tmp_path / "mine")
  given = [sources.Source(study_dir), sources.Source(tmp_path / "mine")]
  written = report.write_several(given, tmp_path / "both")
  names = [row["name"] for row in written["rows"]]
  assert names[-2:] == ["all", "mine"]
  assert written["corpus"]["invented"]
  assert [row["name"] for row in written["omitted"]] == ["redial_tags"]


def test_names_with_and_without_folders(study_dir, tmp_path):
  odd = tmp_path / "a=b"
  odd.mkdir()
  assert sources.parse(str(odd)) == sources.Source(odd)
  assert sources.parse(f"x={odd}") == sources.Source(odd, "x")
  for bad in ("=folder", "name="):
    with pytest.raises(errors.UsageError, match="is no NAME=FOLDER"):
      sources.parse(bad)
  with pytest.raises(errors.UsageError, match="the rows of a study have names"):
    sources.parse(f"x={study_dir}")


def test_two_rows_of_one_name(tmp_path, capsys):
  for parent in ("a", "b"):
    run_folders.write_run(tmp_path / parent / "all", "all")
  folders = [str(tmp_path / parent / "all") for parent in ("a", "b")]
  out = f"--out={tmp_path / 'out'}"
  assert cli.main(["report", *folders, out]) == 2
  told = capsys.readouterr().err
  assert f"NAME={folders[1]}" in told and "Traceback" not in told
  assert cli.main(["report", *folders]) == 2
  assert "--out" in capsys.readouterr().err
  assert not (tmp_path / "out").exists()


def test_two_studies_are_refused(study_dir):
  given = [sources.Source(study_dir)] * 2
  with pytest.raises(errors.UsageError, match="--against"):
    report.of(given)


def with_data(folder: pathlib.Path, fingerprint: str) -> None:
  run_folders.write_run(folder, "all")
  about = json.loads((folder / "run.json").read_text())
  about["data"] = {"t5cr_redial:1.0.0": fingerprint, "vocabulary": fingerprint}
  (folder / "run.json").write_text(json.dumps(about))


def test_rows_of_different_data_are_refused(tmp_path):
  for name, fingerprint in (("a", "1"), ("b", "1"), ("c", "2")):
    with_data(tmp_path / name, fingerprint)
  a, b, c = (sources.Source(tmp_path / name) for name in "abc")
  assert report.of([a, b])["data"]["fingerprint"] == {"t5cr_redial": "1"}
  with pytest.raises(errors.UsageError, match="different data .t5cr_redial."):
    report.of([a, b, c])


def test_rows_of_different_examples_are_refused(tmp_path):
  for name in ("a", "b"):
    write_upstream(tmp_path / name)
  task = variants.PROBE_TASK_PREFIX + "attribute"
  path = tmp_path / "b" / "inference_eval" / f"{task}-000100.jsonl"
  path.write_text("\n".join(path.read_text().splitlines()[:-2]))
  given = [sources.Source(tmp_path / name) for name in ("a", "b")]
  with pytest.raises(errors.UsageError, match="different examples .attribute."):
    report.of(given)


def test_runs_have_colours_of_their_own():
  rows = [{"name": name} for name in ("all", "x", "y", "z", "redial_tags")]
  colours = drawing.colours(rows, drawing.LIGHT)
  assert len(set(colours.values())) == 5
  assert colours["all"] == drawing.LIGHT.rows["all"]
