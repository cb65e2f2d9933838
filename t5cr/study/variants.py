"""What the study compares: the rows of Table 3, and the paper's figures.

The paper is "Multi-Task End-to-End Training Improves Conversational
Recommendation", arXiv:2305.06218.
"""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any

REDIAL = "t5cr_redial"
SEQUENCES = "t5cr_movielens/sequences"
TAGS = "t5cr_movielens/tags"
REVIEWS = "t5cr_reviews"

# Where each data set is read from, for the word about what is missing.
RAW_SOURCES = types.MappingProxyType(
  {
    REDIAL: "redial/ (train_data.jsonl, test_data.jsonl, "
    "movies_with_mentions.csv)",
    SEQUENCES: "movielens/ (movies.csv, ratings.csv)",
    TAGS: "movielens/ (movies.csv, genome-tags.csv, genome-scores.csv)",
    REVIEWS: "reviews/reviews.csv",
  }
)

DIALOGUE_TASK = "t5cr_redial_conversation"

# The four probes of Table 3, in its order, and how Figure 3 calls them.
PROBES = types.MappingProxyType(
  {
    "recommendation": "Recommendation",
    "attribute": "Attribute",
    "combination": "Combination",
    "description": "Description",
  }
)
SEQUENCE_PROBE = "recommendation_sequence"
PROBE_TASK_PREFIX = "t5cr_probe_"
# Behind the name of a probe: some of its pairs in every phrasing.
PHRASINGS = "_phrasings"


def measured_probes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """The probes of Table 3, in its order, that any row of a report has."""
  return [p for p in PROBES if any(p in row["probes"] for row in rows)]


def has_other_engines(rows: Sequence[Mapping[str, Any]]) -> bool:
  """Whether rows of a report are of another engine than the one here."""
  return any(row["engine"] != "t5cr" for row in rows)


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of Table 3: a choice of finetuning tasks.

  Attributes:
    name: how files and flags call it.
    label: the paper's words.
    mixture: what it is finetuned on; None for the row that is not.
    needs: the TFDS data sets it cannot do without.
    paper: probe -> the score in the paper's Table 3.
  """

  name: str
  label: str
  mixture: str | None
  needs: tuple[str, ...]
  paper: types.MappingProxyType[str, float]


def _row(name, label, mixture, needs, *scores: float) -> Row:
  paper = types.MappingProxyType(dict(zip(PROBES, scores, strict=True)))
  return Row(name, label, mixture, needs, paper)


# fmt: off
ROWS = types.MappingProxyType({row.name: row for row in (
  _row("none", "None (T5)", None, (REDIAL,),
       0.5493, 0.4908, 0.5597, 0.5936),
  _row("redial", "ReDial", "t5cr_redial", (REDIAL,),
       0.4716, 0.5046, 0.5731, 0.7097),
  _row("redial_sequence", "ReDial + ML Sequences", "t5cr_redial_sequence",
       (REDIAL, SEQUENCES),
       0.6359, 0.5869, 0.7367, 0.7307),
  _row("redial_tags", "ReDial + ML Tags", "t5cr_redial_tags", (REDIAL, TAGS),
       0.5670, 0.7826, 0.8016, 0.7133),
  _row("redial_review", "ReDial + ML Reviews", "t5cr_redial_review",
       (REDIAL, REVIEWS),
       0.4771, 0.5091, 0.5833, 0.7763),
  _row("all", "All (T5-CR)", "t5cr_all", (REDIAL, SEQUENCES, TAGS, REVIEWS),
       0.6599, 0.7678, 0.8418, 0.7928),
)})
# fmt: on

BASELINE = "redial"
QUICK_ROWS = ("redial", "all")


@dataclasses.dataclass(frozen=True)
class PublishedRow:
  """One row of the paper's Table 2, on the ReDial validation dialogues."""

  model: str
  kind: str
  bleu: float
  recall: float


TABLE_2 = (
  PublishedRow(
    "ReDial", "Autoencoder (recommender) + LSTM (dialogue)", 8.38, 2.30
  ),
  PublishedRow(
    "KBRD",
    "Knowledge Graph (recommender) + Transformer (dialogue)",
    11.00,
    3.00,
  ),
  PublishedRow("T5-CR", "Finetuned T5 (4 Tasks)", 15.39, 6.93),
)

# Section 4.1: the recommendation pairs without dialogue around them.
PAPER_SEQUENCE_PROBE = 0.7711
PAPER_MATRIX_FACTORIZATION = 0.8096


@dataclasses.dataclass(frozen=True)
class Preset:
  """The settings of a study that depend on its size.

  Attributes:
    name: how the flag calls it.
    recipe: the gin file with the model's and the training's macros.
    vocabulary_size: pieces of a vocabulary trained on the corpus, or None for
      T5's public one.
    probe_min_count: a probed movie occurs more often than this in the
      sequences (the paper: 30).
    probe_related: how many related movies each is asked with (the paper: 10).
    max_probes: a random subset of this size, or None for every probe.
    phrased_probes: how many of each kind are asked in every phrasing.
  """

  name: str
  recipe: str
  vocabulary_size: int | None
  probe_min_count: int
  probe_related: int
  max_probes: int | None
  phrased_probes: int


PRESETS = types.MappingProxyType(
  {
    preset.name: preset
    for preset in (
      Preset(
        "sample",
        "recipe/sample.gin",
        vocabulary_size=1536,
        probe_min_count=30,
        probe_related=10,
        max_probes=1500,
        phrased_probes=100,
      ),
      Preset(
        "small",
        "recipe/small.gin",
        vocabulary_size=4000,
        probe_min_count=5,
        probe_related=10,
        max_probes=1000,
        phrased_probes=200,
      ),
      Preset(
        "paper",
        "recipe/paper.gin",
        vocabulary_size=None,
        probe_min_count=30,
        probe_related=10,
        max_probes=None,
        phrased_probes=1000,
      ),
    )
  }
)
