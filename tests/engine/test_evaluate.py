"""Evaluation: each example once, in any order, in the files of seqio."""

import html
import json

import numpy as np
import pytest
import tensorflow as tf
import tiny

from t5cr import errors
from t5cr.engine import decode, evaluate, feed, score

CONFIG = evaluate.EvalConfig(tiny.LENGTHS, batch_size=4)


@pytest.fixture(scope="module", autouse=True)
def tasks():
  tiny.register()


@pytest.fixture
def oracle(monkeypatch):
  """Decoding that copies the first word, and scores that count tokens."""
  calls = {"decode": [], "score": []}
  vocabulary = feed.provider("tiny_copy").output_features["inputs"].vocabulary

  def decode_examples(params, config, inputs, length, batch_size, **kwargs):
    texts = [vocabulary.decode(list(tokens)) for tokens in inputs]
    calls["decode"] += texts
    if kwargs.get("progress"):
      kwargs["progress"]("decode", len(inputs), len(inputs), "examples")
    return [vocabulary.encode(text.split()[0]) for text in texts]

  def score_examples(params, config, inputs, targets, batch_size, **kwargs):
    calls["score"] += [vocabulary.decode(list(tokens)) for tokens in inputs]
    return np.array([-float(len(tokens)) for tokens in targets], np.float32)

  monkeypatch.setattr(decode, "decode_examples", decode_examples)
  monkeypatch.setattr(score, "score_examples", score_examples)
  return calls


def read_lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_predictions_reach_the_metrics_and_the_files(
  tmp_path, oracle, untrained
):
  reported = []
  results = evaluate.evaluate(
    untrained,
    ["tiny_copy"],
    CONFIG,
    step=12,
    output_dir=tmp_path,
    progress=lambda *what: reported.append(what),
  )
  lines = read_lines(tmp_path / "tiny_copy-000012.jsonl")
  assert len(lines) == len(oracle["decode"]) == 7
  pairs = tiny.pairs("validation")
  for line, (_, target) in zip(lines, pairs, strict=True):
    # The task may have cut the input's first letters, so the copy is a part.
    assert line["target"] == target
    assert target.endswith(line["prediction"])
    assert line["input"]["inputs_pretokenized"].split()[0] == line["prediction"]
  exact = sum(line["target"] == line["prediction"] for line in lines) / 7
  assert results == {"tiny_copy": {"exact": exact, "exact_count": 7}}
  assert read_lines(tmp_path / "tiny_copy-metrics.jsonl") == [
    {"step": 12, "exact": exact, "exact_count": 7}
  ]
  assert list((tmp_path / "tiny_copy").glob("events.out.tfevents.*"))
  assert reported[-1] == ("evaluate tiny_copy", 7, 7, "examples")
  assert not oracle["score"]


def test_scores_reach_the_metrics_and_the_files(tmp_path, oracle, untrained):
  results = evaluate.evaluate(
    untrained, ["tiny_score"], CONFIG, step=3, output_dir=tmp_path
  )
  pairs = tiny.pairs("validation")
  assert oracle["score"] == [inputs for inputs, _ in pairs]
  expected = [-float(len(target) + 1) for _, target in pairs]  # with EOS
  lines = read_lines(tmp_path / "tiny_score-000003.jsonl")
  assert [line["score"] for line in lines] == expected
  assert [line["target"] for line in lines] == [target for _, target in pairs]
  assert results["tiny_score"]["mean_score"] == pytest.approx(np.mean(expected))
  assert not oracle["decode"]


def test_samples_are_few_short_and_no_markup():
  texts = ["a|b", "*x* <b>_y_</b>", "[z](u)\n\n# `h`", "\\", *["w" * 900] * 20]
  dataset = tf.data.Dataset.from_tensor_slices({"inputs_pretokenized": texts})
  table = feed.samples(dataset, {"output": texts, "score": [-1.5] * 24}, texts)
  rows = table.splitlines()
  assert rows[0] == "| input | target | prediction | score |"
  assert len(rows) == 2 + 8
  shown = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows[2:]]
  for cells, text in zip(shown, texts, strict=False):
    assert len(cells) == 4 and cells[3] == "-1.5000"
    assert not set("*_`[]<>\\~") & set(cells[0])
    plain = html.unescape(cells[0])
    assert plain == " ".join(text.split())[:400] + "…" * (len(text) > 400)


def test_an_earlier_evaluation_is_found_again(tmp_path, oracle, untrained):
  for step in (1, 2):
    evaluate.evaluate(
      untrained, ["tiny_score"], CONFIG, step=step, output_dir=tmp_path
    )
  found = evaluate.evaluated("tiny_score", 2, tmp_path)
  assert found is not None and found["count"] == 7
  assert evaluate.evaluated("tiny_score", 3, tmp_path) is None
  assert evaluate.evaluated("tiny_copy", 2, tmp_path) is None
  # What was cut short counts as not evaluated, and is evaluated again.
  metrics = tmp_path / "tiny_score-metrics.jsonl"
  whole = metrics.read_bytes()
  metrics.write_bytes(whole[:-9])
  assert evaluate.evaluated("tiny_score", 2, tmp_path) is None
  assert evaluate.evaluated("tiny_score", 1, tmp_path) is not None
  evaluate.evaluate(
    untrained, ["tiny_score"], CONFIG, step=2, output_dir=tmp_path
  )
  assert metrics.read_bytes() == whole
  metrics.write_text('{"step": 2}\n[]\n{"count": 1}\n' + "[" * 99_999)
  assert evaluate.evaluated("tiny_score", 3, tmp_path) is None


def test_only_the_first_examples_if_so_asked(oracle, untrained):
  config = evaluate.EvalConfig(tiny.LENGTHS, num_examples=3)
  results = evaluate.evaluate(
    untrained, ["tiny_score"], config, step=1, output_dir=None
  )
  assert results["tiny_score"]["count"] == 3


def test_an_error_in_a_metric_is_raised_as_itself(
  oracle, untrained, monkeypatch
):
  def broken(*args, **kwargs):
    raise errors.UsageError("the catalogue is missing")

  monkeypatch.setattr(feed.JSONLogger, "__call__", broken)
  with pytest.raises(errors.UsageError, match="^the catalogue is missing$"):
    evaluate.evaluate(
      untrained, ["tiny_score"], CONFIG, step=1, output_dir="/nowhere-at-all"
    )


@pytest.mark.usefixtures("quick_compiles")
def test_predictions_are_the_best_decodes(untrained):
  inputs = [[70, 80, 1], [90, 1]]
  beams = decode.Decoding("beam", 3)
  config = evaluate.EvalConfig(tiny.LENGTHS, batch_size=2, decoding=beams)
  tokens = evaluate.predict_tokens(untrained, inputs, config)
  expected = decode.decode_all(
    untrained.params, untrained.config, inputs, 16, 2, decoding=beams
  )
  for row, decodes in zip(tokens, expected, strict=True):
    best = decodes[0].tokens
    assert row[: len(best)].tolist() == best


@pytest.mark.parametrize("decoded", [[5, 6], [5, 6, 1]])
def test_predictions_are_one_array(monkeypatch, untrained, decoded):
  config = evaluate.EvalConfig(tiny.LENGTHS, max_decode_length=4)
  monkeypatch.setattr(
    decode, "decode_examples", lambda *a, **k: [decoded, [7] * 4, []]
  )
  tokens = evaluate.predict_tokens(untrained, [[3]] * 3, config)
  np.testing.assert_array_equal(
    tokens, [[5, 6, 1, 0], [7, 7, 7, 7], [1, 0, 0, 0]]
  )


def test_the_engine_scores_as_teacher_forcing_does(untrained):
  """Scores through the whole path against `score_batch` on padded rows."""
  found = feed.examples(
    feed.evaluator(
      "tiny_score",
      output_dir=None,
      task_feature_lengths=tiny.LENGTHS,
      split="validation",
    ).cached_model_datasets["tiny_score"]
  )
  scores = evaluate.score_targets(
    untrained, found.inputs, found.targets, CONFIG
  )

  def padded(rows, length):
    return np.array([row + [0] * (length - len(row)) for row in rows], np.int32)

  targets = padded(found.targets, 16)
  expected = score.score_batch(
    untrained.params,
    untrained.config,
    {
      "encoder_input_tokens": padded(found.inputs, 32),
      "decoder_target_tokens": targets,
      "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
      "decoder_loss_weights": (targets > 0).astype(np.int32),
    },
  )
  np.testing.assert_allclose(scores, expected, rtol=1e-5)
