"""What counts as named in the training dialogues."""

import numpy as np
import pytest

from t5cr_tasks.probes import candidates, leaks

ALIEN, HEAT, JAWS, UP = range(4)
TITLES = ["Alien (1979)", "Heat (1995)", "Jaws (1975)", "Up (2009)"]
TAGS = ["sci-fi", "action", "based on a book", "!!!", "heat"]
SCI_FI, ACTION, BOOK, MARKS, HEAT_TAG = range(5)

DIALOGUES = [
  leaks.Dialogue(
    ["user", "assistant", "user", "assistant"],
    [
      "Hi, I want Sci Fi!",
      "Have you seen @ alien  (1979) @?",
      "Yes. Any action based on a book?",
      "@ Jaws (1975) @ of course",
    ],
  ),
  leaks.Dialogue(
    ["user", "assistant", "user"],
    [
      "I like @ Up (2009) @ and @ Heat (1995) @",
      "@ Jaws (1975) @ has action in it",
      "The action is slow, and the house flies away. What else?",
    ],
  ),
]


def _named(**arguments):
  return leaks.read(DIALOGUES, TITLES, TAGS, **arguments)


def _probes(rows, *names):
  columns = dict(zip(names, np.array(rows).T, strict=True))
  blank = np.full(len(rows), -1)
  return candidates.Probes(
    probe_id=np.arange(len(rows)),
    negative=blank,
    rank=blank,
    **{
      name: columns.get(name, blank)
      for name in ("movie", "related", "tag", "sentence")
    },
  )


@pytest.mark.parametrize("probe", ["recommendation", "recommendation_sequence"])
def test_both_titles_in_one_dialogue(probe):
  rows = {
    (ALIEN, JAWS): True,
    (JAWS, ALIEN): True,
    (HEAT, UP): True,
    (UP, JAWS): True,
    (ALIEN, HEAT): False,  # each in a dialogue, but not in one
    (UP, ALIEN): False,
  }
  probes = _probes(list(rows), "movie", "related")

  named = leaks.is_named(probe, probes, _named(), 4)

  assert named.tolist() == list(rows.values())
  assert leaks.share(named) == {"pairs": 6, "named": 4, "share": 4 / 6}


def test_tag_of_the_user_and_title_in_a_later_assistant_turn():
  rows = {
    (SCI_FI, ALIEN): True,
    (SCI_FI, JAWS): True,
    (ACTION, JAWS): True,
    (BOOK, JAWS): True,
    (ACTION, ALIEN): False,  # the title came before the tag
    (ACTION, UP): False,  # said by the user
    (HEAT_TAG, JAWS): False,  # "heat" is there as a title only
    (MARKS, ALIEN): False,  # has no word to find
  }
  probes = _probes(list(rows), "tag", "related")

  named = leaks.is_named("attribute", probes, _named(), 4)

  assert named.tolist() == list(rows.values())


def test_the_three_of_a_combination_in_one_dialogue():
  rows = {
    (ALIEN, ACTION, JAWS): True,
    (ALIEN, SCI_FI, JAWS): True,
    (JAWS, SCI_FI, ALIEN): True,
    (UP, ACTION, JAWS): False,  # action is asked for in the other dialogue
    (JAWS, ACTION, ALIEN): False,  # the title came before the tag
  }
  probes = _probes(list(rows), "movie", "tag", "related")

  named = leaks.is_named("combination", probes, _named(), 4)

  assert named.tolist() == list(rows.values())


def test_sentence_said_in_a_dialogue_that_names_the_movie():
  sentences = [
    "The house flies away...",
    "The house flies away...",
    "house flies",
    "The house flies aw",
    "...",
  ]
  movies = [UP, ALIEN, HEAT, UP, UP]
  named = _named(sentences=sentences, sentence_movie=movies)
  probes = _probes([[0], [1], [2], [3], [4]], "sentence")

  found = leaks.is_named("description", probes, named, 4)

  assert found.tolist() == [True, False, True, False, False]


def test_no_probes_and_no_dialogues():
  named = leaks.read([], TITLES, TAGS)
  probes = _probes([(ALIEN, JAWS)], "movie", "related")

  assert not leaks.is_named("recommendation", probes, named, 4).any()
  assert leaks.share(np.zeros(0, bool)) == {
    "pairs": 0,
    "named": 0,
    "share": 0.0,
  }
