"""What `t5cr plan` compiles for is what the data pipeline makes."""

import pytest
import tiny

from t5cr.engine import feed
from t5cr.engine.partitioning import MeshConfig
from t5cr.engine.train import TrainConfig, TrainData
from t5cr.plan import compiling
from t5cr.plan.request import Request


@pytest.mark.parametrize("pack", [True, False])
def test_a_planned_batch_has_the_shapes_of_a_real_one(pack):
  tiny.register()
  data = TrainData("tiny_mixture", tiny.LENGTHS, batch_size=4, pack=pack)
  request = Request(
    topology="cpu:1",
    mesh=MeshConfig(),
    model=tiny.CONFIG,
    config=TrainConfig(train_steps=1),
    batch_size=4,
    lengths=tiny.LENGTHS,
    pack=pack,
  )
  planned = compiling.batch_shapes(request)
  real = next(feed.train_batches(data))
  assert {n: (s.shape, s.dtype) for n, s in planned.items()} == {
    n: (a.shape, a.dtype) for n, a in real.items()
  }
