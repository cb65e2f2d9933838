"""The claims of the study, each checked against a report.

The paper's finding is that what an auxiliary task teaches is there in the
dialogue. On the sample corpus, which is made to hold that structure, it can be
checked by how much.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from t5cr.study import variants

# Each auxiliary task raises a probe by at least this share of the ReDial row.
GAINS = (
  ("redial_sequence", "recommendation", 0.20),
  ("redial_tags", "attribute", 0.35),
  ("redial_tags", "combination", 0.25),
  ("redial_review", "description", 0.08),
)
# These hold too without the pairs that a training dialogue names, so they are
# no echo of the dialogues.
GAINS_UNNAMED = GAINS[:2]
WITHIN_OF_BEST = 0.04
CHANCE = 0.5
# A model that knows nothing still ranks the dozen popular movies of the sample
# somehow, which alone moves its accuracy by 0.08 (one standard deviation: the
# mean of 12 uniform ranks).
NEAR_CHANCE = 0.1
# "Few" of the pairs that probes ask about are named in a training dialogue.
FEW = 0.15


@dataclasses.dataclass(frozen=True)
class Claim:
  """A claim and whether it holds.

  Attributes:
    text: the claim.
    met: whether it holds; None where what it needs was not measured.
    detail: the figures.
  """

  text: str
  met: bool | None
  detail: str


def check(report: Mapping[str, Any]) -> list[Claim]:
  """Checks every claim.

  Args:
    report: what report.json holds.

  Returns:
    The claims, in the order of the paper's sections.
  """
  scores = {row["name"]: row["probes"] for row in report["rows"]}
  claims = [_gain(scores, *gain) for gain in GAINS]
  unnamed = {
    name: {
      probe: entry["unnamed"]
      for probe, entry in probes.items()
      if "unnamed" in entry
    }
    for name, probes in scores.items()
  }
  claims += [
    _gain(unnamed, *gain, of=", pairs that dialogues name left out,")
    for gain in GAINS_UNNAMED
  ]
  claims += [_all_near_best(scores, probe) for probe in variants.PROBES]
  claims += [
    _near_chance(scores, name, probe)
    for name in ("none", "redial")
    for probe in ("recommendation", "attribute")
  ]
  built = report["data"]["probes"]
  claims += [
    _few_leaks(probe, built.get(probe, {}).get("leak"))
    for probe in variants.PROBES
  ]
  return claims


def _gain(
  scores: Mapping[str, Any], name: str, probe: str, least: float, of: str = ""
) -> Claim:
  """A row beats ReDial only on a probe, and the intervals do not overlap."""
  text = (
    f"{variants.ROWS[name].label} raises the {probe} probe{of} by at least "
    f"{least:.0%}"
  )
  row = scores.get(name, {}).get(probe)
  base = scores.get(variants.BASELINE, {}).get(probe)
  if row is None or base is None or row["low"] is None or base["low"] is None:
    return Claim(text, None, "not measured")
  gain = row["value"] / base["value"] - 1 if base["value"] else float("inf")
  apart = row["low"] > base["high"]
  detail = (
    f"{gain:+.1%}: {_with_interval(base)} to {_with_interval(row)}, intervals "
    f"{'apart' if apart else 'overlap'}"
  )
  return Claim(text, gain >= least and apart, detail)


def _with_interval(entry: Mapping[str, Any]) -> str:
  return f"{entry['value']:.3f} ({entry['low']:.3f}–{entry['high']:.3f})"


def _all_near_best(scores: Mapping[str, Any], probe: str) -> Claim:
  text = (
    f"All tasks together are within {WITHIN_OF_BEST} of the best row on the "
    f"{probe} probe"
  )
  values = {
    name: probes[probe]["value"]
    for name, probes in scores.items()
    if probe in probes
  }
  if "all" not in values:
    return Claim(text, None, "not measured")
  best = max(values, key=lambda name: values[name])
  met = values["all"] >= values[best] - WITHIN_OF_BEST
  detail = f"{values['all']:.3f}; best {values[best]:.3f} ({best})"
  return Claim(text, met, detail)


def _near_chance(scores: Mapping[str, Any], name: str, probe: str) -> Claim:
  text = (
    f"The row {name!r} is within {NEAR_CHANCE} of {CHANCE} on the {probe} probe"
  )
  entry = scores.get(name, {}).get(probe)
  if entry is None:
    return Claim(text, None, "not measured")
  met = abs(entry["value"] - CHANCE) <= NEAR_CHANCE
  return Claim(text, met, f"{entry['value']:.3f}")


def _few_leaks(probe: str, leak: Mapping[str, Any] | None) -> Claim:
  text = (
    f"Training dialogues name at most {FEW:.0%} of the pairs of the {probe} "
    "probe"
  )
  if leak is None:
    return Claim(text, None, "not measured")
  detail = f"{leak['named']:,} of {leak['pairs']:,} ({leak['share']:.1%})"
  return Claim(text, leak["share"] <= FEW, detail)
