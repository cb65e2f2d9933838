"""The report's section on baselines: what the figures are worth."""

from collections.abc import Mapping, Sequence
from typing import Any

from t5cr.study import variants
from t5cr.study.markdown import interval, table

_NOTES = {
  "popularity": (
    "scores a candidate by how many runs of the MovieLens sequences it is in, "
    "whatever is asked; of the description probe, the movie that the question "
    "is about. The negatives are popular movies, so it loses nearly always by "
    "construction: that is what a model scores that prefers what is popular."
  ),
  "cooccurrence": (
    "scores a candidate by how many runs it is in together with the movie "
    "asked about. PMI² itself would win every probe but for ties by "
    "construction, since the related movies are those of highest PMI², and is "
    "no baseline."
  ),
  "als": (
    "scores a candidate by the cosine of its factors and those of the movie "
    "asked about (alternating least squares on users and movies)."
  ),
  "bpr": (
    "does the same with the factors of Bayesian personalised ranking, without "
    "the bias that it learns for each movie, which is its popularity."
  ),
  "tag_overlap": (
    "does not see the tag that is asked for, which would answer every probe "
    "by construction. Of the attribute probe it scores how well the "
    "candidate's other tags go with that tag among all other movies; of the "
    "combination probe, how many of its other tags the movie asked about has "
    "too (Jaccard)."
  ),
  "most_frequent": (
    "gives the response that is most frequent in the training dialogues, "
    "always."
  ),
  "retrieval": (
    "gives the response to the training context that is nearest by BM25."
  ),
}

IN_TABLE_2 = (
  "Rows of the type *baseline* are no language model; see *What the figures "
  "are worth*."
)

_METRICS = {
  "bleu": "BLEU",
  "bleu_single_token": "BLEU, titles as one token",
  "recall": "Recall",
  "recall_at_1_turn": "Recall in the same turn",
}


def markdown(report: Mapping[str, Any]) -> str:
  """The baselines beside the best row and the row of all tasks.

  Args:
    report: what report.json holds.

  Returns:
    A section of Markdown; empty where no baseline was measured.
  """
  baselines = report.get("baselines", ())
  if not baselines:
    return ""
  words = (
    "Baselines that are no language model answer the very same probes and "
    "dialogues. Those on the probes learn from the MovieLens sequences and "
    "tags that the probes are made from, as tables; a row learns the same as "
    "text and answers in a dialogue. Their hyperparameters were not tuned on "
    "the probes, of which no part is held out."
  )
  notes = "\n".join(
    f"- **{entry['label']}** {_NOTES[entry['name']]}"
    for entry in baselines
    if entry["name"] in _NOTES
  )
  rows = report["rows"]
  parts = [
    "## What the figures are worth",
    words,
    _probes(report, [b for b in baselines if b["probes"]], rows),
    _dialogue([b for b in baselines if b["metrics"]], rows),
    notes,
  ]
  return "\n\n".join(part for part in parts if part)


def table_2_rows(report: Mapping[str, Any]) -> list[list[str]]:
  """The baselines' rows of Table 2: model, type, source, BLEU and Recall."""
  return [
    [
      entry["label"],
      "baseline",
      "measured",
      *(_cell(entry["metrics"].get(name), 2) for name in ("bleu", "recall")),
    ]
    for entry in report.get("baselines", ())
    if "bleu" in entry["metrics"]
  ]


def _cell(entry: Mapping[str, Any] | None, digits: int) -> str:
  """A value with its interval; a dash where there was nothing to count."""
  if entry is None or not entry["count"]:
    return "–"
  value = f"{entry['value']:.{digits}f} {interval(entry, digits)}"
  ties = entry.get("ties")
  if not ties:
    return value
  return f"{value}, {ties:,} {'tie' if ties == 1 else 'ties'}"


def _probes(
  report: Mapping[str, Any],
  baselines: Sequence[Mapping[str, Any]],
  rows: Sequence[Mapping[str, Any]],
) -> str:
  """Probe scores of the baselines, the best row and the row of all tasks."""
  if not baselines:
    return ""
  shown = variants.measured_probes([*baselines, *rows])
  body = [
    [b["label"], *(_cell(b["probes"].get(probe), 3) for probe in shown)]
    for b in baselines
  ]
  published = report["paper"]["recommendation_sequence"]
  factorised = f"*{published['matrix_factorization']:.4f}*"
  body.append(
    ["*Matrix factorisation, the paper's*"]
    + [factorised if probe == "recommendation" else "" for probe in shown]
  )
  if rows:
    body.append(["Best row here", *(_best(rows, probe) for probe in shown)])
  body += [
    [row["label"], *(_cell(row["probes"].get(probe), 3) for probe in shown)]
    for row in rows
    if row["name"] == "all"
  ]
  counts = ", ".join(
    f"{_count([*baselines, *rows], probe):,} {probe}" for probe in shown
  )
  caption = (
    "**Baselines on the probes.** The share of probes won; a tie is no win, "
    f"and ties are counted. Probes: {counts}. Intervals as in Table 3. A dash: "
    "not measured, or the probe asks nothing that the baseline could answer. "
    "In italics the paper's figure, on its pairs."
  )
  header = ["", *(variants.PROBES[probe] for probe in shown)]
  return f"{caption}\n\n{table(header, body)}"


def _best(rows: Sequence[Mapping[str, Any]], probe: str) -> str:
  """The best score of the rows, and whose it is."""
  measured = [row for row in rows if probe in row["probes"]]
  if not measured:
    return "–"
  best = max(measured, key=lambda row: row["probes"][probe]["value"])
  return f"{_cell(best['probes'][probe], 3)}, {best['label']}"


def _count(entries: Sequence[Mapping[str, Any]], probe: str) -> int:
  found = (entry["probes"].get(probe) for entry in entries)
  return next(entry["count"] for entry in found if entry)


def _dialogue(
  baselines: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> str:
  """Dialogue metrics of the baselines and of the row of all tasks."""
  if not baselines:
    return ""
  rows = [row for row in rows if row["metrics"]]
  chosen = [row for row in rows if row["name"] == "all"] or rows[-1:]
  entries = [*baselines, *chosen]
  body = [
    [words, *(_cell(entry["metrics"].get(name), 2) for entry in entries)]
    for name, words in _METRICS.items()
    if any(name in entry["metrics"] for entry in entries)
  ]
  caption = (
    "**Baselines on the dialogues**, from 0 to 100, as in Table 2. A dash: no "
    "movie was named. With titles as one token, BLEU no longer counts the five "
    "tokens into which the paper's placeholder is taken apart, and which match "
    "wherever both texts name a movie."
  )
  header = ["", *(entry["label"] for entry in entries)]
  return f"{caption}\n\n{table(header, body)}"
