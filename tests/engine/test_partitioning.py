"""Meshes and shardings, on one device and on four that the CPU plays."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny
from jax.sharding import PartitionSpec

from t5cr import errors
from t5cr.engine import model, optimizer, partitioning

pytestmark = pytest.mark.usefixtures("quick_compiles")


def test_one_device_is_a_mesh_of_ones():
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  assert dict(mesh.shape) == {"data": 1, "fsdp": 1, "model": 1}


def test_a_mesh_that_does_not_fit_names_the_macros():
  config = partitioning.MeshConfig(data=-1, fsdp=1, model=3)
  with pytest.raises(errors.UsageError, match="MESH_MODEL"):
    partitioning.make_mesh(config, devices=jax.devices()[:1])


@pytest.mark.parametrize("sizes", [(0, 1, 1), (-1, -1, 1), (2, 1, 1)])
def test_impossible_sizes_are_refused(sizes):
  config = partitioning.MeshConfig(*sizes)
  with pytest.raises(errors.UsageError, match="1 device"):
    partitioning.make_mesh(config, devices=jax.devices()[:1])


def test_every_parameter_has_logical_axes_of_its_rank():
  shapes = model.param_shapes(tiny.CONFIG)
  leaves = jax.tree_util.tree_leaves_with_path(
    shapes, is_leaf=lambda x: isinstance(x, tuple)
  )
  for path, shape in leaves:
    names = tuple(key.key for key in path)
    axes = partitioning.logical_axes(names)
    assert axes is not None and len(axes) == len(shape), names


def test_put_batch_keeps_values():
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  batch = {"tokens": np.arange(6, dtype=np.int32).reshape(2, 3)}
  placed = partitioning.put_batch(batch, mesh)
  np.testing.assert_array_equal(placed["tokens"], batch["tokens"])


# Runs on four devices: prints the specs of some arrays and the losses of steps.
_ON_FOUR = """
import json, sys
sys.path.insert(0, sys.argv[1])
import jax, numpy as np
import tiny
from t5cr.engine import model, optimizer, partitioning, train

def batches():
  generator = np.random.default_rng(0)
  while True:
    inputs = generator.integers(2, 300, (8, 12), dtype=np.int32)
    targets = generator.integers(2, 300, (8, 6), dtype=np.int32)
    yield {
      "encoder_input_tokens": inputs,
      "decoder_target_tokens": targets,
      "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
      "decoder_loss_weights": np.ones_like(targets),
    }

config = train.TrainConfig(train_steps=3, learning_rate=0.01, seed=1)
result = {}
for sizes in ((1, 1, 1), (4, 1, 1), (1, 2, 2)):
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(*sizes), jax.devices()[:int(np.prod(sizes))])
  state = train.initial_state(config, tiny.CONFIG, mesh)
  step = train.make_train_step(config, tiny.CONFIG, mesh)
  feed, losses = batches(), []
  for _ in range(3):
    state, sums = step(state, partitioning.put_batch(next(feed), mesh))
    losses.append(float(sums["loss"] / sums["target_tokens"]))
  query = state.params["encoder"]["layers_0"]["attention"]["query"]["kernel"]
  result[str(sizes)] = {
    "losses": losses,
    "query": str(query.sharding.spec),
    "query_shard": query.addressable_shards[0].data.shape,
    "norm": float(sum(abs(np.asarray(p)).sum()
                      for p in jax.tree.leaves(state.params))),
    "compiled": step._cache_size(),
  }
print(json.dumps(result))
"""

# Runs on four devices: prints what a checkpoint, written on one layout, holds
# and does on each.
_RESTORED_ON_FOUR = """
import hashlib, json, sys
sys.path.insert(0, sys.argv[1])
import jax, numpy as np
import tiny
from t5cr.engine import (
  checkpoints, decode, model, optimizer, partitioning, saving, score,
  train_state)

def mesh_of(sizes):
  return partitioning.make_mesh(
    partitioning.MeshConfig(*sizes), jax.devices()[:int(np.prod(sizes))])

def digest(tree):
  return [hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()
          for leaf in jax.tree.leaves(tree)]

def is_placed(leaf, sharding):
  return leaf.sharding.is_equivalent_to(sharding, leaf.ndim)

def state_on(mesh):
  def make():
    params = model.init(tiny.CONFIG, jax.random.key(3))
    opt_state = optimizer.adafactor(0.01).init(params)
    # Told apart from a state that was only begun.
    opt_state = jax.tree.map(lambda x: x + 7, opt_state)
    return train_state.TrainState(jax.numpy.int32(7), params, opt_state)
  shapes = jax.eval_shape(make)
  shardings = partitioning.state_shardings(shapes, mesh)
  return shapes, jax.jit(make, out_shardings=shardings)()

shapes, saved = state_on(mesh_of((1, 2, 2)))
with saving.Writer(sys.argv[2]) as writer:
  writer.save(7, saved, tiny.CONFIG, None)

generator = np.random.default_rng(0)
def texts(lengths):
  return [generator.integers(2, 300, n).tolist() for n in lengths]

inputs = texts((3, 40, 17, 5, 16, 33, 9, 20, 12, 4))
targets = texts((4, 17, 2, 9, 16, 3, 8, 5, 12, 6) * 2)

result = {"saved": digest(saved), "meshes": {}}
for sizes in ((1, 1, 1), (2, 1, 2), (1, 4, 1)):
  mesh = mesh_of(sizes)
  params, _, step = checkpoints.restore_params(sys.argv[2], mesh)
  state = checkpoints.restore_state(sys.argv[2], shapes, tiny.CONFIG, mesh)
  query = params["encoder"]["layers_0"]["attention"]["query"]["kernel"]
  result["meshes"][str(sizes)] = {
    "step": [step, int(state.step)],
    "state": digest(state),
    "params": digest(params) == digest(state.params),
    "placed": jax.tree.all(jax.tree.map(
      is_placed, state, partitioning.state_shardings(shapes, mesh))),
    "query_shard": query.addressable_shards[0].data.shape,
    "tokens": decode.decode_examples(
      params, tiny.CONFIG, inputs, 6, batch_size=4, mesh=mesh),
    # Few inputs for 20 pairs: they are encoded as 10 rows, not divisible by
    # four.
    "scores": score.score_examples(
      params, tiny.CONFIG, inputs * 2, targets, batch_size=20, mesh=mesh,
    ).tolist(),
  }
print(json.dumps(result))
"""


def run_on_four(code: str, *arguments: str) -> dict:
  """What a script prints that runs on four devices."""
  environment = dict(
    os.environ,
    # The last two only make compilation quick.
    XLA_FLAGS="--xla_force_host_platform_device_count=4"
    " --xla_backend_optimization_level=0"
    " --xla_llvm_disable_expensive_passes=true",
    JAX_PLATFORMS="cpu",
    PYTHONPATH=str(pathlib.Path(__file__).parents[2]),
  )
  run = subprocess.run(
    [sys.executable, "-c", code, str(pathlib.Path(__file__).parent)]
    + list(arguments),
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == 0, run.stderr[-2000:]
  return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.slow
def test_four_devices_train_as_one_does():
  result = run_on_four(_ON_FOUR)
  one = result["(1, 1, 1)"]
  for sizes, other in result.items():
    np.testing.assert_allclose(other["losses"], one["losses"], atol=1e-5)
    np.testing.assert_allclose(other["norm"], one["norm"], rtol=1e-5)
    assert other["compiled"] == 1, sizes
  assert result["(4, 1, 1)"]["query_shard"] == [16, 16]
  assert result["(1, 2, 2)"]["query_shard"] == [8, 8]


@pytest.mark.slow
def test_four_devices_restore_decode_and_score_as_one_does(tmp_path):
  result = run_on_four(_RESTORED_ON_FOUR, str(tmp_path / "run"))
  meshes = result["meshes"]
  one = meshes["(1, 1, 1)"]
  assert len({tuple(tokens) for tokens in one["tokens"]}) > 3
  assert len(one["scores"]) == 20 and max(one["scores"]) < 0
  for sizes, other in meshes.items():
    assert other["step"] == [7, 7], sizes
    assert other["state"] == result["saved"], sizes
    assert other["params"] and other["placed"], sizes
    assert other["tokens"] == one["tokens"], sizes
    np.testing.assert_allclose(
      other["scores"], one["scores"], atol=1e-4, err_msg=sizes
    )
  assert one["query_shard"] == [16, 16]
  assert meshes["(2, 1, 2)"]["query_shard"] == [16, 8]
  assert meshes["(1, 4, 1)"]["query_shard"] == [4, 16]


def test_optimizer_state_follows_its_parameters():
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  params = jax.eval_shape(lambda: model.init(tiny.CONFIG, jax.random.key(0)))
  state = jax.eval_shape(optimizer.adafactor(0.003).init, params)
  shardings = partitioning.state_shardings({"p": params, "o": state}, mesh)
  assert jax.tree.structure(shardings["p"]) == jax.tree.structure(params)
  specs = {
    jax.tree_util.keystr(path): sharding.spec
    for path, sharding in jax.tree_util.tree_leaves_with_path(shardings)
  }
  query = [
    spec
    for name, spec in specs.items()
    if "['encoder']['layers_0']['attention']['query']" in name
  ]
  # The parameter and its unfactored moment are split alike; the place-holders
  # of the factored ones are not split.
  assert query.count(PartitionSpec("fsdp", "model")) == 2
  assert query.count(PartitionSpec()) == len(query) - 2
