"""A trie holds each target once, and what targets share once."""

import numpy as np
import pytest

from t5cr.engine import tries


def paths(trie):
  """The tokens that lead to each scored one of each target, from the start."""
  seen = np.asarray(tries.ancestors(np.array([trie.last])))[0]
  found = {}
  for owner, parent, wanted in zip(
    trie.owners, trie.parents, trie.wanted, strict=True
  ):
    fed = [trie.tokens[i] for i in np.flatnonzero(seen[parent])]
    assert trie.depths[parent] == len(fed) - 1
    found.setdefault(trie.targets[owner], []).append((fed, wanted))
  return found


def expected(targets):
  return {
    number: [([0, *tokens[:i]], tokens[i]) for i in range(len(tokens))]
    for number, tokens in targets
    if tokens
  }


def test_a_shared_beginning_stands_once():
  targets = [(7, (5, 6, 8, 1)), (9, (5, 6, 9, 9, 1)), (2, (5, 1)), (3, (5, 1))]
  (trie,) = tries.build(targets, 100)
  # The start, 5, 6, then 8 of one and 9, 9 of the other.
  assert sorted(trie.tokens) == [0, 5, 6, 8, 9, 9]
  assert paths(trie) == expected(targets)


@pytest.mark.parametrize("limit", [1, 5, 12, 1000])
def test_every_target_once_whatever_the_limit(limit):
  rng = np.random.default_rng(limit)
  targets = [
    (i, tuple(rng.integers(2, 5, n).tolist()))
    for i, n in enumerate(rng.integers(0, 9, 60))
  ]
  found, members = {}, []
  for trie in tries.build(targets, limit):
    longest = max(trie.depths) + 1
    assert len(trie.tokens) <= max(limit, longest)
    members += trie.targets
    found.update(paths(trie))
  assert sorted(members) == list(range(60))
  assert found == expected(targets)


def test_padding_sees_nothing():
  seen = np.asarray(tries.ancestors(np.array([[2, 1, 2, -1]])))[0]
  assert not seen[3].any() and not seen[:, 3].any()
