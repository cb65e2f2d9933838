"""The report's sections that look at the probes more closely."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from t5cr import terminal
from t5cr.study import drawing, plots_parts, plots_probes, variants
from t5cr.study.markdown import figure, interval, literal, table

Report = Mapping[str, Any]
Figures = Mapping[str, drawing.Figure]

_MINUS = "−"


def markdown(report: Report, figures: Figures) -> str:
  """The sections that the report's rows are enough for.

  Args:
    report: what report.json holds.
    figures: what `plots_probes.write` has drawn.

  Returns:
    Sections of Markdown.
  """
  sections = [
    _transfer(report, figures),
    _phrasings(report, figures),
    _by_mean(report),
    _parts(figures),
    _paired(report, figures),
    _leaks(report),
  ]
  return "\n\n".join(section for section in sections if section)


def _signed(value: float, digits: int = 3) -> str:
  return f"{value:+.{digits}f}".replace("-", _MINUS)


def _share(entry: Mapping[str, Any] | None) -> str:
  if entry is None:
    return "–"
  return f"{entry['value']:.3f} {interval(entry, 3)}"


def _section(title: str, *parts: str) -> str:
  return "\n\n".join([f"## {title}", *(part for part in parts if part)])


def _transfer(report: Report, figures: Figures) -> str:
  """The recommendation pairs without dialogue around them."""
  probe = variants.SEQUENCE_PROBE
  rows = [row for row in report["rows"] if probe in row["probes"]]
  if not rows:
    return ""
  published = report["paper"]["recommendation_sequence"]
  spoken = report["paper"]["table3"]["all"]["recommendation"]
  body = []
  for row in rows:
    gap = row.get("transfer")
    difference = "–"
    if gap:
      ends = f"({_signed(gap['low'])} to {_signed(gap['high'])})"
      difference = f"{_signed(gap['value'])} {ends}"
    body.append(
      [
        row["label"],
        _share(row["probes"].get("recommendation")),
        _share(row["probes"][probe]),
        difference,
      ]
    )
  header = ["Finetuning tasks", "In a dialogue", "As a sequence", "Difference"]
  words = (
    "The recommendation pairs in the words of the MovieLens sequences, without "
    "dialogue (paper, section 4.1). What is lost from there to the dialogue is "
    "what the model knows and does not say in a conversation. The paper's "
    f"model scores {published['all']:.4f} as a sequence and {spoken:.4f} in a "
    "dialogue, its matrix factorisation "
    f"{published['matrix_factorization']:.4f}, on pairs of its own. The "
    "difference is resampled as one, over the pairs that both have."
  )
  caption = (
    "**In a dialogue and as a sequence.** Lines through the dots are 95% "
    "intervals."
  )
  drawn = figure(figures, "transfer", caption)
  title = "In a dialogue and as a sequence"
  return _section(title, words, drawn, table(header, body))


def _phrasings(report: Report, figures: Figures) -> str:
  """How much the words matter in which a probe is asked."""
  rows = [row for row in report["rows"] if row.get("phrasings")]
  if not rows:
    return ""
  shown = [p for p in variants.PROBES if any(p in r["phrasings"] for r in rows)]
  body = [
    [row["label"], *(_phrased(row["phrasings"].get(p)) for p in shown)]
    for row in rows
  ]
  found = [row["phrasings"][p] for row in rows for p in row["phrasings"]]
  names = list(dict.fromkeys(name for entry in found for name in entry["by"]))
  counts = sorted({entry["count"] for entry in found})
  words = (
    f"The same probes in {len(names)} phrasings "
    f"({', '.join(literal(terminal.name(name)) for name in names)}; "
    "`paper` is Table 4's): mean over the phrasings ± their sample standard "
    "deviation, and in brackets the least and the most. "
    f"{' to '.join(f'{n:,}' for n in sorted({counts[0], counts[-1]}))} probes "
    "in each, the same in all: a random part of those of Table 3, so the "
    "figures differ from there. The paper tried others “with little effect on "
    "the probe results” (section 4.1)."
  )
  caption = (
    "**Phrasings.** A dot is a phrasing, the ringed one the paper's, the bar "
    "their mean."
  )
  drawn = figure(figures, "phrasings", caption)
  header = ["Finetuning tasks", *(variants.PROBES[p] for p in shown)]
  return _section("Other phrasings", words, drawn, table(header, body))


def _phrased(entry: Mapping[str, Any] | None) -> str:
  if entry is None:
    return "–"
  spread = "" if entry["spread"] is None else f" ± {entry['spread']:.3f}"
  ends = f"({entry['least']:.3f}–{entry['most']:.3f})"
  return f"{entry['mean']:.3f}{spread} {ends}"


def _sided(
  report: Report, side: str, probes: Sequence[str], cell: Callable
) -> str:
  """A table of probe scores taken another way; "" where none is known."""
  rows = [
    row
    for row in report["rows"]
    if any(side in entry for entry in row["probes"].values())
  ]
  shown = [
    p for p in probes if any(side in r["probes"].get(p, {}) for r in rows)
  ]
  if not shown:
    return ""
  body = [
    [row["label"], *(cell(row["probes"].get(p, {}), side) for p in shown)]
    for row in rows
  ]
  names = [variants.PROBES.get(p, "As a sequence") for p in shown]
  return table(["Finetuning tasks", *names], body)


def _changed(entry: Mapping[str, Any], side: str) -> str:
  """A score taken another way, and by how much that changes it."""
  if side not in entry:
    return "–"
  value = entry[side]["value"]
  change = round(value - entry["value"], 3)
  return f"{value:.3f} ({_signed(change) if change else '0'})"


# The candidates of the description probe are inputs: their target is the same.
_TARGETS_DIFFER = (
  "recommendation",
  "attribute",
  "combination",
  variants.SEQUENCE_PROBE,
)


def _by_mean(report: Report) -> str:
  """Scores by the mean log-likelihood, and ties."""
  body = _sided(report, "mean_loglik", _TARGETS_DIFFER, _changed)
  if not body:
    return ""
  ties = [
    f"{entry['ties']:,} of {entry['count']:,} {probe} probes of {row['label']}"
    for row in report["rows"]
    for probe, entry in row["probes"].items()
    if entry.get("ties")
  ]
  words = (
    "A long title has more tokens to be unlikely in. Here a candidate wins by "
    "the mean log-likelihood of its tokens in place of their sum; in brackets, "
    "by how much that changes the score. In the description probe both "
    "candidates are asked for the same sentence, so nothing changes. "
    f"Ties, which are not won: {'; '.join(ties) or 'none'}."
  )
  return _section("Sum and mean of the log-likelihood", words, body)


_DECILES = """\
**By the negative.** Probe scores by which tenth of the popular movies the
negative was drawn from. Where few movies are popular, a tenth is a movie or
two, and the score of a model that knows nothing is that of its title."""

_RANKS = """\
**By the related movie.** Probe scores by the rank of the related movie among
those of the movie asked about; of the description probe, by the sentence."""

_TAGS = f"""\
**By tag.** The tags that the last row wins most and least often, of those with
at least {plots_parts.LEAST_TAG_COUNT} probes. Lines are 95% intervals; where
every probe is won there is none. The ends of a list are the best and the worst
of many, so part of their distance is chance."""


def _parts(figures: Figures) -> str:
  """Scores by parts of the probes."""
  drawn = [
    figure(figures, name, caption)
    for name, caption in (
      ("deciles", _DECILES),
      ("ranks", _RANKS),
      ("tags", _TAGS),
    )
  ]
  if not any(drawn):
    return ""
  return _section("Which probes are won", *drawn)


def _paired(report: Report, figures: Figures) -> str:
  """The tests of every two rows."""
  paired = report.get("paired") or {}
  shown = [probe for probe, tests in paired.items() if tests]
  if not shown:
    return ""
  labels = {row["name"]: row["label"] for row in report["rows"]}
  found: dict[tuple[str, str], dict[str, str]] = {}
  for probe in shown:
    for test in paired[probe]:
      rows = (test["first"], test["second"])
      found.setdefault(rows, {})[probe] = _test(test)
  body = [
    [f"{labels[first]} : {labels[second]}"]
    + [cells.get(probe, "–") for probe in shown]
    for (first, second), cells in found.items()
  ]
  count = sum(len(paired[probe]) for probe in shown)
  words = (
    "Every two rows on the very same probes: how many only the first wins and "
    "how many only the second, and the p-value of McNemar's exact test, "
    f"adjusted by Holm for the {count} tests of this report; in bold below "
    f"{plots_probes.ALPHA}. The test takes probes for independent, which those "
    "about one movie are not, so its p-values are too small: trust a "
    "difference that the bootstrap over movies, whose intervals are in "
    "`report.json`, tells from 0 too. A ° marks those where it does not."
  )
  caption = (
    "**Every two rows.** Differences in points. Told apart: the adjusted p is "
    f"below {plots_probes.ALPHA}, and the bootstrap interval of the "
    "difference, over movies, does not hold 0."
  )
  drawn = figure(figures, "paired", caption)
  names = [variants.PROBES.get(probe, "As a sequence") for probe in shown]
  header = ["Rows", *names]
  return _section("Paired tests", words, drawn, table(header, body))


def _test(test: Mapping[str, Any]) -> str:
  p_value = test["p_adjusted"]
  said = f"p\u00a0=\u00a0{p_value:.3f}" if p_value < 1 else "p\u00a0=\u00a01"
  if p_value < 0.001:
    said = "p\u00a0<\u00a00.001"
  if p_value < plots_probes.ALPHA:
    said = f"**{said}**" + ("" if plots_probes.is_told_apart(test) else "°")
  return f"{test['first_only']:,}\u00a0:\u00a0{test['second_only']:,}, {said}"


def _leaks(report: Report) -> str:
  """How many of the probes' pairs a training dialogue names."""
  body = []
  for name, entry in report["data"]["probes"].items():
    if name.endswith(variants.PHRASINGS):
      continue
    leak = entry.get("leak")
    if leak is None:
      reason = entry["status"].removeprefix("skipped: ")
      body.append([name, "–", "–", reason])
    else:
      body.append(
        [
          name,
          f"{leak['pairs']:,}",
          f"{leak['named']:,}",
          f"{leak['share']:.1%}",
        ]
      )
  probes = (*variants.PROBES, variants.SEQUENCE_PROBE)
  without = _sided(report, "unnamed", probes, _changed)
  if not body and not without:
    return ""
  header = ["Probe", "Asked", "Named in a training dialogue", "Share"]
  words = (
    "Of what the probes ask about (a movie or a tag, with the related movie), "
    "the share that stands together in one training dialogue. Such probes "
    "could be answered from the dialogues alone."
  )
  scores = ""
  if without:
    scores = (
      "Probe scores without them; in brackets, by how much that changes "
      f"them.\n\n{without}"
    )
  asked = f"{words}\n\n{table(header, body)}" if body else ""
  return _section("What the dialogues give away", asked, scores)
