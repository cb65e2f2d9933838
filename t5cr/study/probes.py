"""Reads what a run scored of the probes, and measures it from several sides.

The outcomes of a probe are a table with a row for each probe that has both
candidates, in order of phrasing and number:

    probe_id, tag, movie, related, negative, rank    what was asked
    template, decile, named                          of later probe sets
    won, tied                                        by summed log-likelihood
    won_by_mean                                      by the mean over tokens

`named`, `decile` and `won_by_mean` are there only where the outputs tell them.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse

from t5cr.study import collect, statistics, variants

_ASKED = ("probe_id", "tag", "movie", "related", "negative")
_FIELDS = (*_ASKED, "rank", "template", "decile", "named")


@dataclasses.dataclass(frozen=True)
class Measured(collect.Measured):
  """A probe score.

  Attributes:
    outcomes: the table; None where only the value is known.
    sides: what report.json says of it beside the value: mean_loglik, unnamed
      and by.
  """

  outcomes: pl.DataFrame | None = dataclasses.field(
    default=None, repr=False, compare=False
  )
  sides: dict[str, Any] = dataclasses.field(default_factory=dict)


def read(run: collect.Run, probe: str) -> pl.DataFrame | None:
  """The outcomes of one of a run's probes.

  Args:
    run: the run.
    probe: its name, that of a probe or of its phrasings.

  Returns:
    None if the run has no outputs of it.
  """
  from t5cr_tasks import metrics

  task = variants.PROBE_TASK_PREFIX + probe
  lines = run.outputs(task)
  if not lines:
    return None
  targets = collect.field(run, task, lines, "target")
  for name in ("candidate", *_ASKED):
    collect.field(run, task, targets, name)
  scores = np.asarray(collect.field(run, task, lines, "score"), np.float64)
  pairs = metrics.probe_pairs(targets)
  related = [targets[place] for place in pairs[:, 0]]
  wins = metrics.probe_wins(targets, scores)
  columns: dict[str, Any] = {
    name: [target[name] for target in related]
    for name in _FIELDS
    if all(name in target for target in related)
  }
  columns |= {"won": wins[:, 0] > 0, "tied": wins[:, 1] > 0}
  tokens = [target.get("target_tokens") for target in targets]
  if all(tokens):
    by_mean = metrics.probe_wins(targets, scores / np.array(tokens))
    columns["won_by_mean"] = by_mean[:, 0] > 0
  table = pl.DataFrame(columns)
  order = [name for name in ("template", "probe_id") if name in columns]
  # Sorted, so that runs that wrote their lines in another order are paired.
  return table.sort(order, maintain_order=True)


def _movies(outcomes: pl.DataFrame) -> list[str]:
  """The movie that each probe is resampled with.

  The probes that ask about one movie share its title, so they are drawn
  together: a movie's ten related movies, a review's four sentences. A probe
  that asks about no movie (the attribute probe) goes with the one that it
  wants recommended.
  """
  asked = pl.col("movie")
  about = pl.when(asked == "").then(pl.col("related")).otherwise(asked)
  return outcomes.select(about).to_series().to_list()


def scores(run: collect.Run) -> dict[str, Measured]:
  """The probe scores of a run, resampled over movies.

  Returns:
    probe -> measured, from 0 to 1.
  """
  measured = {}
  for probe in (*variants.PROBES, variants.SEQUENCE_PROBE):
    task = variants.PROBE_TASK_PREFIX + probe
    if task not in run.files:
      continue
    outcomes = read(run, probe)
    if outcomes is None:
      written = run.metrics[task]
      count = int(written["count"])
      measured[probe] = Measured(written["accuracy"], count, "probes")
    elif len(outcomes):
      measured[probe] = measure(outcomes)
  return measured


@dataclasses.dataclass(frozen=True)
class _Parts:
  """A division of the probes.

  Attributes:
    kind: 'all', 'mean_loglik', 'unnamed', 'decile', 'rank' or 'tag'.
    keys: of each part; [None] where some or all probes are the only part.
    part: int [probes], the part that each probe is in, -1 for none.
    won: the column that says which are won.
  """

  kind: str
  keys: list[Any]
  part: np.ndarray
  won: str = "won"

  @property
  def counts(self) -> np.ndarray:
    """Probes in each part."""
    return np.bincount(self.part[self.part >= 0], minlength=len(self.keys))

  def matrix(self, chosen: np.ndarray) -> scipy.sparse.csr_array:
    """[probes, parts] 1 where a chosen probe is in a part; bool [probes]."""
    rows = np.flatnonzero(chosen & (self.part >= 0))
    return scipy.sparse.csr_array(
      (np.ones(len(rows)), (rows, self.part[rows])),
      shape=(len(self.part), len(self.keys)),
    )


def measure(outcomes: pl.DataFrame) -> Measured:
  """A probe's score, and the scores of parts of it.

  Args:
    outcomes: what `read` gives, at least one row.
  """
  divisions = _divisions(outcomes)
  estimates = iter(_estimates(outcomes, divisions))
  whole = next(estimates)
  sides: dict[str, Any] = {}
  for division in divisions[1:]:
    entries = [
      {"key": key} | as_json(next(estimates), int(count))
      for key, count in zip(division.keys, division.counts, strict=True)
    ]
    if division.keys == [None]:
      del entries[0]["key"]
      sides[division.kind] = entries[0]
    else:
      sides.setdefault("by", {})[division.kind] = entries
  return Measured(
    value=whole.value,
    count=len(outcomes),
    unit="probes",
    estimate=whole,
    ties=int(outcomes["tied"].sum()),
    outcomes=outcomes,
    sides=sides,
  )


def _all(outcomes: pl.DataFrame, won: str = "won") -> _Parts:
  return _Parts("all", [None], np.zeros(len(outcomes), int), won)


def _divisions(outcomes: pl.DataFrame) -> list[_Parts]:
  """All probes, and the parts of them that are measured by themselves."""
  found = [_all(outcomes)]
  if "won_by_mean" in outcomes.columns:
    by_mean = _all(outcomes, "won_by_mean")
    found.append(dataclasses.replace(by_mean, kind="mean_loglik"))
  if "named" in outcomes.columns:
    named = outcomes["named"].to_numpy()
    # -1: there were no dialogues to search.
    if (named >= 0).all() and (named == 0).any():
      found.append(_Parts("unnamed", [None], np.where(named == 0, 0, -1)))
  nothing = {"decile": 0, "rank": 0, "tag": ""}
  for kind, none in nothing.items():
    if kind not in outcomes.columns:
      continue
    values = outcomes[kind].to_list()
    keys = sorted({value for value in values if value != none})
    number = {key: place for place, key in enumerate(keys)}
    part = np.array([number.get(value, -1) for value in values])
    if keys:
      found.append(_Parts(kind, keys, part))
  return found


def _estimates(
  outcomes: pl.DataFrame, divisions: Sequence[_Parts]
) -> list[statistics.Estimate]:
  """The share of each part of each division that is won."""
  whole = np.ones(len(outcomes), bool)
  hits = [d.matrix(outcomes[d.won].to_numpy()) for d in divisions]
  members = [division.matrix(whole) for division in divisions]
  return statistics.shares(
    scipy.sparse.csr_array(scipy.sparse.hstack(hits)),
    scipy.sparse.csr_array(scipy.sparse.hstack(members)),
    _movies(outcomes),
  )


def as_json(estimate: statistics.Estimate, count: int) -> dict[str, Any]:
  """A share with its interval, which probes about one movie do not give."""
  ends = (estimate.low, estimate.high) if estimate.clusters > 1 else (None,) * 2
  low, high = (None if end is None else round(end, 6) for end in ends)
  value = round(estimate.value, 6)
  return {"value": value, "low": low, "high": high, "count": count}


def phrasings(run: collect.Run) -> dict[str, dict[str, Any]]:
  """How a run's probe scores depend on the phrasing.

  Returns:
    probe -> {"mean", "spread": sample standard deviation over the phrasings,
    None for a single one, "least", "most", "count": probes in each phrasing,
    "by": {phrasing: {"value", "low", "high", "count"}}}; those that the run
    was not evaluated on are left out.
  """
  from t5cr_tasks.probes import templates

  found = {}
  for probe in variants.PROBES:
    name = probe + variants.PHRASINGS
    if variants.PROBE_TASK_PREFIX + name not in run.files:
      continue
    outcomes = read(run, name)
    if outcomes is None or not len(outcomes):
      continue
    if "template" not in outcomes.columns:  # not among what t5x inferred
      continue
    by = {}
    others = sorted(set(outcomes["template"]) - set(templates.NAMES))
    for template in (*templates.NAMES, *others):
      part = outcomes.filter(pl.col("template") == template)
      if len(part):
        (estimate,) = _estimates(part, [_all(part)])
        by[template] = as_json(estimate, len(part))
    values = [entry["value"] for entry in by.values()]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    found[probe] = {
      "mean": round(float(np.mean(values)), 6),
      "spread": None if spread is None else round(spread, 6),
      "least": min(values),
      "most": max(values),
      "count": min(entry["count"] for entry in by.values()),
      "by": by,
    }
  return found


def _common(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
  """The probes that all tables have, with each one's `won` under its name."""
  joined = None
  for name, table in tables.items():
    own = table.select(*_ASKED, pl.col("won").alias(f"won {name}"))
    if joined is None:
      joined = own
    else:
      joined = joined.join(own, on=_ASKED, how="inner", maintain_order="left")
  return pl.DataFrame() if joined is None else joined


def _together(
  tables: Mapping[str, pl.DataFrame],
) -> tuple[pl.DataFrame, dict[str, statistics.Estimate]]:
  """Each table's share of what all have, from the same draws."""
  common = _common(tables)
  if not len(common):
    return common, {}
  columns = [_all(common, f"won {name}") for name in tables]
  return common, dict(zip(tables, _estimates(common, columns), strict=True))


def transfer(measured: Mapping[str, Measured]) -> dict[str, Any] | None:
  """How much more the model knows as a sequence than it says in a dialogue.

  Args:
    measured: what `scores` gives.

  Returns:
    {"value", "low", "high", "count"} of the share of the sequence probe minus
    that of the recommendation probe, over the pairs that both have; None
    without outputs of both.
  """
  names = ("recommendation", variants.SEQUENCE_PROBE)
  tables = {name: measured[name].outcomes for name in names if name in measured}
  known = {name: table for name, table in tables.items() if table is not None}
  if len(known) < len(names):
    return None
  common, estimates = _together(known)
  if not estimates:
    return None
  spoken, sequence = (estimates[name] for name in names)
  return _difference(sequence, spoken) | {"count": len(common)}


def _difference(
  estimate: statistics.Estimate, base: statistics.Estimate
) -> dict[str, float]:
  values = statistics.paired_difference(estimate, base)
  names = ("value", "low", "high")
  return {k: round(v, 6) for k, v in zip(names, values, strict=True)}


def paired(
  rows: Mapping[str, Mapping[str, Measured]],
) -> dict[str, list[dict[str, Any]]]:
  """Tests every two rows on every probe.

  Args:
    rows: row -> what `scores` gives.

  Returns:
    probe -> [{"first", "second": rows, "count": probes that all rows have,
    "first_only", "second_only": probes that only one of them wins, "p": of
    the exact McNemar test, "p_adjusted": Holm's over all tests of the report,
    "difference": {"value", "low", "high"} of the first's share minus the
    second's, resampled over movies}]. A tie is not won.
  """
  found: dict[str, list[dict[str, Any]]] = {}
  for probe in (*variants.PROBES, variants.SEQUENCE_PROBE):
    tables = {
      name: measured[probe].outcomes
      for name, measured in rows.items()
      if probe in measured
    }
    known = {name: table for name, table in tables.items() if table is not None}
    if len(known) > 1:
      common, estimates = _together(known)
      found[probe] = _tests(common, estimates)
  tests = list(itertools.chain.from_iterable(found.values()))
  adjusted = statistics.holm([test["p"] for test in tests])
  for test, p_value in zip(tests, adjusted, strict=True):
    test["p_adjusted"] = p_value
  return found


def _tests(
  common: pl.DataFrame, estimates: Mapping[str, statistics.Estimate]
) -> list[dict[str, Any]]:
  tests = []
  for first, second in itertools.combinations(estimates, 2):
    one, two = (common[f"won {name}"] for name in (first, second))
    first_only, second_only = int((one & ~two).sum()), int((two & ~one).sum())
    tests.append(
      {
        "first": first,
        "second": second,
        "count": len(common),
        "first_only": first_only,
        "second_only": second_only,
        "p": statistics.mcnemar(first_only, second_only),
        "difference": _difference(estimates[first], estimates[second]),
      }
    )
  return tests
