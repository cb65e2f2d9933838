"""Learning rates at hand-computed steps."""

import pytest

from t5cr import errors
from t5cr.engine import schedules


@pytest.mark.parametrize(
  ("schedule", "warmup", "at"),
  [
    ("constant", 0, {0: 1.0, 99: 1.0}),
    ("constant", 10, {0: 0.0, 5: 0.5, 10: 1.0, 99: 1.0}),
    ("linear", 0, {0: 1.0, 50: 0.5, 100: 0.0}),
    ("linear", 20, {10: 0.5, 20: 1.0, 60: 0.5, 100: 0.0}),
    ("cosine", 0, {0: 1.0, 50: 0.5, 100: 0.0}),
    ("rsqrt", 25, {25: 1.0, 100: 0.5}),
  ],
)
def test_schedules(schedule, warmup, at):
  function = schedules.learning_rate_schedule(
    schedule=schedule,
    learning_rate=1.0,
    warmup_steps=warmup,
    train_steps=100,
  )
  for step, rate in at.items():
    assert float(function(step)) == pytest.approx(rate, abs=1e-6), step


def test_an_unknown_schedule_names_its_macro():
  with pytest.raises(
    errors.UsageError, match="LEARNING_RATE_SCHEDULE: 'steep'"
  ):
    schedules.check("steep")
