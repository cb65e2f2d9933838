"""The README.md of an exported model: what it is, what was measured, terms.

Only what the run folder holds is stated: where nothing was measured, the card
says so.
"""

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from t5cr import errors, nested, terminal
from t5cr.engine import formats
from t5cr.engine.config import T5Config
from t5cr.study import collect, stages
from t5cr.study.markdown import code, literal, row

_DOCUMENTED = "https://arxiv.org/abs/2305.06218"
_TERMS = {
  "t5cr_redial": "ReDial (Li et al. 2018): CC BY 4.0.",
  "t5cr_movielens": (
    "MovieLens 25M (Harper and Konstan 2015) with the tag genome (Vig et al. "
    "2012): for research only; no commercial use without permission, no "
    "redistribution of the data."
  ),
  "t5cr_reviews": (
    "Movie reviews (Penha and Hauff 2020): no licence is stated, and the texts "
    "are third parties'; do not redistribute them."
  ),
}
# Counts of other values, and what a line is about.
_NO_METRICS = re.compile(r"step|count|ties|.*_count")
_FOLDER_MACRO = re.compile(r"\w*(DIR|DIRS)\b")
_PATH_MACRO = re.compile(r"\w*PATH\b.*['\"]", re.DOTALL)
_ROOTED = re.compile(r"['\"][/~]")


@dataclasses.dataclass(frozen=True)
class Run:
  """What a run folder says of the exported step.

  Attributes:
    step: of the checkpoint that is exported.
    metrics: task -> what its evaluation at that step wrote.
    about: content of run.json; empty for runs of t5x.
    macros: the macros of config.gin, as text.
  """

  step: int | None = None
  metrics: Mapping[str, Mapping[str, Any]] = dataclasses.field(
    default_factory=dict
  )
  about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  macros: str = ""


def read_run(folder: str | os.PathLike[str], step: int) -> Run:
  """Reads a run folder, of this engine or of t5x.

  Args:
    folder: the run folder, local or gs://; what it lacks is left empty.
    step: of the checkpoint; only what was measured at it is read.

  Raises:
    UsageError: a file in it is damaged.
  """
  directory = epath.Path(folder)
  metrics = {}
  for path in formats.starting(directory / "inference_eval", ""):
    if not path.name.endswith("-metrics.jsonl"):
      continue
    for line in collect.read_lines(path):
      if line.get("step") == step:
        metrics[path.name.removesuffix("-metrics.jsonl")] = line
  config = directory / "config.gin"
  return Run(
    step,
    metrics,
    stages.read_object(directory / "run.json"),
    _macros(config.read_text("utf-8")) if config.exists() else "",
  )


def _macros(config: str) -> str:
  """The macros of an operative gin configuration, without local paths."""
  _, _, rest = config.partition("# Macros:\n")
  section = rest.partition("\n# Parameters for")[0]
  # A value may go on over several lines, which are indented.
  entries = re.findall(r"^\w.*(?:\n[ \t]+.*)*", section, re.MULTILINE)
  return "\n".join(text for text in entries if not _is_of_machine(text))


def _is_of_machine(macro: str) -> bool:
  """Whether a macro's text says where things lie on the machine that trained.

  That says nothing to others. A checkpoint on gs:// does.
  """
  is_local_path = _PATH_MACRO.match(macro) and not _is_remote(macro)
  return bool(
    _FOLDER_MACRO.match(macro) or is_local_path or _ROOTED.search(macro)
  )


def _is_remote(path: str) -> bool:
  return "://" in path


def model_card(
  name: str,
  config: T5Config,
  run: Run | None = None,
  *,
  base_model: str | None = None,
  datasets: Sequence[str] = (),
) -> str:
  """The text of README.md.

  Args:
    name: of the model, for the title.
    config: the model's shape.
    run: what is known of the run; None where there is no run folder.
    base_model: Hub name of the model that it was finetuned from.
    datasets: Hub names of its data sets. A run does not record them: the data
      sets of this project have the same names for every corpus.
  """
  run = run or Run()
  try:
    return _card(name, config, run, base_model, datasets)
  except (AttributeError, TypeError, ValueError) as error:
    raise errors.UsageError(
      f"The run.json beside the checkpoint of {name} is not what a run writes "
      f"({error!r:.120}). Move it away, and the card says less."
    ) from error


def _card(
  name: str,
  config: T5Config,
  run: Run,
  base_model: str | None,
  datasets: Sequence[str],
) -> str:
  sections = [
    _front_matter(name, run, base_model, datasets),
    f"# {literal(name)}",
    _description(config, run),
    _usage(run),
    _results(run),
    _recipe(run, base_model),
    _data(run),
  ]
  return "\n\n".join(sections) + "\n"


def _sources(run: Run) -> dict[str, str]:
  """The data sets that the run trained on, with their fingerprints."""
  settings = run.about.get("settings", {})
  data = settings.get("data", run.about.get("data", {}))
  return {
    name: digest
    for name, digest in sorted(data.items())
    if name.startswith(tuple(_TERMS))
  }


def _licence(run: Run) -> list[str]:
  """The Hub's name of the terms; "other" unless they are known and free."""
  sources = _sources(run)
  if sources and all(name.startswith("t5cr_redial") for name in sources):
    return ["license: cc-by-4.0"]
  return ["license: other", "license_name: terms-of-the-training-data"]


def _front_matter(
  name: str, run: Run, base_model: str | None, datasets: Sequence[str]
) -> str:
  """The metadata that the Hub reads. Strings are JSON's, which YAML takes."""
  lines = [
    "---",
    "language: en",
    *_licence(run),
    "library_name: transformers",
    "pipeline_tag: text2text-generation",
    "tags:",
    *(f"- {tag}" for tag in ("t5", "t5cr", "conversational-recommendation")),
  ]
  if base_model:
    lines.append(f"base_model: {json.dumps(base_model)}")
  if datasets:
    lines += ["datasets:", *(f"- {json.dumps(data)}" for data in datasets)]
  if run.metrics:
    lines += ["model-index:", f"- name: {json.dumps(name)}", "  results:"]
  for task, values in run.metrics.items():
    lines += [
      "  - task:",
      "      type: text2text-generation",
      "    dataset:",
      f"      name: {json.dumps(task)}",
      f"      type: {json.dumps(task)}",
      "    metrics:",
    ]
    for metric, value, _ in _measured(values):
      lines += [f"    - type: {json.dumps(metric)}", f"      value: {value}"]
  return "\n".join([*lines, "---"])


def _measured(values: Mapping[str, Any]) -> list[tuple[str, float, Any]]:
  """(metric, value, count or None) of an evaluation."""
  return [
    (metric, value, _count(values, metric))
    for metric, value in values.items()
    if not _NO_METRICS.fullmatch(metric) and _is_finite(value)
  ]


def _is_finite(value: Any) -> bool:
  """Whether a value is a number that Markdown and YAML can say."""
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  return is_number and abs(value) < 1e300  # neither NaN nor infinite


def _count(values: Mapping[str, Any], metric: str) -> int | float | None:
  count = values.get(f"{metric}_count", values.get("count"))
  return count if _is_finite(count) else None


def _description(config: T5Config, run: Run) -> str:
  version = "1.0" if config.logits_via_embedding else "1.1"
  parameters = run.about.get("parameters")
  size = ""
  if isinstance(parameters, int) and parameters:
    size = f", {parameters:,} parameters"
  return (
    f"A T5 {version} ({config.num_encoder_layers} + "
    f"{config.num_decoder_layers} layers, width {config.emb_dim}{size}) that "
    "holds a conversation and recommends movies, made with T5-CR. The method: "
    "[Multi-Task End-to-End Training Improves Conversational "
    f"Recommendation]({_DOCUMENTED})."
  )


def _target_length(run: Run) -> int:
  lengths = (
    run.about.get("settings", {})
    .get("TrainData", {})
    .get("task_feature_lengths", {})
  )
  length = lengths.get("targets")
  # It goes into code that readers copy.
  return length if isinstance(length, int) else 128


def _usage(run: Run) -> str:
  return f"""## Use

```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

folder = "."  # this folder, or its name on the Hub
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSeq2SeqLM.from_pretrained(folder)

text = "redial conversation: [user] I liked @ Alien (1979) @. What else?"
inputs = tokenizer(text.lower(), return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens={_target_length(run)})
print(tokenizer.decode(tokens[0], skip_special_tokens=True))
```

The input is lowercase and one line: `redial conversation: ` and the turns so
far, each behind `[user]` or `[assistant]`, the user's last. Titles stand
between @, with the year. So do those in the reply, which the model writes word
by word: it can name a movie that does not exist."""


def _results(run: Run) -> str:
  if not run.metrics:
    step = "" if run.step is None else f" of step {run.step:,}"
    return f"## Results\n\nNo measured metrics{step} came with this model."
  lines = [
    "## Results",
    "",
    f"Measured by the run itself at step {run.step:,}, on its validation data.",
    "BLEU is from 0 to 100, recall and title validity are percentages, the",
    "accuracy of a probe is from 0 to 1.",
    "",
    "| Task | Metric | Value | Over |",
    "|---|---|---|---|",
  ]
  for task, values in run.metrics.items():
    for metric, value, count in _measured(values):
      over = "" if count is None else f"{count:,}"
      cells = [code(task), code(metric), f"{value:.4g}", over]
      lines.append(row(cells))
  return "\n".join(lines)


def _recipe(run: Run, base_model: str | None) -> str:
  settings = run.about.get("settings", {})
  lines = ["## Recipe", ""]
  given = str(settings.get("initial_checkpoint_path") or "")
  start = given if given and _is_remote(given) else base_model
  if start:
    lines.append(f"Finetuned from {code(start)}.")
  elif given:
    lines.append("Finetuned from a checkpoint; which one is not recorded here.")
  elif settings:
    lines.append("Trained from random weights.")
  if run.macros:
    macros = terminal.clean(run.macros)
    # Longer than any in it, which would end it.
    longest = max(map(len, re.findall("`+", macros)), default=0)
    fence = "`" * max(3, longest + 1)
    lines += ["", "The gin macros of the run:", "", fence, macros, fence]
  elif settings:
    told = settings.keys() - {"data", "initial_checkpoint_path"}
    flat = nested.flat({k: v for k, v in settings.items() if k in told})
    lines += ["", "| Setting | Value |", "|---|---|"]
    lines += [row([code(key), code(value)]) for key, value in flat.items()]
  else:
    lines.append("No record of the training came with this model.")
  versions = run.about.get("versions", {})
  if versions:
    told = literal(", ".join(f"{k} {v}" for k, v in versions.items()))
    lines += ["", f"With {told}."]
  return "\n".join(lines)


def _data(run: Run) -> str:
  sources = _sources(run)
  lines = ["## Data and licences", ""]
  if sources:
    lines += ["| Data set | Fingerprint |", "|---|---|"]
    lines += [
      row([code(name), code(str(digest)[:16])])
      for name, digest in sources.items()
    ]
    lines += [
      "",
      "The names are the same for every corpus, the invented sample too, which",
      "has no terms of its own. Of the real data:",
      "",
    ]
  else:
    lines += [
      "The data that this model was trained on is not recorded here. The tasks",
      "of T5-CR read:",
      "",
    ]
  prefixes = [p for p in _TERMS if any(s.startswith(p) for s in sources)]
  lines += [f"- {_TERMS[prefix]}" for prefix in prefixes or _TERMS]
  lines += [
    "",
    "What a model learned from data may be bound by the terms of the data.",
  ]
  return "\n".join(lines)
