"""Hand-made run folders of baselines."""

import json
import pathlib

import run_folders

from t5cr.study import variants
from t5cr.study.baselines import build, folder


def write(
  directory: pathlib.Path,
  name: str,
  share: float = 0.25,
  data: dict[str, str] | None = None,
) -> None:
  """The folder of a baseline that wins a share of its probes.

  On dialogues it gives `share` of the human's responses, on the same examples
  as the rows of `run_folders`.
  """
  baseline = build.BASELINES[name]
  evaluated = directory / "inference_eval"
  for task in baseline.tasks:
    if task == variants.DIALOGUE_TASK:
      lines = run_folders.dialogue_lines(share)
    else:
      probe = task.removeprefix(variants.PROBE_TASK_PREFIX)
      lines = run_folders.probe_lines(probe, share)
    written = {"step": folder.STEP}
    run_folders.write_lines(evaluated / f"{task}-metrics.jsonl", [written])
    path = evaluated / f"{task}-{folder.STEP:06}.jsonl"
    run_folders.write_lines(path, lines)
  about = {
    "engine": folder.ENGINE,
    "label": baseline.label,
    "settings": {"version": 1, "options": {}, "data": data or {}},
  }
  (directory / "run.json").write_text(json.dumps(about))
