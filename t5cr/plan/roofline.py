"""The step time that peak rates allow, and what a run costs at it."""

from collections.abc import Mapping
from typing import Any

from t5cr.plan.chips import Rates


def sent(compiled: Mapping[str, Any]) -> float:
  """Bytes that a device sends in a step, by all collectives."""
  return sum(kind["sent"] for kind in compiled["collectives"].values())


def times(
  compiled: Mapping[str, Any], rates: Rates, devices_per_chip: int
) -> dict[str, float]:
  """Seconds of a step for each resource, if it were used at its peak.

  Args:
    compiled: flops, bytes and collectives of a device.
    rates: of a chip.
    devices_per_chip: that share them.

  Returns:
    'compute', 'hbm' and 'ici' -> seconds; those of unknown rate are left out.
  """
  work = {
    "compute": (compiled["flops"], rates.flops),
    "hbm": (compiled["bytes"], rates.hbm_bandwidth),
    "ici": (sent(compiled), rates.ici_bandwidth),
  }
  return {
    name: amount * devices_per_chip / rate if amount else 0.0
    for name, (amount, rate) in work.items()
    if rate or not amount
  }


def bound(seconds: Mapping[str, float]) -> str | None:
  """What a step waits for; None if any of the three is not known."""
  if set(seconds) != {"compute", "hbm", "ici"}:
    return None
  return max(seconds, key=lambda name: seconds[name])


def cost(
  step_seconds: float, steps: int, chips: int, price: float | None
) -> dict[str, float]:
  """Hours of a run and, where there is a price, what they cost.

  Args:
    step_seconds: of one step.
    steps: of the run.
    chips: that are paid for.
    price: of one for an hour.

  Returns:
    `hours`, `chip_hours` and `cost`.
  """
  hours = step_seconds * steps / 3600
  spent = {"hours": hours, "chip_hours": hours * chips}
  if price is not None:
    spent["cost"] = hours * chips * price
  return spent
