"""What `infer` writes: one line an example, as t5x lays it out."""

import dataclasses
import json

import numpy as np
import pytest
import tiny

from t5cr import errors
from t5cr.engine import decode, evaluate, feed, inference
from t5cr.engine.decode import Decoding

pytestmark = pytest.mark.usefixtures("quick_compiles")

CONFIG = evaluate.EvalConfig(
  tiny.LENGTHS, batch_size=8, max_decode_length=6, num_examples=5
)


@pytest.fixture(scope="module", autouse=True)
def tasks():
  tiny.register()


def inferred(folder, untrained, mode, decoding=decode.GREEDY, **kwargs):
  """The lines of the one file that is written, read back."""
  config = dataclasses.replace(CONFIG, decoding=decoding)
  (path,) = inference.infer(
    untrained,
    ["tiny_silent"],
    config,
    mode=mode,
    output_dir=folder,
    **kwargs,
  )
  assert path.name == f"tiny_silent-{mode}.jsonl-00000-of-00001"
  assert [item.name for item in folder.iterdir()] == [path.name]
  return [json.loads(line) for line in path.read_text().splitlines()]


def expected(untrained, decoding):
  """Texts and scores of all decodes of the examples, the best first."""
  vocabulary = feed.provider("tiny_silent").output_features["inputs"].vocabulary
  inputs = [
    [*vocabulary.encode(text), 1] for text, _ in tiny.pairs("validation")[:5]
  ]
  decodes = decode.decode_all(
    untrained.params, untrained.config, inputs, 6, 8, decoding=decoding
  )
  return [
    [(vocabulary.decode(tokens), score) for tokens, score in row]
    for row in decodes
  ]


def test_predictions_in_the_order_of_the_data(tmp_path, untrained):
  lines = inferred(tmp_path, untrained, "predict")
  texts = [row[0][0] for row in expected(untrained, decode.GREEDY)]
  assert lines == [
    {
      "inputs": {
        "inputs_pretokenized": inputs,
        "targets_pretokenized": target,
        "number": number,
      },
      "targets": target,
      "prediction": text,
    }
    for number, ((inputs, target), text) in enumerate(
      zip(tiny.pairs("validation")[:5], texts, strict=True)
    )
  ]


def test_scores_of_the_targets(tmp_path, untrained):
  lines = inferred(tmp_path, untrained, "score")
  assert set(lines[0]) == {"inputs", "targets", "score"}
  vocabulary = feed.provider("tiny_silent").output_features["inputs"].vocabulary
  inputs, targets = (
    [[*vocabulary.encode(text), 1] for text in texts]
    for texts in zip(*tiny.pairs("validation")[:5], strict=True)
  )
  assert [line["inputs"]["targets"] for line in lines] == targets
  np.testing.assert_allclose(
    [line["score"] for line in lines],
    evaluate.score_targets(untrained, inputs, targets, CONFIG),
    atol=1e-5,
  )


def test_predictions_with_their_scores(tmp_path, untrained):
  lines = inferred(tmp_path, untrained, "predict_with_aux")
  for line, row in zip(lines, expected(untrained, decode.GREEDY), strict=True):
    assert list(line) == ["inputs", "targets", "prediction", "aux"]
    assert line["prediction"] == row[0][0]
    assert line["aux"] == {"scores": pytest.approx(row[0][1], abs=1e-4)}


@pytest.mark.parametrize("mode", ["predict", "predict_with_aux"])
def test_all_decodes_the_best_last(tmp_path, untrained, mode):
  beams = Decoding("beam", 3)
  lines = inferred(tmp_path, untrained, mode, beams, return_all_decodes=True)
  for line, row in zip(lines, expected(untrained, beams), strict=True):
    assert line["prediction"] == [text for text, _ in row[::-1]]
    scores = [score for _, score in row[::-1]]
    if mode == "predict":
      assert "aux" not in line
    else:
      assert line["aux"] == {"scores": pytest.approx(scores, abs=1e-4)}


def test_slots_without_a_decode_come_first_and_empty(
  tmp_path, untrained, monkeypatch
):
  found = decode.Decoded([70, 71], -2.5)
  monkeypatch.setattr(
    decode, "decode_all", lambda *args, **kwargs: [[found]] * 5
  )
  lines = inferred(
    tmp_path,
    untrained,
    "predict_with_aux",
    Decoding("beam", 3),
    return_all_decodes=True,
  )
  assert lines[0]["prediction"] == ["", "", "CD"]
  assert lines[0]["aux"] == {"scores": [-1e7, -1e7, -2.5]}


def test_what_cannot_be_written_is_refused(tmp_path, untrained):
  known = "predict, predict_with_aux, score"
  with pytest.raises(errors.UsageError, match=f"'guess'.*{known}"):
    inferred(tmp_path, untrained, "guess")
  with pytest.raises(errors.UsageError, match="RETURN_ALL_DECODES is 'yes'"):
    inferred(tmp_path, untrained, "predict", return_all_decodes="yes")
