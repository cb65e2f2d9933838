"""Compares a report with another, row by row and figure by figure."""

import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from t5cr import errors, nested

# Of report.json. Reports of before it was written down are of the same.
SCHEMA = 1

# Data set that the dialogue metrics are taken on.
_DIALOGUES = "t5cr_redial"
# Metrics whose count is that of what they are asked about; that of the others
# depends on what the model says.
_FIXED_COUNTS = ("bleu", "bleu_single_token", "bleu_sentence")


def find(path: pathlib.Path) -> pathlib.Path | None:
  """The report.json of a file, of a report's folder, of a study or a run."""
  places = (path, path / "report.json", path / "report" / "report.json")
  return next((place for place in places if place.is_file()), None)


def is_report(path: pathlib.Path) -> bool:
  """Whether a path is a written report, not a folder to make one of."""
  return path.is_file() or (path / "report.json").is_file()


def read(path: pathlib.Path) -> dict[str, Any]:
  """Reads a report.

  Args:
    path: report.json, the folder that it is in, or a study's or run's folder.

  Returns:
    What report.json holds.

  Raises:
    UsageError: there is none, or it cannot be read, or is of another schema.
  """
  file = find(path)
  if file is None:
    raise errors.UsageError(
      f"{path} holds no report; looked for report.json and "
      f"report/report.json. Write it first: `t5cr report {path}`."
    )
  again = "Write it again with `t5cr report`."
  try:
    report = nested.loads(file.read_text(encoding="utf-8"))
  except ValueError as error:
    raise errors.UsageError(
      f"{file} is damaged: it is no JSON ({error}). {again}"
    ) from error
  schema = report.get("schema", SCHEMA) if isinstance(report, dict) else None
  if isinstance(report, dict) and schema != SCHEMA:
    raise errors.UsageError(
      f"{file} is a report of schema {schema!r}; this version of t5cr reads "
      f"schema {SCHEMA}. {again}"
    )
  problem = _problem(report)
  if problem:
    raise errors.UsageError(f"{file} is no report of t5cr: {problem}. {again}")
  return report


_FIELDS = {"label": str, "engine": str, "data": dict, "examples": dict}


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def _problem(report: Any) -> str | None:
  """What is missing of what is compared."""
  if not isinstance(report, dict) or not isinstance(report.get("rows"), list):
    return "it has no 'rows'"
  if not isinstance(report.get("data"), dict):
    return "it has no 'data'"
  sets = report["data"].get("probes") or {}
  if not isinstance(sets, dict) or not all(
    isinstance(entry, dict) for entry in sets.values()
  ):
    return "data.probes is no set of probes"
  for number, row in enumerate(report["rows"]):
    place = f"rows[{number}]"
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
      return f"{place} has no name"
    for field, kind in _FIELDS.items():
      if not isinstance(row.get(field), (kind, type(None))):
        return f"{place}.{field} is no {kind.__name__}"
    for kind in ("metrics", "probes"):
      entries = row.get(kind)
      if not isinstance(entries, dict):
        return f"{place} has no {kind!r}"
      for name, entry in entries.items():
        if not _is_entry(entry):
          return f"{place}.{kind}.{name} has no value, interval or count"
  return None


def _is_entry(entry: Any) -> bool:
  if not isinstance(entry, dict):
    return False
  ends = [entry.get("low"), entry.get("high")]
  return (
    _is_number(entry.get("value"))
    and _is_number(entry.get("count"))
    and (ends == [None, None] or all(map(_is_number, ends)))
  )


def difference(
  here: Mapping[str, Any], there: Mapping[str, Any]
) -> dict[str, float | None]:
  """The difference of two figures with its 95% interval.

  The interval is that of independent estimates, made of theirs (MOVER; Zou and
  Donner, "Construction of confidence limits about effect measures", 2008):

      low  = d − √((a − a.low)² + (b.high − b)²)
      high = d + √((a.high − a)² + (b − b.low)²)

  It excludes 0 also for some intervals that overlap. For two models that were
  measured on the same examples it is too wide rather than too narrow: what is
  hard for one is hard for the other.

  Args:
    here: {"value", "low", "high"}.
    there: the same of what is subtracted.

  Returns:
    {"value", "low", "high"}; the ends are None where either has no interval.
  """
  value = here["value"] - there["value"]
  if here["low"] is None or there["low"] is None:
    return {"value": round(value, 6), "low": None, "high": None}
  down = math.hypot(here["value"] - here["low"], there["high"] - there["value"])
  up = math.hypot(here["high"] - here["value"], there["value"] - there["low"])
  return {
    "value": round(value, 6),
    "low": round(value - down, 6),
    "high": round(value + up, 6),
  }


def compare(
  here: Mapping[str, Any], there: Mapping[str, Any], source: str
) -> dict[str, Any]:
  """Compares two reports.

  Rows go together by name. If neither report has more than one row, those two
  do, whatever they are called.

  Args:
    here: what report.json holds.
    there: what the other one holds.
    source: where the other one is, for the reader.

  Returns:
    {"report", "warnings": words, "only_here", "only_there": names of rows,
    "rows": [{"name", "label", "there": name, "engines": [here, there]}],
    "unknown_data": rows whose training data only one report knows, or none,
    "figures": [{"row", "kind": 'probes' or 'metrics', "name", "here", "there":
    figure or None, "difference": None or as `difference` gives it, "overlap":
    whether the intervals do, or None, "result"}]}, where result is 'same',
    'higher', 'lower', 'unclear' (the interval of the difference holds 0),
    'other examples' or None (no interval, or only one has the figure).
  """
  pairs = _pairs(here, there)
  figures = [
    _figure(mine, kind, name, here, theirs, there)
    for mine, theirs in pairs
    for kind, name in _names(mine, theirs)
  ]
  paired = {mine["name"] for mine, _ in pairs}
  paired_there = {theirs["name"] for _, theirs in pairs}
  return {
    "report": source,
    "warnings": _warnings(here, there, pairs, figures),
    "only_here": [r["name"] for r in here["rows"] if r["name"] not in paired],
    "only_there": [
      r["name"] for r in there["rows"] if r["name"] not in paired_there
    ],
    "rows": [
      {
        "name": mine["name"],
        "label": mine.get("label") or mine["name"],
        "there": theirs["name"],
        "engines": [mine.get("engine"), theirs.get("engine")],
      }
      for mine, theirs in pairs
    ],
    "unknown_data": [
      mine["name"]
      for mine, theirs in pairs
      if not _data(mine, here).keys() & _data(theirs, there).keys()
    ],
    "figures": figures,
  }


def _pairs(
  here: Mapping[str, Any], there: Mapping[str, Any]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
  if len(here["rows"]) == len(there["rows"]) == 1:
    return [(here["rows"][0], there["rows"][0])]
  others = {row["name"]: row for row in there["rows"]}
  return [
    (row, others[row["name"]]) for row in here["rows"] if row["name"] in others
  ]


def _names(
  mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
  """(kind, name) of each figure that either row has."""
  for kind in ("probes", "metrics"):
    for name in dict.fromkeys([*mine[kind], *theirs[kind]]):
      yield kind, name


def _figure(
  mine: Mapping[str, Any],
  kind: str,
  name: str,
  here: Mapping[str, Any],
  theirs: Mapping[str, Any],
  there: Mapping[str, Any],
) -> dict[str, Any]:
  a, b = mine[kind].get(name), theirs[kind].get(name)
  figure: dict[str, Any] = {
    "row": mine["name"],
    "kind": kind,
    "name": name,
    "here": _shown(a),
    "there": _shown(b),
    "difference": None,
    "overlap": None,
    "result": None,
  }
  if a is None or b is None:
    return figure
  if _other_examples(mine, kind, name, here, theirs, there):
    return figure | {"result": "other examples"}
  if not a["count"] or not b["count"]:
    return figure
  gap = difference(a, b)
  figure["difference"] = gap
  low, high = gap["low"], gap["high"]
  if low is None or high is None:
    return figure
  figure["overlap"] = a["low"] <= b["high"] and b["low"] <= a["high"]
  if all(a[key] == b[key] for key in ("value", "low", "high")):
    figure["result"] = "same"
  elif low > 0:
    figure["result"] = "higher"
  else:
    figure["result"] = "lower" if high < 0 else "unclear"
  return figure


def _shown(entry: Mapping[str, Any] | None) -> dict[str, Any] | None:
  if entry is None:
    return None
  return {key: entry.get(key) for key in ("value", "low", "high", "count")}


def _other_examples(
  mine: Mapping[str, Any],
  kind: str,
  name: str,
  here: Mapping[str, Any],
  theirs: Mapping[str, Any],
  there: Mapping[str, Any],
) -> bool:
  """Whether a figure was taken on other examples there.

  The examples' digest tells; where a report has none, the fingerprint of the
  data set that they are from and their number do.
  """
  key = name if kind == "probes" else "dialogue"
  digests = [(row.get("examples") or {}).get(key) for row in (mine, theirs)]
  if all(digests):
    return digests[0] != digests[1]
  if kind == "probes":
    prints = [
      (report["data"].get("probes") or {}).get(name, {}).get("fingerprint")
      for report in (here, there)
    ]
  else:
    prints = [
      _data(row, report).get(_DIALOGUES)
      for row, report in ((mine, here), (theirs, there))
    ]
  if all(prints) and prints[0] != prints[1]:
    return True
  fixed = kind == "probes" or name in _FIXED_COUNTS
  return fixed and mine[kind][name]["count"] != theirs[kind][name]["count"]


def _data(
  row: Mapping[str, Any], report: Mapping[str, Any]
) -> Mapping[str, str]:
  """Data set -> fingerprint, as far as that is known of a row."""
  whole = report["data"].get("fingerprint")
  return {
    **(whole if isinstance(whole, Mapping) else {}),
    **(row.get("data") or {}),
  }


def _warnings(here, there, pairs, figures) -> list[str]:
  """What speaks against comparing the two."""
  warnings = []
  known = [(_data(mine, here), _data(theirs, there)) for mine, theirs in pairs]
  changed = {
    name for a, b in known for name in a.keys() & b.keys() if a[name] != b[name]
  }
  if changed:
    warnings.append(
      "The two were made from different data: the fingerprints of "
      f"{', '.join(sorted(changed))} differ. Figures from different data "
      "cannot be compared: a difference may be the data's, not the model's."
    )
  other = dict.fromkeys(
    figure["name"] for figure in figures if figure["result"] == "other examples"
  )
  if other:
    warnings.append(
      f"Measured on other examples there: {', '.join(other)}. No difference is "
      "taken of these."
    )
  if not pairs:
    warnings.append("No row is in both reports: nothing is compared.")
  return warnings
