"""The report as words and tables, in Markdown."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from t5cr import terminal
from t5cr.study import (
  claims,
  drawing,
  page_baselines,
  page_data,
  page_probes,
  variants,
)
from t5cr.study.markdown import code, figure, interval, literal, table

_METRIC_LABELS = {
  "bleu": "BLEU",
  "bleu_single_token": "BLEU, titles as one token",
  "bleu_sentence": "BLEU, mean of sentences",
  "recall": "Recall",
  "recall_at_1_turn": "Recall in the same turn",
  "title_validity": "Titles that exist",
}


# With spaces that do not break.
_RESULTS = {True: "✓\u00a0met", False: "✗\u00a0not\u00a0met", None: "–"}


def markdown(
  report: Mapping[str, Any],
  figures: Mapping[str, drawing.Figure],
  comparison: str = "",
) -> str:
  """The report as Markdown; figures lie beside it; `comparison` goes in."""
  report = _escaped(report)
  sections = [
    _opening(report),
    comparison,
    _table_3(report),
    figure(figures, "scores", _FIGURE_3),
    figure(figures, "changes", _CHANGES),
    _claims(report),
    _table_2(report),
    _metrics(report),
    page_baselines.markdown(report),
    page_probes.markdown(report, figures),
    _replies(report),
    page_data.markdown(report),
  ]
  return "\n\n".join(section for section in sections if section) + "\n"


def _escaped(report: Mapping[str, Any]) -> dict[str, Any]:
  """The same with the names that somebody gave to rows and engines as text."""

  def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    engine = row.get("engine")
    return {
      **row,
      "label": literal(terminal.name(row["label"])),
      "engine": literal(terminal.name(engine)) if engine else engine,
    }

  return {
    **report,
    "rows": [shown(row) for row in report["rows"]],
    "baselines": [shown(row) for row in report.get("baselines", ())],
  }


_FIGURE_3 = """\
**Figure 3.** The scores of Table 3. Lines on the bars are 95% intervals,
diamonds the paper's figures; the dashed line is a coin's score."""

_CHANGES = """\
**Change against ReDial only.** How much each row changes a probe score, as a
share of the row finetuned on ReDial only. Both rows are resampled together, so
these intervals are of the change itself."""


def _opening(report: Mapping[str, Any]) -> str:
  corpus = report["corpus"]
  rows = report["rows"]
  lines = ["# T5-CR: what each task taught the dialogue"]
  if corpus["invented"]:
    lines.append(
      "> **An invented corpus.** The movies, people, dialogues and reviews of "
      "this study do not exist: they come from `t5cr data sample`. It shows "
      "that the system works and that knowledge crosses from task to task; "
      "its figures say nothing about real movies or real conversations."
    )
  elif corpus["name"]:
    lines.append(f"The corpus is {code(corpus['name'])}.")
  labels = ", ".join(f"{row['label']}" for row in rows) or "none"
  lines.append(
    f"Rows in this report: {labels}. Written by t5cr {report['version']}. The "
    "paper is *Multi-Task End-to-End Training Improves Conversational "
    "Recommendation* "
    "([arXiv:2305.06218](https://arxiv.org/abs/2305.06218))."
  )
  if report["omitted"]:
    lines.append("Rows that are not here:")
    lines.append(
      "\n".join(
        f"- **{row['label']}**: {row['reason']}." for row in report["omitted"]
      )
    )
  if any(row["run"].get("pretrained") is False for row in rows):
    lines.append(_from_scratch(rows))
  return "\n\n".join(lines)


def _from_scratch(rows: Sequence[Mapping[str, Any]]) -> str:
  sizes = {row["run"].get("parameters") for row in rows} - {None}
  size = f" ({max(sizes) / 1e6:.1f} million parameters)" if sizes else ""
  return (
    f"The models here{size} are not the paper's, which is a pretrained T5 of "
    "220 million parameters finetuned for 40,000 steps: compare the direction "
    "and order of differences, not the figures. They start from random "
    "parameters, so “None (T5)” is here a model that has learned nothing."
  )


def _best(rows: Sequence[Mapping[str, Any]], probe: str) -> float:
  return max(r["probes"][probe]["value"] for r in rows if probe in r["probes"])


def _table_3(report: Mapping[str, Any]) -> str:
  """Probe scores with intervals, the paper's beside them."""
  rows = [row for row in report["rows"] if row["probes"]]
  if not rows:
    return ""
  shown = variants.measured_probes(rows)
  engines = variants.has_other_engines(rows)
  header = ["Finetuning tasks", *(["Engine"] if engines else [])]
  for probe in shown:
    header += [f"{variants.PROBES[probe]} probe", "Paper"]
  body = []
  for row in rows:
    line = [row["label"], *([row["engine"] or "–"] if engines else [])]
    published = report["paper"]["table3"].get(row["name"], {})
    for probe in shown:
      entry = row["probes"].get(probe)
      if entry is None:
        line.append("–")
      else:
        value = f"{entry['value']:.3f}"
        if entry["value"] == _best(rows, probe):
          value = f"**{value}**"
        line.append(f"{value} {interval(entry, 3)}")
      line.append(f"*{published[probe]:.4f}*" if probe in published else "")
    body.append(line)
  counts = ", ".join(
    f"{entry['count']:,} {probe}"
    for probe in shown
    if (entry := next(r["probes"][probe] for r in rows if probe in r["probes"]))
  )
  caption = (
    "**Table 3.** Probe scores: the share of probes in which the model finds "
    "the related candidate more likely than a popular one drawn at random; "
    "0.5 is a coin's score, a tie is not won. Below it the model prefers what "
    "is popular to what is related. In bold the best of a column, in "
    f"italics the paper's figures. Probes: {counts}. The 95% intervals "
    "are bootstrap percentiles over movies, since probes about one movie are "
    "not independent."
  )
  return f"## Probe scores\n\n{caption}\n\n{table(header, body)}"


def _claims(report: Mapping[str, Any]) -> str:
  """What the sample corpus is made to show, and whether it did."""
  if not report["corpus"]["invented"]:
    return ""
  body = [
    [claim.text, claim.detail, _RESULTS[claim.met]]
    for claim in claims.check(report)
  ]
  words = (
    "The sample corpus holds the structure that the paper's finding needs; "
    "these are the claims that it should bear out. `t5cr report --check` "
    "checks them."
  )
  return (
    f"## Claims\n\n{words}\n\n{table(['Claim', 'Measured', 'Result'], body)}"
  )


def _table_2(report: Mapping[str, Any]) -> str:
  rows = [row for row in report["rows"] if "bleu" in row["metrics"]]
  baselines = page_baselines.table_2_rows(report)
  if not rows and not baselines:
    return ""
  body = [
    [f"*{row['model']}*", f"*{row['kind']}*", "*published*"]
    + [f"*{row['bleu']:.2f}*", f"*{row['recall']:.2f}*"]
    for row in report["paper"]["table2"]
  ] + baselines
  for row in rows:
    line = [row["label"], _steps(row), "measured"]
    for name in ("bleu", "recall"):
      entry = row["metrics"][name]
      line.append(f"{entry['value']:.2f} {interval(entry, 2)}")
    body.append(line)
  header = ["Model", "Type", "Source", "BLEU", "Recall"]
  caption = (
    "**Table 2.** Dialogue quality on the validation dialogues. The rows "
    "marked *published* are the paper's figures on all of ReDial's, repeated "
    "here and not measured; ReDial and KBRD compute Recall in another way "
    "(over a ranking). BLEU is corpus BLEU of lowercased text with titles "
    "replaced; Recall is the percentage of the movies that the model named in "
    "a dialogue that the human recommended in that dialogue. Intervals are "
    "bootstrap percentiles over dialogues."
    + (f" {page_baselines.IN_TABLE_2}" if baselines else "")
  )
  return f"## Dialogue\n\n{caption}\n\n{table(header, body)}"


def _steps(row: Mapping[str, Any]) -> str:
  words = "T5" if row["steps"] is None else f"T5, {row['steps']:,} steps"
  return f"{words}, by t5x" if row["engine"] == "t5x" else words


def _metrics(report: Mapping[str, Any]) -> str:
  """Every dialogue metric of every row, with its count."""
  rows = [row for row in report["rows"] if row["metrics"]]
  if not rows:
    return ""
  names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
  body = []
  for name in names:
    line = [_METRIC_LABELS.get(name, name)]
    for row in rows:
      entry = row["metrics"].get(name)
      if entry is None:
        line.append("–")
        continue
      count = f"n\u00a0=\u00a0{entry['count']:,}"
      if not entry["count"]:
        line.append(f"– {count}")
        continue
      line.append(f"{entry['value']:.2f} {interval(entry, 2)} {count}")
    body.append(line)
  caption = (
    "All dialogue metrics, from 0 to 100, with 95% intervals and what each is "
    "taken over: n responses for BLEU, movies that the model generated for "
    "Recall and for titles that exist, movies in the human's responses for "
    "Recall in the same turn."
  )
  header = ["Metric", *(row["label"] for row in rows)]
  return f"{caption}\n\n{table(header, body)}"


def _replies(report: Mapping[str, Any]) -> str:
  """The same turns, as the human and as each row answers them."""
  if not report["replies"]:
    return ""
  labels = {row["name"]: row["label"] for row in report["rows"]}
  parts = ["## Replies"]
  parts.append(
    "The first validation turns in which the human names a movie, one a "
    "dialogue. They are not chosen for being good."
  )
  for turn in report["replies"]:
    said = re.sub(r"\s*(\[(?:user|assistant)\])", r"\n\1", turn["context"])
    said = "\n> ".join(literal(line) for line in said.strip().split("\n"))
    parts.append("> " + said.replace("\n> ", "  \n> "))
    lines = [["*the human*", literal(turn["human"])]]
    lines += [
      [labels[name], literal(reply) or "*(nothing)*"]
      for name, reply in turn["replies"].items()
    ]
    body = "\n".join(f"- {who}: {words}" for who, words in lines)
    parts.append(body)
  return "\n\n".join(parts)
