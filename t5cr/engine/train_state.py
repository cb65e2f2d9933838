"""The state of training, and the names that t5x has for its parts.

t5x keeps a state as

    {"target": parameters,
     "state": {"step": …, "param_states": the parameters' paths, each with
               {"m", "v", "v_row", "v_col"}, of shape [1] where not used}}

and so do this engine's checkpoints. Both factor Adafactor's second moments
along the same two dimensions, so the arrays are the same too.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax
from flax import traverse_util

from t5cr import errors
from t5cr.engine import model
from t5cr.engine.config import T5Config

Tree = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """All that a training step changes.

  Attributes:
    step: int32 scalar, steps taken so far.
    params: the parameter tree.
    opt_state: what the optimizer keeps.
  """

  step: Any
  params: Any
  opt_state: Any


def _is_moments(value: Any) -> bool:
  return isinstance(value, optax.FactoredState)


def to_t5x(state: TrainState, unused: Any) -> Tree:
  """A state under t5x's names.

  Args:
    state: of arrays, or of `jax.ShapeDtypeStruct`.
    unused: the leaf of shape [1] for first moments, which T5 does without.

  Returns:
    The tree that the module's docstring shows.
  """
  (moments,) = filter(
    _is_moments, jax.tree.leaves(state.opt_state, is_leaf=_is_moments)
  )
  param_states = jax.tree.map(
    lambda v, v_row, v_col: {
      "m": unused,
      "v": v,
      "v_row": v_row,
      "v_col": v_col,
    },
    moments.v,
    moments.v_row,
    moments.v_col,
  )
  return {
    "target": state.params,
    "state": {"step": state.step, "param_states": param_states},
  }


def from_t5x(tree: Mapping[str, Any], like: TrainState) -> TrainState:
  """The inverse of `to_t5x`.

  Args:
    tree: t5x's names; all counters of the optimizer become its step.
    like: a state of the same structure.

  Returns:
    The state.
  """
  step = tree["state"]["step"]

  def moments(name: str) -> Any:
    return jax.tree.map(
      lambda _, of_param: of_param[name],
      like.params,
      tree["state"]["param_states"],
    )

  def renewed(value: Any) -> Any:
    if _is_moments(value):
      return optax.FactoredState(
        step.copy(), moments("v_row"), moments("v_col"), moments("v")
      )
    # The only other leaves are a schedule's counters. A copy each: training
    # donates its buffers, and none can be donated twice.
    return step.copy()

  opt_state = jax.tree.map(renewed, like.opt_state, is_leaf=_is_moments)
  return TrainState(step, tree["target"], opt_state)


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
  """Leaves by their path: `encoder/layers_0/attention/query/kernel`."""
  return traverse_util.flatten_dict(dict(tree), sep="/")


def nested(leaves: Mapping[str, Any]) -> Tree:
  """The inverse of `flat`."""
  return traverse_util.unflatten_dict(dict(leaves), sep="/")


def config_of(params: Mapping[str, Any]) -> T5Config:
  """The shape of the model that parameters belong to.

  The activations cannot be read off: one projection into the MLP is taken for
  T5 1.0's relu, two for T5 1.1's gated gelu.

  Args:
    params: the tree, of anything that has shapes.

  Returns:
    The shape, dropout and dtype at their defaults.

  Raises:
    UsageError: it is no T5's tree.
  """
  shapes = {path: tuple(leaf.shape) for path, leaf in flat(params).items()}
  try:
    vocab_size, emb_dim = shapes["token_embedder/embedding"]
    num_heads, num_buckets = shapes["encoder/relpos_bias/rel_embedding"]
    joined = shapes["encoder/layers_0/attention/query/kernel"][1]
    gated = "encoder/layers_0/mlp/wi_0/kernel" in shapes
    mlp_dim = shapes["encoder/layers_0/mlp/wo/kernel"][0]
  except (KeyError, ValueError) as error:
    first = ", ".join(sorted(shapes)[:3]) or "none at all"
    raise errors.UsageError(
      f"The parameters are not those of a T5 as t5x names them: {error} is "
      f"missing or misshaped. There are {first}, …"
    ) from error

  def layers(stack: str) -> int:
    return len({p.split("/")[1] for p in shapes if p.startswith(f"{stack}/la")})

  try:
    return T5Config(
      vocab_size=vocab_size,
      emb_dim=emb_dim,
      num_heads=num_heads,
      num_encoder_layers=layers("encoder"),
      num_decoder_layers=layers("decoder"),
      head_dim=joined // num_heads,
      mlp_dim=mlp_dim,
      mlp_activations=("gelu", "linear") if gated else ("relu",),
      logits_via_embedding="decoder/logits_dense/kernel" not in shapes,
      relative_attention_num_buckets=num_buckets,
    )
  except (ValueError, ZeroDivisionError) as error:
    raise errors.UsageError(
      f"The parameters are not those of a T5: {error} Copy the checkpoint "
      "again."
    ) from error


def abstract_params(config: T5Config, dtype: Any = np.float32) -> Tree:
  """The parameters' shapes as `jax.ShapeDtypeStruct`."""
  return jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, dtype),
    model.param_shapes(config),
    is_leaf=lambda leaf: isinstance(leaf, tuple),
  )


def check_shapes(
  found: Mapping[str, Any], wanted: Mapping[str, Any], where: Any
) -> None:
  """Compares trees of parameters (or of moments) by paths and shapes.

  Args:
    found: what a checkpoint holds.
    wanted: what the model has.
    where: names the checkpoint in the error.

  Raises:
    UsageError: it names the first parameters that differ.
  """
  there = {path: tuple(leaf.shape) for path, leaf in flat(found).items()}
  here = {path: tuple(leaf.shape) for path, leaf in flat(wanted).items()}
  differing = [
    f"{path} is {there.get(path, 'missing')} there and "
    f"{here.get(path, 'missing')} here"
    for path in sorted(there.keys() | here.keys())
    if there.get(path) != here.get(path)
  ]
  if differing:
    more = f"; and {len(differing) - 3} more" if len(differing) > 3 else ""
    raise errors.UsageError(
      f"The checkpoint {where} is of another model: "
      f"{'; '.join(differing[:3])}{more}. Use the recipe that it was trained "
      "with."
    )
