import math

import numpy as np
import pytest
import sacrebleu
import seqio

from t5cr_tasks import metrics
from t5cr_tasks.errors import DataError

STATISTICS = metrics.DIALOGUE_STATISTICS


def _target(text="", dialogue_id="1", recommended=()):
  return {
    "text": text,
    "dialogue_id": dialogue_id,
    "turn": 1,
    "recommended": list(recommended),
  }


def _compute(name: str, texts: list[str], predictions: list[str]) -> float:
  targets = [_target(text) for text in texts]
  return STATISTICS[name].compute(targets, predictions)[name]


BLEUS = ["bleu", "bleu_single_token", "bleu_sentence"]


@pytest.mark.parametrize("name", BLEUS)
@pytest.mark.parametrize(
  "prediction",
  [
    "did you ever see @ airplane! (1980) @",
    "Did you ever see @ Jaws (1975) @",
    "did you ever see @ jaws (1975)",  # not closed
    "did you ever see @ something",  # neither closed nor dated
  ],
)
def test_bleu_does_not_look_at_titles_or_case(name, prediction):
  target = "did you ever see @ airplane! (1980) @"
  assert _compute(name, [target], [prediction]) == pytest.approx(100)


@pytest.mark.parametrize("name", BLEUS)
def test_bleu_of_empty_predictions_is_zero(name):
  assert _compute(name, ["hello there my friend", ""], ["", ""]) < 1e-6


@pytest.mark.parametrize("name", ["bleu", "bleu_single_token"])
def test_bleu_penalises_brevity(name):
  # All n-grams match; brevity penalty exp(1 - 5 / 4).
  score = _compute(name, ["one two three four five"], ["one two three four"])
  assert score == pytest.approx(100 * math.exp(-0.25))


def test_bleu_smooths_missing_matches_exponentially():
  # Precisions 3/4, 1/3, then 0 of 2 and 0 of 1, which count 1/(2*2), 1/(4*1).
  score = _compute("bleu", ["one two x four"], ["one two three four"])
  expected = 100 * (3 / 4 * 1 / 3 * 1 / 4 * 1 / 4) ** (1 / 4)
  assert score == pytest.approx(expected)


PREDICTIONS = [
  "have you seen @ heat (1995) @? it's great, trust me.",
  "",
  "@ heat (1995) @ @ heat (1995) @",
  "i don't know",
  "you're welcome! bye",
]
TEXTS = [
  "have you seen @ the matrix (1999) @ ? it's great.",
  "hello",
  "i like @ heat (1995) @ and @ fargo (1996) @",
  "i don't know, sorry",
  "you are welcome! good bye",
]


@pytest.mark.parametrize(
  ("name", "placeholder"),
  [("bleu", "__unk__"), ("bleu_single_token", "movietitle")],
)
def test_bleu_is_sacrebleu_on_text_without_titles(name, placeholder):
  hypotheses = [
    f"have you seen {placeholder}? it's great, trust me.",
    "",
    f"{placeholder} {placeholder}",
    "i don't know",
    "you're welcome! bye",
  ]
  references = [
    f"have you seen {placeholder} ? it's great.",
    "hello",
    f"i like {placeholder} and {placeholder}",
    "i don't know, sorry",
    "you are welcome! good bye",
  ]
  expected = sacrebleu.corpus_bleu(
    hypotheses, [references], smooth_method="exp", tokenize="intl"
  )
  assert expected.score > 10
  assert _compute(name, TEXTS, PREDICTIONS) == expected.score


def test_bleu_of_a_sample_of_examples_follows_from_their_sums():
  targets = [_target(text) for text in TEXTS]
  bleu = STATISTICS["bleu"]
  sums = bleu.per_example(targets, PREDICTIONS)
  assert sums.shape == (5, 11)
  sample = [0, 0, 3]
  assert (
    bleu.finish(sums[sample].sum(axis=0))
    == bleu.compute(
      [targets[i] for i in sample], [PREDICTIONS[i] for i in sample]
    )["bleu"]
  )


def test_the_papers_placeholder_is_five_tokens_and_ours_is_one():
  targets, predictions = [_target("@ heat (1995) @")], ["@ fargo (1996) @"]
  lengths = [
    STATISTICS[name].per_example(targets, predictions)[0, :2].tolist()
    for name in ("bleu", "bleu_single_token")
  ]
  assert lengths == [[5, 5], [1, 1]]


def test_bleu_sentence_normalises_as_parlai_does():
  assert (
    metrics.normalize_answer("The  Dog's a_b, AN __unk__!") == "dog s b unk"
  )


def test_bleu_sentence_is_the_mean_over_responses():
  # "i like cats very much" in "... much indeed": brevity exp(1 - 6 / 5).
  # "i like dogs": precisions 2/3, 1/2, then 0 of 1 twice, smoothed to 1e-12.
  scores = [
    math.exp(-0.2),
    (2 / 3 * 1 / 2 * 1e-12 * 1e-12) ** (1 / 4),
    0.0,
  ]
  texts = ["I like the cats very much indeed.", "I like cats", "hello"]
  predictions = ["i like cats, very much", "i like dogs", ""]
  assert _compute("bleu_sentence", texts, predictions) == pytest.approx(
    100 * sum(scores) / 3
  )


def test_recall_counts_a_movie_once_in_a_dialogue():
  targets = [
    _target(dialogue_id="1", recommended=["Heat (1995)", "Fargo (1996)"]),
    _target(dialogue_id="1", recommended=["Heat (1995)", "Fargo (1996)"]),
    _target(dialogue_id="2", recommended=[]),
    _target(dialogue_id="3", recommended=["Incredibles, The (2004)"]),
  ]
  predictions = [
    "@ heat (1995) @ and @ heat (1995) @",
    "@ HEAT (1995) @ or @ jaws (1975)",  # a repeat, and one not closed
    "@ heat (1995) @",  # nothing is recommended in this dialogue
    "@ the incredibles (2004) @",
  ]
  recall = STATISTICS["recall"]
  assert recall.per_example(targets, predictions).tolist() == [
    [1, 1],
    [0, 1],
    [0, 1],
    [1, 1],
  ]
  assert recall.compute(targets, predictions) == {
    "recall": 50.0,
    "recall_count": 4,
  }


def test_recall_without_generated_movies_is_zero_of_zero():
  targets = [_target(recommended=["Heat (1995)"])] * 2
  assert STATISTICS["recall"].compute(targets, ["", "no idea @"]) == {
    "recall": 0.0,
    "recall_count": 0,
  }


def test_recall_at_1_turn_looks_at_one_turn():
  targets = [
    _target("@ heat (1995) @, @ fargo (1996) @ or @ heat (1995) @"),
    _target("@ alien (1979) @"),
    _target("hello", recommended=["Heat (1995)"]),
  ]
  predictions = ["@ Fargo (1996)", "@ heat (1995) @", "@ heat (1995) @"]
  assert STATISTICS["recall_at_1_turn"].compute(targets, predictions) == {
    "recall_at_1_turn": pytest.approx(100 / 3),
    "recall_at_1_turn_count": 3,
  }


def test_title_validity_is_the_share_in_the_catalogue(tiny_corpus):
  targets = [_target(dialogue_id="1"), _target(dialogue_id="2")]
  predictions = ["@ airplane! (1980) @ @ airplane! (1980) @", "@ heat @ hm"]
  assert STATISTICS["title_validity"].compute(targets, predictions) == {
    "title_validity": 50.0,
    "title_validity_count": 2,
  }


def test_title_validity_is_left_out_without_a_catalogue(tmp_path, caplog):
  seqio.set_tfds_data_dir_override(str(tmp_path))
  try:
    values = metrics.dialogue_metrics([_target("hi")], ["hi"])
    with pytest.raises(DataError, match="t5cr data build"):
      STATISTICS["title_validity"].per_example([_target("hi")], ["hi"])
  finally:
    seqio.set_tfds_data_dir_override(None)
  assert "title_validity is left out" in caplog.text
  assert "title_validity" not in values
  assert len(values) == 10


def test_dialogue_metrics_have_all_values_with_counts(tiny_corpus):
  targets = [_target("see @ heat (1995) @", recommended=["Heat (1995)"])]
  assert metrics.dialogue_metrics(targets, ["see @ heat (1995) @"]) == {
    "bleu": pytest.approx(100),
    "bleu_count": 1,
    # Two tokens have neither trigrams nor 4-grams, so corpus BLEU is 0.
    "bleu_single_token": 0.0,
    "bleu_single_token_count": 1,
    "bleu_sentence": pytest.approx(100 * 1e-6),
    "bleu_sentence_count": 1,
    "recall": 100.0,
    "recall_count": 1,
    "recall_at_1_turn": 100.0,
    "recall_at_1_turn_count": 1,
    "title_validity": 100.0,
    "title_validity_count": 1,
  }


@pytest.mark.parametrize("name", metrics.DIALOGUE_STATISTICS)
def test_no_examples_give_zero(name, tiny_corpus):
  assert STATISTICS[name].compute([], []) == {name: 0.0, f"{name}_count": 0}


def _candidates(*pairs: tuple[int, int]) -> list[dict[str, int]]:
  return [{"probe_id": probe, "candidate": c} for probe, c in pairs]


def test_probe_accuracy_pairs_candidates_in_any_order():
  targets = _candidates((5, 1), (8, 0), (5, 0), (8, 1), (9, 0), (9, 1))
  scores = np.float32([-2.0, -3.0, -1.0, -1.5, -4.0, -4.0])
  assert metrics.probe_wins(targets, scores).tolist() == [
    [1, 0, 1.0],
    [0, 0, -1.5],
    [0, 1, 0.0],
  ]
  assert metrics.probe_accuracy(targets, scores) == {
    "accuracy": pytest.approx(1 / 3),
    "count": 3,
    "ties": 1,
  }


def test_probe_with_one_candidate_is_left_out(caplog):
  targets = _candidates((5, 0), (5, 1), (8, 0))
  assert metrics.probe_accuracy(targets, [-1.0, -2.0, -1.0]) == {
    "accuracy": 1.0,
    "count": 1,
    "ties": 0,
  }
  assert "1 probes with one candidate are left out" in caplog.text


def test_probe_accuracy_without_probes_is_zero_of_zero():
  assert metrics.probe_accuracy([], []) == {
    "accuracy": 0.0,
    "count": 0,
    "ties": 0,
  }


def test_probe_score_that_is_no_number_is_an_error():
  with pytest.raises(DataError, match="score of probe 5 is not a number"):
    metrics.probe_accuracy(_candidates((5, 0), (5, 1)), [-1.0, math.nan])


def test_phrasings_of_a_probe_are_told_apart():
  pairs = [(5, 0), (5, 1), (8, 0), (8, 1)]
  targets = [
    {**target, "template": template}
    for template in ("paper", "short")
    for target in _candidates(*pairs)
  ]
  # In the paper's words both are won; in the short ones one is, one is a tie.
  scores = [-1.0, -2.0, -1.0, -2.0, -1.0, -2.0, -3.0, -3.0]
  assert metrics.phrasing_accuracy(targets, scores) == {
    "accuracy": 0.75,
    "count": 4,
    "ties": 1,
    # Of 1 and 0.5: the square root of 2 · 0.25² / (2 - 1).
    "spread": pytest.approx(math.sqrt(2 * 0.25**2)),
    "accuracy_paper": 1.0,
    "accuracy_short": 0.5,
  }
