"""Costs of a step whose layers are a loop, against the same step unrolled."""

import dataclasses

import pytest

from t5cr.engine.config import T5Config
from t5cr.engine.partitioning import MeshConfig
from t5cr.engine.train import TrainConfig
from t5cr.plan import compiling, costs, hlo
from t5cr.plan.request import Request

MODEL = T5Config(
  vocab_size=128,
  emb_dim=32,
  num_heads=2,
  num_encoder_layers=2,
  num_decoder_layers=2,
  head_dim=16,
  mlp_dim=64,
  dropout_rate=0.0,  # random numbers are drawn in loops
)
REQUEST = Request(
  topology="cpu:1",
  mesh=MeshConfig(),
  model=MODEL,
  config=TrainConfig(train_steps=1),
  batch_size=8,
  lengths={"inputs": 32, "targets": 16},
  pack=True,
)


def compile_step(model):
  import jax

  request = dataclasses.replace(REQUEST, model=model)
  mesh = compiling.make_mesh(MeshConfig(), jax.devices()[:1])
  return compiling.lower(request, mesh).compile()


@pytest.fixture(scope="module")
def unrolled():
  return compile_step(MODEL)


@pytest.fixture(scope="module")
def scanned():
  return compile_step(dataclasses.replace(MODEL, scan_layers=True))


def test_without_loops_the_costs_are_those_of_xla(unrolled):
  program = hlo.Program(unrolled.as_text())
  weighed = costs.weighed(unrolled, program)
  once = unrolled.cost_analysis()
  assert list(program.loops(program.entry)) == []
  assert weighed["flops"] == once["flops"]
  assert weighed["bytes"] == once["bytes accessed"]


def test_a_loop_over_layers_costs_what_the_layers_cost(unrolled, scanned):
  program = hlo.Program(scanned.as_text())
  trips = [loop.trips for loop in program.loops(program.entry)]
  # Both stacks, forwards and backwards.
  assert trips == [2, 2, 2, 2]
  expected = unrolled.cost_analysis()["flops"]
  assert costs.weighed(scanned, program)["flops"] == pytest.approx(
    expected, rel=0.05
  )
  # XLA by itself has half of the layers.
  assert scanned.cost_analysis()["flops"] < 0.7 * expected


def test_a_loop_in_a_loop_is_weighed_by_both():
  import jax
  import jax.numpy as jnp

  def once(x, _):
    return jnp.tanh(x @ x), None

  def many(x, _):
    return jax.lax.scan(once, x, length=5)[0], None

  def program(x):
    return jax.lax.scan(many, x, length=7)[0]

  compiled = jax.jit(program).lower(jnp.zeros((16, 16))).compile()
  flops = costs.weighed(compiled, hlo.Program(compiled.as_text()))["flops"]
  products = 5 * 7 * 2 * 16**3
  assert products <= flops < 1.2 * products
