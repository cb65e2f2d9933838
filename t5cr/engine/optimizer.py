"""Adafactor as T5 sets it."""

import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import optax


def adafactor(
  learning_rate: float | optax.Schedule,
  *,
  decay_rate: float = 0.8,
  step_offset: int = 0,
) -> optax.GradientTransformation:
  """T5's Adafactor (https://arxiv.org/abs/1804.04235): no first moment.

  Updates are relative to the RMS of their parameter (at least 1e-3) and
  clipped at RMS 1; second moments are factored where both dims reach 128 and
  decay as 1 - t^-0.8. t5x's optimizer takes the same steps.

  Args:
    learning_rate: a constant (the paper: 0.003) or a schedule over steps.
    decay_rate: exponent of the second moments' decay.
    step_offset: first step of a finetuning that goes on from a pretrained
      optimizer state.

  Returns:
    An Optax transformation.
  """
  return optax.adafactor(
    learning_rate,
    min_dim_size_to_factor=128,
    decay_rate=decay_rate,
    decay_offset=step_offset,
    multiply_by_parameter_scale=True,
    clipping_threshold=1.0,
    momentum=None,
    weight_decay_rate=None,
    factored=True,
  )


def layers_together(
  inner: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """The same updates, computed for all layers of a stack at once.

  A transformation treats each array by itself, so a deep model has hundreds of
  small programs in its update, which take longer to compile than its layers
  do. Here arrays of one place in each layer are stacked, which costs a copy.

  Args:
    inner: whose update of an array depends on no other array.

  Returns:
    A transformation with the very same state.
  """

  def update(updates, state, params=None):
    treedef = jax.tree.structure(params)

    def is_tree(x):
      return jax.tree.structure(x) == treedef

    # What the state holds: trees like the parameters, and counters.
    items, shape = jax.tree.flatten(state, is_leaf=is_tree)
    like = [is_tree(item) for item in items]
    trees = [updates, params, *itertools.compress(items, like)]
    leaves = [treedef.flatten_up_to(tree) for tree in trees]

    def of_one(update, param, *arrays):
      mine = iter(arrays)
      own = [[next(mine)] if x else y for x, y in zip(like, items, strict=True)]
      result: Any = inner.update([update], shape.unflatten(own), [param])
      new, after = result
      rest = shape.flatten_up_to(after)
      return new[0], [y[0] if x else y for x, y in zip(like, rest, strict=True)]

    run = jax.vmap(of_one, out_axes=(0, [0 if x else None for x in like]))
    done: list[Any] = [None] * treedef.num_leaves
    counters: list[Any] = []
    for members in _places(params):
      stacked = [jnp.stack([part[i] for i in members]) for part in leaves]
      new, counters = run(*stacked)
      arrays = [new, *itertools.compress(counters, like)]
      for place, i in enumerate(members):
        done[i] = [array[place] for array in arrays]
    new, *after = map(treedef.unflatten, zip(*done, strict=True))
    mine = iter(after)
    return new, shape.unflatten(
      [next(mine) if x else y for x, y in zip(like, counters, strict=True)]
    )

  return optax.GradientTransformation(inner.init, update)


def _places(params: Any) -> list[list[int]]:
  """Numbers of the arrays that have one place in every layer of a stack."""
  places: dict[str, list[int]] = {}
  for i, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(params)):
    name = re.sub(r"layers_\d+", "layers", jax.tree_util.keystr(path))
    places.setdefault(name, []).append(i)
  return list(places.values())
