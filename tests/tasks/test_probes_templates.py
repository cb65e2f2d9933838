"""The paper's strings letter for letter, and what holds for every phrasing."""

import numpy as np
import pytest

from t5cr_tasks.datasets import probes as datasets_probes
from t5cr_tasks.errors import DataError
from t5cr_tasks.probes import candidates, templates

TITLES = [
  "Zootopia (2016)",
  "Inside Out (2015)",
  "I Am Sam (2001)",
  "Ringing Bell (1978)",
  "Robin Hood: Men in Tights (1993)",
]


def _records(probe, template="paper", **columns):
  default = {
    "probe_id": 7,
    "movie": -1,
    "related": -1,
    "negative": 2,
    "tag": -1,
    "rank": 0,
    "sentence": -1,
  }
  probes = candidates.Probes(
    **{
      name: np.array([columns.get(name, value)])
      for name, value in default.items()
    }
  )
  table = datasets_probes.Table(
    probe=probe,
    phrasings=[template],
    probes=probes,
    titles=TITLES,
    decile=np.array([4]),
    named=np.array([1]),
    tags=["vampire", "science {fiction}"],
    sentences=["Watching this as a child was quite the experience."],
  )
  return list(datasets_probes.records(table))


def test_recommendation_as_in_table_4():
  related, negative = _records("recommendation", movie=0, related=1, rank=3)

  assert related == {
    "probe_id": 7,
    "candidate": 0,
    "inputs": "redial conversation: [User] Can you recommend me a movie like"
    " @ Zootopia (2016) @",
    "targets": "Sure, have you seen @ Inside Out (2015) @?",
    "movie": "Zootopia (2016)",
    "related": "Inside Out (2015)",
    "negative": "I Am Sam (2001)",
    "tag": "",
    "rank": 3,
    "decile": 4,
    "named": 1,
    "template": "paper",
  }
  assert negative == {
    **related,
    "candidate": 1,
    "targets": "Sure, have you seen @ I Am Sam (2001) @?",
  }


def test_attribute_as_in_table_4():
  related, negative = _records("attribute", related=1, tag=0)

  question = "redial conversation: [User] Can you recommend me a vampire movie?"
  assert related["inputs"] == negative["inputs"] == question
  assert related["targets"] == "Sure, have you seen @ Inside Out (2015) @?"
  assert negative["targets"] == "Sure, have you seen @ I Am Sam (2001) @?"
  assert related["movie"] == ""
  assert related["tag"] == "vampire"


def test_combination_as_in_table_4():
  related, negative = _records("combination", movie=0, related=1, tag=1)

  assert related["inputs"] == negative["inputs"]
  # A brace in a title or a tag is text like any other.
  assert related["inputs"] == (
    "redial conversation: [User] Can you recommend me a science {fiction} movie"
    " like @ Zootopia (2016) @?"
  )
  assert related["targets"] == "Sure, have you seen @ Inside Out (2015) @?"
  assert negative["targets"] == "Sure, have you seen @ I Am Sam (2001) @?"


def test_description_as_in_table_4():
  related, negative = _records(
    "description", movie=3, related=3, negative=4, rank=1, sentence=0
  )

  assert related["inputs"] == (
    "redial conversation: [User] What is your opinion on"
    " @ Ringing Bell (1978) @?"
  )
  assert negative["inputs"] == (
    "redial conversation: [User] What is your opinion on"
    " @ Robin Hood: Men in Tights (1993) @?"
  )
  assert related["targets"] == negative["targets"]
  assert related["targets"].startswith("Watching this as a child")
  assert (related["candidate"], negative["candidate"]) == (0, 1)


def test_sequence_has_the_format_of_its_task():
  related, negative = _records("recommendation_sequence", movie=0, related=1)

  assert related["inputs"] == "movielens sequence: @ Zootopia (2016) @"
  assert related["targets"] == "Inside Out (2015)"
  assert negative["targets"] == "I Am Sam (2001)"


@pytest.mark.parametrize("template", templates.NAMES)
@pytest.mark.parametrize("probe", templates.PROBES)
def test_every_phrasing_names_what_is_asked_and_only_that(probe, template):
  asks = {
    "recommendation": ("@ Zootopia (2016) @",),
    "attribute": ("vampire",),
    "combination": ("@ Zootopia (2016) @", "vampire"),
    "description": ("@ Zootopia (2016) @",),
    "recommendation_sequence": ("@ Zootopia (2016) @",),
  }[probe]
  about = 0 if probe == "description" else 1
  related, negative = _records(
    probe, template, movie=0, related=about, tag=0, sentence=0
  )

  for asked in asks:
    assert asked in related["inputs"]
  assert (related["inputs"] != negative["inputs"]) == (probe == "description")
  assert (related["targets"] != negative["targets"]) == (probe != "description")
  for record in (related, negative):
    text = record["inputs"] + record["targets"]
    assert "{" not in text and "  " not in text
    assert record["inputs"].startswith(
      "movielens sequence: "
      if probe == "recommendation_sequence"
      else "redial conversation: [User] "
    )
    assert record["template"] == template


@pytest.mark.parametrize("probe", templates.PROBES)
def test_there_are_at_least_six_phrasings(probe):
  assert list(templates.TEMPLATES[probe])[0] == "paper"
  assert set(templates.TEMPLATES[probe]) == set(templates.NAMES)
  distinct = set(templates.TEMPLATES[probe].values())
  assert len(distinct) >= (1 if probe == "recommendation_sequence" else 6)


def test_an_unknown_phrasing_names_the_nearest():
  with pytest.raises(DataError, match="'greetings'.*Did you mean 'greeting'"):
    templates.find("attribute", "greetings")
