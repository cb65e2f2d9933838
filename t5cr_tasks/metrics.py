"""Dialogue metrics (paper section 3) and probe accuracy (section 4).

A dialogue metric is a Statistic: sums per example, and a function of their
total. seqio gets the value over all examples; a report resamples dialogues and
finishes the sums of each sample, without touching text again.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import sacrebleu
from absl import logging
from jaxtyping import Int

from t5cr_tasks import sources, titles
from t5cr_tasks.errors import DataError

CATALOGUE = sources.BuiltDataSource("t5cr_catalogue:1.0.0", ["train"])

# What stands for a title in BLEU. sacrebleu's tokenizer takes the first, which
# the paper names, apart into five tokens that nearly always match.
PAPER_PLACEHOLDER = "__unk__"
SINGLE_TOKEN_PLACEHOLDER = "movietitle"

Targets = Sequence[Mapping[str, Any]]
Predictions = Sequence[str]


@dataclasses.dataclass(frozen=True)
class Statistic:
  """A metric as sums over examples.

  Attributes:
    name: the metric's name.
    unit: of the value; `BLEU` runs from 0 to 100, `%` too.
    counted: what the count counts.
    per_example: (targets, predictions) -> float64 [examples, k], whose last
      column is what is counted. Raises DataError where a data set that the
      metric needs is not built.
    finish: sums over examples, [k], to the value; 0 where the count is 0.
  """

  name: str
  unit: str
  counted: str
  per_example: Callable[[Targets, Predictions], np.ndarray]
  finish: Callable[[np.ndarray], float]

  def compute(
    self, targets: Targets, predictions: Predictions
  ) -> dict[str, float]:
    """{name: value, name_count: count} over all examples."""
    sums = self.per_example(targets, predictions).sum(axis=0)
    return {
      self.name: self.finish(sums),
      f"{self.name}_count": int(sums[-1]),
    }


def dialogue_metrics(
  targets: Targets, predictions: Predictions
) -> dict[str, float]:
  """All dialogue metrics with their counts, as a seqio metric function.

  `title_validity` is left out, with a warning, where no catalogue is built.

  Args:
    targets: what `postprocessors.conversation` makes of each target.
    predictions: the generated responses.

  Returns:
    {name: value, name_count: count} for each of DIALOGUE_STATISTICS.
  """
  values: dict[str, float] = {}
  for statistic in available_statistics().values():
    values |= statistic.compute(targets, predictions)
  return values


def available_statistics() -> dict[str, Statistic]:
  """The DIALOGUE_STATISTICS that the data directory in use can compute."""
  if CATALOGUE.is_built():
    return dict(DIALOGUE_STATISTICS)
  logging.warning("title_validity is left out: %s is not built.", CATALOGUE)
  return {
    name: statistic
    for name, statistic in DIALOGUE_STATISTICS.items()
    if name != "title_validity"
  }


def _bleu_sums(
  targets: Targets, predictions: Predictions, *, placeholder: str
) -> np.ndarray:
  """[hypothesis length, reference length, 4 matches, 4 totals, 1] each."""
  # effective_order only stops a warning about single sentences; the score of a
  # sentence is not used.
  bleu = sacrebleu.BLEU(tokenize="intl", effective_order=True)
  rows = []
  for target, prediction in zip(targets, predictions, strict=True):
    hypothesis, reference = (
      titles.replace_titles(text.lower(), placeholder)
      for text in (prediction, target["text"])
    )
    score = bleu.sentence_score(hypothesis, [reference])
    rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals, 1])
  return _array(rows, 11)


def _corpus_bleu(sums: np.ndarray) -> float:
  """Corpus BLEU from sums, as sacrebleu.corpus_bleu with smoothing `exp`."""
  hypothesis_length, reference_length, *counts = (int(n) for n in sums[:10])
  score = sacrebleu.BLEU.compute_bleu(
    correct=counts[:4],
    total=counts[4:],
    sys_len=hypothesis_length,
    ref_len=reference_length,
    smooth_method="exp",
  )
  return float(score.score)


_PUNCTUATION = re.compile(r'[!"#$%&()*+,-./:;<=>?@\[\]\\^`{|}~_\']')
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
  """ParlAI's normalisation: lower case, no punctuation, no articles.

  >>> normalize_answer('Have you seen the __unk__?')
  'have you seen unk'
  """
  return " ".join(
    _ARTICLE.sub(" ", _PUNCTUATION.sub(" ", text.lower())).split()
  )


def _sentence_bleu_sums(
  targets: Targets, predictions: Predictions
) -> np.ndarray:
  """[sentence BLEU times 100, 1] each, as KBRD's ParlAI computes it."""
  # nltk takes a second to import, which importing the tasks should not.
  from nltk.translate import bleu_score

  smoothing = bleu_score.SmoothingFunction(epsilon=1e-12).method1
  rows = []
  for target, prediction in zip(targets, predictions, strict=True):
    hypothesis, reference = (
      normalize_answer(titles.replace_titles(text, PAPER_PLACEHOLDER))
      for text in (prediction, target["text"])
    )
    score: Any = bleu_score.sentence_bleu(
      # Split at each space, as ParlAI does: an empty text is one empty word.
      [reference.split(" ")],
      hypothesis.split(" "),
      smoothing_function=smoothing,
    )
    rows.append([100 * float(score), 1])
  return _array(rows, 2)


def _recall_sums(targets: Targets, predictions: Predictions) -> np.ndarray:
  """[generated movies that the human recommends, generated movies] each."""
  rows = []
  for target, movies in zip(
    targets, _generated(targets, predictions), strict=True
  ):
    recommended = _movies(target["recommended"])
    rows.append([len(movies & recommended), len(movies)])
  return _array(rows, 2)


def _turn_recall_sums(targets: Targets, predictions: Predictions) -> np.ndarray:
  """[the human's movies that are generated too, the human's movies] each."""
  rows = []
  for target, prediction in zip(targets, predictions, strict=True):
    human = _movies(titles.extract_titles(target["text"]))
    generated = _movies(titles.extract_titles(prediction))
    rows.append([len(human & generated), len(human)])
  return _array(rows, 2)


def _validity_sums(targets: Targets, predictions: Predictions) -> np.ndarray:
  """[generated movies in the catalogue, generated movies] each."""
  known = _catalogue(CATALOGUE.tfds_dataset.builder.data_dir)
  generated = _generated(targets, predictions)
  return _array([[len(movies & known), len(movies)] for movies in generated], 2)


def _generated(
  targets: Targets, predictions: Predictions
) -> list[frozenset[str]]:
  """The movies that each prediction adds to those generated in its dialogue.

  A movie counts once in a dialogue, however often the model repeats it.
  """
  seen: dict[str, frozenset[str]] = {}
  added = []
  for target, prediction in zip(targets, predictions, strict=True):
    before = seen.get(target["dialogue_id"], frozenset())
    movies = _movies(titles.extract_titles(prediction)) - before
    seen[target["dialogue_id"]] = before | movies
    added.append(movies)
  return added


def _movies(names: Sequence[str]) -> frozenset[str]:
  return frozenset(titles.title_key(name) for name in names)


@functools.lru_cache(maxsize=8)
def _catalogue(folder: str) -> frozenset[str]:
  """The known movies; `folder`, where CATALOGUE stands, keys the cache."""
  del folder
  records = CATALOGUE.get_dataset("train", shuffle=False)
  return _movies(
    [record["title"].decode("utf-8") for record in records.as_numpy_iterator()]
  )


def _share(sums: np.ndarray) -> float:
  """The percentage that the first sum is of the last."""
  return 100 * float(sums[0]) / float(sums[-1]) if sums[-1] else 0.0


def _mean(sums: np.ndarray) -> float:
  return float(sums[0]) / float(sums[-1]) if sums[-1] else 0.0


def _array(rows: list[list[float]], columns: int) -> np.ndarray:
  return np.asarray(rows, np.float64).reshape(len(rows), columns)


DIALOGUE_STATISTICS: dict[str, Statistic] = {
  statistic.name: statistic
  for statistic in (
    # T5's BLEU (t5/evaluation/metrics.py), titles replaced as the paper
    # says in section 3.1.
    Statistic(
      "bleu",
      "BLEU",
      "responses",
      functools.partial(_bleu_sums, placeholder=PAPER_PLACEHOLDER),
      _corpus_bleu,
    ),
    Statistic(
      "bleu_single_token",
      "BLEU",
      "responses",
      functools.partial(_bleu_sums, placeholder=SINGLE_TOKEN_PLACEHOLDER),
      _corpus_bleu,
    ),
    # KBRD's BLEU (Chen et al. 2019): the mean over responses.
    Statistic("bleu_sentence", "BLEU", "responses", _sentence_bleu_sums, _mean),
    # Paper section 3.2.
    Statistic("recall", "%", "generated movies", _recall_sums, _share),
    Statistic(
      "recall_at_1_turn",
      "%",
      "movies in human responses",
      _turn_recall_sums,
      _share,
    ),
    Statistic(
      "title_validity", "%", "generated movies", _validity_sums, _share
    ),
  )
}


def probe_pairs(targets: Targets) -> Int[np.ndarray, "probes 2"]:
  """Where the two candidates of each probe stand.

  Args:
    targets: what `postprocessors.probe` makes of each target; those of before
      there were phrasings have no `template`.

  Returns:
    The positions of the related candidate and of the negative, in order of the
    probes' appearance. A probe in another phrasing is another probe. One of
    which only one candidate is there is left out, with a warning.
  """
  places: dict[tuple[str, int], list[int]] = {}
  for place, target in enumerate(targets):
    probe = (target.get("template", ""), target["probe_id"])
    places.setdefault(probe, [-1, -1])[target["candidate"]] = place
  pairs = np.asarray(list(places.values()), np.intp).reshape(-1, 2)
  whole = (pairs >= 0).all(axis=1)
  if not whole.all():
    logging.warning(
      "%d probes with one candidate are left out.", np.sum(~whole)
    )
  return pairs[whole]


def probe_wins(
  targets: Targets, scores: Sequence[float] | np.ndarray
) -> np.ndarray:
  """Which probes the related candidate wins.

  Args:
    targets: what `postprocessors.probe` makes of each target.
    scores: log-likelihood of each target given its input, in nats.

  Returns:
    float64 [probes, 3], a row for each of `probe_pairs`: 1 where the related
    candidate scores higher, 1 where both score the same, and by how much it is
    higher.

  Raises:
    DataError: a score is not a number.
  """
  values = np.asarray(scores, np.float64)
  for target, value in zip(targets, values, strict=True):
    if np.isnan(value):
      raise DataError(
        f"The score of probe {target['probe_id']} is not a number: the model"
        " has diverged. Evaluate an earlier checkpoint."
      )
  related, negative = values[probe_pairs(targets)].T
  return np.stack(
    [related > negative, related == negative, related - negative], axis=1
  )


def probe_accuracy(
  targets: Targets, scores: Sequence[float]
) -> dict[str, float]:
  """The share of probes that the related candidate wins, as a seqio metric.

  Args:
    targets: what `postprocessors.probe` makes of each target.
    scores: log-likelihood of each target given its input, in nats.

  Returns:
    {"accuracy": share from 0 to 1, where a tie is no win; 0 without probes,
    "count": probes, "ties": probes with equal scores}.
  """
  wins = probe_wins(targets, scores)
  return {
    "accuracy": float(wins[:, 0].mean()) if len(wins) else 0.0,
    "count": len(wins),
    "ties": int(wins[:, 1].sum()),
  }


def phrasing_accuracy(
  targets: Targets, scores: Sequence[float]
) -> dict[str, float]:
  """The share of probes won in each phrasing, as a seqio metric.

  Args:
    targets: what `postprocessors.probe` makes of each target.
    scores: log-likelihood of each target given its input, in nats.

  Returns:
    What `probe_accuracy` gives of all phrasings together, "spread": sample
    standard deviation of the accuracy over the phrasings, 0 for a single one,
    and "accuracy_NAME" of each phrasing.
  """
  wins = probe_wins(targets, scores)[:, 0]
  names = [targets[first]["template"] for first, _ in probe_pairs(targets)]
  by_name = {
    name: float(wins[[other == name for other in names]].mean())
    for name in dict.fromkeys(names)
  }
  spread = np.std(list(by_name.values()), ddof=1) if len(by_name) > 1 else 0.0
  return {
    **probe_accuracy(targets, scores),
    "spread": float(spread),
    **{f"accuracy_{name}": value for name, value in by_name.items()},
  }
