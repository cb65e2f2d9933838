"""Rates of chips, and the step time that they allow."""

import pytest

from t5cr import errors
from t5cr.plan import chips, roofline

COMPILED = {
  "flops": 1e12,
  "bytes": 2e9,
  "collectives": {"all-reduce": {"sent": 3e8}, "all-gather": {"sent": 1e8}},
}
RATES = chips.Rates(
  flops=1e14, hbm_bandwidth=1e12, ici_bandwidth=1e11, memory=1e9
)


def test_a_step_waits_for_the_slowest():
  seconds = roofline.times(COMPILED, RATES, 1)
  assert seconds == pytest.approx({"compute": 0.01, "hbm": 0.002, "ici": 0.004})
  assert roofline.bound(seconds) == "compute"


def test_the_cores_of_a_chip_share_its_rates():
  seconds = roofline.times(COMPILED, RATES, 2)
  assert seconds == pytest.approx({"compute": 0.02, "hbm": 0.004, "ici": 0.008})


def test_what_has_no_rate_has_no_time():
  seconds = roofline.times(COMPILED, chips.Rates(flops=1e14), 1)
  assert seconds == {"compute": 0.01}
  assert roofline.bound(seconds) is None


def test_one_chip_sends_nothing():
  alone = {**COMPILED, "collectives": {}}
  assert roofline.times(alone, chips.rates("v5e:1x1"), 1)["ici"] == 0.0


def test_a_run_costs_its_chips_for_its_hours():
  spent = roofline.cost(0.36, 40_000, 16, 1.5)
  assert spent == pytest.approx({"hours": 4, "chip_hours": 64, "cost": 96})
  assert "cost" not in roofline.cost(0.36, 40_000, 16, None)


@pytest.mark.parametrize(
  ("topology", "links"),
  [
    ("v5e:1x1", 0),
    ("v5e:2x2", 2),
    ("v5e:2x4", 1 + 1.5),
    ("v5e:16x16", 4),
    ("v4:4x4x4", 6),
    ("v4:2x2x1", 2),
  ],
)
def test_a_slice_has_the_links_of_its_shape(topology, links):
  link = chips.CHIPS[topology.partition(":")[0]].link
  assert chips.rates(topology).ici_bandwidth == pytest.approx(links * link)


def test_other_devices_have_no_published_rates():
  assert chips.rates("cpu:8") == chips.Rates()


@pytest.mark.parametrize(
  "topology", ["v5e", "v5e-16", "tpu:4", "cpu", "cpu:0", "v5e:2x2x2", "v4:2x2"]
)
def test_a_topology_of_another_form_is_refused(topology):
  with pytest.raises(errors.UsageError, match="v5e:4x4"):
    chips.check_topology(topology)
