import pytest
import run_folders

from t5cr import errors
from t5cr.study import collect, probes, variants

TASK = variants.DIALOGUE_TASK


def test_dialogue_metrics_by_hand(tmp_path):
  run_folders.write_run(tmp_path, "all")
  measured = collect.dialogue_metrics(collect.read_run(tmp_path, "all"))
  # 16 of 20 dialogues: the model names the movie that the human recommends; in
  # the other 4 it names one other movie, twice, which counts once.
  recall = measured["recall"]
  assert recall.value == pytest.approx(80.0)
  assert recall.count == 20
  assert recall.estimate.clusters == 20
  assert recall.estimate.low < 80 < recall.estimate.high
  assert measured["bleu"].count == 40


def test_a_value_without_outputs_has_no_interval(tmp_path):
  folder = tmp_path / "inference_eval"
  line = {"step": 5, "bleu": 9.5, "bleu_count": 7}
  run_folders.write_lines(folder / f"{TASK}-metrics.jsonl", [line])
  measured = collect.dialogue_metrics(collect.read_run(tmp_path))
  assert list(measured) == ["bleu"]
  assert (measured["bleu"].value, measured["bleu"].count) == (9.5, 7)
  assert measured["bleu"].estimate is None


def test_probe_scores_by_hand(tmp_path):
  run_folders.write_run(tmp_path, "redial")
  scores = probes.scores(collect.read_run(tmp_path, "redial"))
  assert list(scores) == [*variants.PROBES, variants.SEQUENCE_PROBE]
  # 0.4716 of 300 probes, rounded up.
  assert scores["recommendation"].value == pytest.approx(142 / 300)
  assert scores["recommendation"].count == 300
  assert scores["recommendation"].ties == 0
  assert scores["recommendation"].estimate.clusters == 30


def test_attribute_probes_are_clustered_by_the_movie_recommended(tmp_path):
  run_folders.write_run(tmp_path, "redial")
  scores = probes.scores(collect.read_run(tmp_path, "redial"))
  assert scores["attribute"].estimate.clusters == 40


def test_ties_are_counted_and_not_won(tmp_path):
  task = variants.PROBE_TASK_PREFIX + "attribute"
  lines = run_folders.probe_lines("attribute", 1.0, movies=2, each=2)
  for line in lines[:2]:
    line["score"] = -11.0
  folder = tmp_path / "inference_eval"
  run_folders.write_lines(folder / f"{task}-metrics.jsonl", [{"step": 5}])
  run_folders.write_lines(folder / f"{task}-000005.jsonl", lines)
  score = probes.scores(collect.read_run(tmp_path))["attribute"]
  assert (score.value, score.count, score.ties) == (0.75, 4, 1)


def test_the_last_evaluation_counts(tmp_path):
  folder = tmp_path / "inference_eval"
  lines = [{"step": 5, "bleu": 1.0}, {"step": 10, "bleu": 2.0}]
  run_folders.write_lines(folder / f"{TASK}-metrics.jsonl", lines)
  assert collect.read_run(tmp_path).metrics[TASK]["step"] == 10


def test_a_run_of_t5x_has_no_more_than_its_files(tmp_path):
  run_folders.write_run(tmp_path / "mine", "all", step=1_040_000)
  (tmp_path / "mine" / "run.json").unlink()
  run = collect.read_run(tmp_path / "mine")
  assert (run.name, run.label, run.about) == ("mine", "mine", {})
  assert len(run.outputs(TASK)) == 40


def test_scores_that_t5x_inferred_are_read(tmp_path):
  """As `t5x.infer` writes them: numbers as floats, lists filled up."""
  task = variants.PROBE_TASK_PREFIX + "attribute"
  lines = [
    {
      "inputs": {
        "inputs_pretokenized": "redial conversation: …",
        "targets_pretokenized": "sure, …",
        "probe_id": float(probe),
        "candidate": float(candidate),
        "rank": 1.0,
        "tag": "drama",
        "movie": "",
        "related": "Heat (1995)",
        "negative": "Fargo (1996)",
      },
      "score": -9.0 - candidate * (1 if probe else -1),
    }
    for probe in range(2)
    for candidate in range(2)
  ]
  name = f"{task}-score.jsonl-00000-of-00001"
  run_folders.write_lines(tmp_path / name, lines)
  (tmp_path / f"{name}.COMPLETED").write_text("")
  score = probes.scores(collect.read_run(tmp_path))["attribute"]
  assert (score.value, score.count, score.ties) == (0.5, 2, 0)


def test_predictions_that_t5x_inferred_are_read(tmp_path):
  line = {
    "inputs": {
      "inputs_pretokenized": "redial conversation: [user] hi",
      "targets_pretokenized": "hello",
      "dialogue_id": "7",
      "turn": 1.0,
      "recommended": ["Heat (1995)", "", ""],
    },
    "prediction": "hello",
  }
  name = f"{TASK}-predict.jsonl-00000-of-00001"
  run_folders.write_lines(tmp_path / name, [line])
  (example,) = collect.read_run(tmp_path).outputs(TASK)
  assert example["context"] == "redial conversation: [user] hi"
  assert example["prediction"] == example["target"]["text"] == "hello"
  assert example["target"]["recommended"] == ["Heat (1995)"]
  assert repr(example["target"]["turn"]) == "1"


def test_the_best_of_all_decodes_counts(tmp_path):
  line = {
    "inputs": {"inputs_pretokenized": "hi", "targets_pretokenized": "hello"},
    "prediction": ["good bye", "hello"],
    "aux": {"scores": [-2.5, -0.5]},
  }
  name = f"{TASK}-predict_with_aux.jsonl-00000-of-00001"
  run_folders.write_lines(tmp_path / name, [line])
  (example,) = collect.read_run(tmp_path).outputs(TASK)
  assert example["prediction"] == "hello"


PROBE_TASK = variants.PROBE_TASK_PREFIX + "attribute"


def write_inferred(folder, task, mode, text, shard="-00000-of-00001"):
  line = {"inputs": {"targets_pretokenized": "hello"}, "prediction": text}
  run_folders.write_lines(folder / f"{task}-{mode}.jsonl{shard}", [line])


def predictions(folder, task=TASK):
  outputs = collect.read_run(folder).outputs(task)
  return [line["prediction"] for line in outputs]


@pytest.mark.parametrize(
  ("task", "modes", "expected"),
  [
    (TASK, ["predict", "predict_with_aux"], "predict"),
    (TASK, ["predict_with_aux", "score"], "predict_with_aux"),
    (PROBE_TASK, ["predict", "predict_with_aux", "score"], "score"),
    (PROBE_TASK, ["predict", "predict_with_aux"], "predict"),
  ],
)
def test_one_mode_of_a_task_is_read(tmp_path, task, modes, expected):
  for mode in modes:
    write_inferred(tmp_path, task, mode, text=mode)
  assert predictions(tmp_path, task) == [expected]


def test_all_shards_are_read_in_order(tmp_path):
  for shard in (2, 0, 1):
    name = f"-{shard:05}-of-00003"
    write_inferred(tmp_path, TASK, "predict", f"{shard}", name)
  assert predictions(tmp_path) == ["0", "1", "2"]


def test_a_file_need_not_be_a_shard(tmp_path):
  write_inferred(tmp_path, TASK, "predict", "hi", shard="")
  assert predictions(tmp_path) == ["hi"]


def test_missing_shards_are_told(tmp_path):
  write_inferred(tmp_path, TASK, "predict", "a", "-00001-of-00003")
  with pytest.raises(errors.UsageError, match="1 of the 3 shards") as told:
    collect.read_run(tmp_path)
  for name in ("predict.jsonl-00000-of-00003", "predict.jsonl-00002-of-00003"):
    assert f"{TASK}-{name}" in str(told.value)
  assert "SHARD_ID" in str(told.value)


@pytest.mark.parametrize("stale", ["-00000-of-00001", ""])
def test_shards_of_two_inferences_are_told(tmp_path, stale):
  write_inferred(tmp_path, TASK, "predict", "old", stale)
  for shard in range(2):
    name = f"-{shard:05}-of-00002"
    write_inferred(tmp_path, TASK, "predict", "new", name)
  with pytest.raises(errors.UsageError, match="more than one inference"):
    collect.read_run(tmp_path)


def test_replies_of_two_runs_are_to_the_same_turns(tmp_path):
  for name in ("redial", "all"):
    run_folders.write_run(tmp_path / name, name)
  one, two = (collect.read_run(tmp_path / n) for n in ("redial", "all"))
  chosen = collect.replies(one, count=2)
  wanted = [(turn["dialogue_id"], turn["turn"]) for turn in chosen]
  assert wanted == [("0", 1), ("1", 1)]
  assert [turn["human"] for turn in collect.replies(two, wanted)] == [
    turn["human"] for turn in chosen
  ]


def test_nothing_evaluated(tmp_path):
  with pytest.raises(errors.UsageError, match=r"holds no results"):
    collect.read_run(tmp_path)


def test_a_broken_line_is_named(tmp_path):
  run_folders.write_run(tmp_path, "all")
  path = tmp_path / "inference_eval" / f"{TASK}-000100.jsonl"
  path.write_text(path.read_text() + '{"target":\n')
  with pytest.raises(errors.UsageError, match=r"000100.jsonl, line 41,"):
    collect.dialogue_metrics(collect.read_run(tmp_path))


def test_a_missing_field_is_named(tmp_path):
  run_folders.write_run(tmp_path, "all")
  path = tmp_path / "inference_eval" / f"{TASK}-000100.jsonl"
  path.write_text('{"target": {"dialogue_id": "1"}}\n')
  with pytest.raises(errors.UsageError, match="'prediction'"):
    collect.dialogue_metrics(collect.read_run(tmp_path))


def test_what_inference_wrote_is_read_like_an_evaluation(tmp_path):
  evaluated, inferred = tmp_path / "evaluated", tmp_path / "inferred"
  run_folders.write_run(evaluated, "all")
  for path in (evaluated / "inference_eval").glob("*-000100.jsonl"):
    lines = collect.read_lines(path)
    mode = "score" if "score" in lines[0] else "predict"
    key = "score" if mode == "score" else "prediction"
    task = path.name.removesuffix("-000100.jsonl")
    for shard, half in enumerate(
      (lines[: len(lines) // 2], lines[len(lines) // 2 :])
    ):
      written = []
      for line in half:
        target = dict(line["target"])
        text = target.pop("text", "")
        fields = line["input"] | target | {"targets_pretokenized": text}
        written.append({"inputs": fields, key: line[key]})
      name = f"{task}-{mode}.jsonl-{shard:05}-of-00002"
      run_folders.write_lines(inferred / name, written)
  one, two = collect.read_run(evaluated), collect.read_run(inferred)
  assert two.step is None
  assert probes.scores(one) == probes.scores(two)
  assert collect.dialogue_metrics(one) == collect.dialogue_metrics(two)
  assert collect.replies(one) == collect.replies(two)
