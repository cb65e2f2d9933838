"""Targets of one input as a trie, so that a common beginning is run once.

The decoder is fed the nodes of a trie as one row, parents before children
(pre-order): a node sees itself and what leads to it, and its logits are those
of the next token of every target that goes through it.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

Tokens = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Trie:
  """What the decoder is fed for some targets of one input.

  Attributes:
    targets: numbers of the targets, as given by who made the trie.
    tokens: fed at each node; 0, the start of decoding, at the first.
    depths: of each node, its position in the decoder.
    last: the last node of the subtree that begins at each node.
    owners: of each token of each target: the target, as a place in `targets`,
    parents: the node that predicts it,
    wanted: and its id.
  """

  targets: list[int]
  tokens: list[int]
  depths: list[int]
  last: list[int]
  owners: list[int]
  parents: list[int]
  wanted: list[int]


def build(targets: Sequence[tuple[int, Tokens]], limit: int) -> Iterator[Trie]:
  """Tries of some targets of one input.

  Args:
    targets: (number, token ids with EOS); numbers are the caller's.
    limit: nodes of a trie; a target of more tokens has one of its own.

  Yields:
    Tries that together hold every target once.
  """
  group: list[tuple[int, Tokens]] = []
  size, before = 1, ()
  # In this order, what two targets share is what neighbours share.
  for number, tokens in sorted(targets, key=lambda target: target[1]):
    more = max(len(tokens) - 1 - _shared(before, tokens), 0)
    if group and size + more > limit:
      yield _build(group)
      group, size, more = [], 1, max(len(tokens) - 1, 0)
    group.append((number, tokens))
    size, before = size + more, tokens
  yield _build(group)


def _shared(one: Tokens, other: Tokens) -> int:
  """Tokens that both begin with and that both are fed: all but the last."""
  most = min(len(one), len(other)) - 1
  for i in range(most):
    if one[i] != other[i]:
      return i
  return max(most, 0)


def _build(targets: Sequence[tuple[int, Tokens]]) -> Trie:
  trie = Trie([], [0], [0], [0], [], [], [])
  path, before = [0], ()
  for number, tokens in targets:
    del path[_shared(before, tokens) + 1 :]
    for token in tokens[len(path) - 1 : -1]:
      trie.depths.append(len(path))
      path.append(len(trie.tokens))
      trie.tokens.append(token)
      trie.last.append(0)
    for node in path:
      trie.last[node] = len(trie.tokens) - 1
    trie.owners.extend([len(trie.targets)] * len(tokens))
    trie.parents.extend(path[: len(tokens)])
    trie.wanted.extend(tokens)
    trie.targets.append(number)
    before = tokens
  return trie


def ancestors(last: Int[Array, "r n"]) -> Bool[Array, "r n n"]:
  """Which nodes each node sees.

  Args:
    last: `Trie.last` of each row, -1 behind the end.

  Returns:
    Of each node and each other: whether that leads to it, or is itself.
  """
  order = jnp.arange(last.shape[-1])
  return (order[:, None] >= order) & (order[:, None] <= last[..., None, :])
