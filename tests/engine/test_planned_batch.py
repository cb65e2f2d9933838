"""What `t5cr plan` compiles for is what the data pipeline makes."""

import pytest
import tiny

from t5cr.engine import feed
from t5cr.engine.train_config import TrainData
from t5cr.plan import compiling


@pytest.mark.parametrize("pack", [True, False])
def test_a_planned_batch_has_the_shapes_of_a_real_one(pack):
  tiny.register()
  planned = compiling.batch_shapes(4, tiny.LENGTHS, pack=pack)
  data = TrainData("tiny_mixture", tiny.LENGTHS, batch_size=4, pack=pack)
  real = next(feed.train_batches(data))
  assert {n: (s.shape, s.dtype) for n, s in planned.items()} == {
    n: (a.shape, a.dtype) for n, a in real.items()
  }
