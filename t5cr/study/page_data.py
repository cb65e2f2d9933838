"""The end of the report: what it was made from, and how."""

from collections.abc import Mapping
from typing import Any

from t5cr.study.markdown import code, literal, table

# Digits of a SHA-256 that a page shows; report.json has them all.
_DIGITS = 12


def markdown(report: Mapping[str, Any]) -> str:
  """Counts and fingerprints of the data, settings, machine and versions.

  Args:
    report: what report.json holds.

  Returns:
    Sections of Markdown.
  """
  parts = [_counts(report), _fingerprints(report), _environment(report)]
  return "\n\n".join(part for part in parts if part)


def _sets(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
  """Data sets and probe sets by their names."""
  probes = report["data"]["probes"].items()
  return {
    **report["data"]["sets"],
    **{f"t5cr_probes/{name}": entry for name, entry in probes},
  }


def _counts(report: Mapping[str, Any]) -> str:
  """What each data set was read from, and what the probes were drawn from."""
  sets = _sets(report)
  if not sets:
    return ""
  body = []
  for name, entry in sets.items():
    if entry["status"].startswith("skipped"):
      reason = entry["status"].removeprefix("skipped: ")
      body.append([code(name), "not built", "", "", "", literal(reason)])
    for what, tally in entry["counts"].items():
      dropped = sum(tally["dropped"].values())
      body.append(
        [
          code(name),
          literal(what.replace("_", " ")),
          f"{tally['read']:,}",
          f"{tally['kept']:,}",
          f"{dropped:,}",
          _reasons(tally),
        ]
      )
  header = ["Data set", "What", "Read", "Kept", "Dropped", "Why, and notes"]
  words = "What each data set and each set of probes was made from."
  return f"## Data\n\n{words}\n\n{table(header, body)}"


def _reasons(tally: Mapping[str, Any]) -> str:
  """Why things were dropped, and in brackets what was peculiar."""
  words = [f"{count:,} {why}" for why, count in tally["dropped"].items()]
  words += [f"({count:,} {what})" for what, count in tally["noted"].items()]
  return literal("; ".join(words))


def _fingerprints(report: Mapping[str, Any]) -> str:
  """From the raw files' SHA-256 to the probes' fingerprints."""
  files = report["data"]["sources"] or {}
  prints = {
    name: entry["fingerprint"]
    for name, entry in _sets(report).items()
    if entry["fingerprint"]
  } or report["data"]["fingerprint"]
  if not prints:
    return ""
  body = [
    [code(name), code(digest[:_DIGITS])]
    for name, digest in [*files.items(), *prints.items()]
  ]
  words = (
    "The SHA-256 of each raw file; the fingerprint of each data set, which is "
    "a SHA-256 over its version, its options and its raw files; that of each "
    "probe set, over its version, its options and the data sets it is made "
    "from. The first digits; `report.json` has all. Rows with other "
    "fingerprints are not taken into one report."
  )
  header = ["What", "SHA-256"]
  return f"### Fingerprints\n\n{words}\n\n{table(header, body)}"


def _environment(report: Mapping[str, Any]) -> str:
  """Settings, machine and versions."""
  environment = report["environment"]
  facts = [
    ["System", environment["system"]],
    ["Processor", f"{environment['processor']}, {environment['cores']} cores"],
    ["Python", environment["python"]],
  ]
  packages = environment["packages"].items()
  facts.append(["Libraries", ", ".join(f"{k} {v}" for k, v in packages)])
  if report["settings"]:
    chosen = ", ".join(f"{k} = {v}" for k, v in report["settings"].items())
    facts.append(["Settings", chosen])
  body = [[name, literal(words)] for name, words in facts]
  words = "When it was made and how long that took is in `timing.json`."
  return f"## How it was made\n\n{table(['', ''], body)}\n\n{words}"
