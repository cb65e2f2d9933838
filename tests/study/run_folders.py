"""Hand-made run folders, in the layout that seqio writes."""

import json
import pathlib
import zlib

import numpy as np

from t5cr.study import variants

# What the hand-made rows score: near the paper's Table 3.
ACCURACY = {name: dict(row.paper) for name, row in variants.ROWS.items()}


def write_lines(path: pathlib.Path, lines: list[dict]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def probe_lines(
  probe: str,
  accuracy: float,
  movies: int = 30,
  each: int = 10,
  seed: int = 0,
  template: str = "paper",
) -> list[dict]:
  """Two lines a probe; the related candidate wins `accuracy` of them."""
  count = movies * each
  won = np.random.default_rng(seed).permutation(count) < accuracy * count
  lines = []
  for probe_id in range(count):
    target = {
      "probe_id": probe_id,
      "rank": probe_id % each,
      "tag": "space" if probe in ("attribute", "combination") else "",
      "movie": "" if probe == "attribute" else f"Movie {probe_id // each}",
      "related": f"Related {probe_id % 40} (1990)",
      "negative": "Popular (1991)",
      "template": template,
      "decile": probe_id % 10 + 1,
      "named": int(probe_id % 50 == 0),
      "target_tokens": 12,
    }
    for candidate in (0, 1):
      better = won[probe_id] == (candidate == 0)
      lines.append(
        {
          "input": {"inputs_pretokenized": "redial conversation: …"},
          "target": target | {"candidate": candidate},
          "score": -10.0 if better else -12.0,
        }
      )
  return lines


def dialogue_lines(quality: float, dialogues: int = 20) -> list[dict]:
  """Two turns a dialogue; in a share `quality` the model says the same."""
  lines = []
  for number in range(dialogues):
    good = number < quality * dialogues
    title = f"@ Movie {number} (1990) @"
    for turn, text in (
      (1, f"You should see {title} soon"),
      (3, "Have a nice evening, enjoy the movie!"),
    ):
      lines.append(
        {
          "input": {
            "inputs_pretokenized": "redial conversation: [user] Hello there. "
            "[assistant] Hi! What do you like? [user] Anything *odd* | strange"
          },
          "target": {
            "text": text,
            "dialogue_id": str(number),
            "turn": turn,
            "recommended": [f"Movie {number} (1990)"],
          },
          "prediction": text.lower() if good else "i like @ nothing (1900) @",
        }
      )
  return lines


def write_run(directory: pathlib.Path, name: str, step: int = 100) -> None:
  """A run folder of a row that scores what the paper's does."""
  evaluated = directory / "inference_eval"
  evaluated.mkdir(parents=True, exist_ok=True)
  about = {"engine": "t5cr", "parameters": 1_500_000, "seed": 0}
  (directory / "run.json").write_text(json.dumps(about))
  quality = 0.8 if name == "all" else 0.4
  task = variants.DIALOGUE_TASK
  write_lines(evaluated / f"{task}-metrics.jsonl", [{"step": step, "bleu": 9}])
  lines = dialogue_lines(quality)
  write_lines(evaluated / f"{task}-{step:06}.jsonl", lines)
  accuracy = ACCURACY[name] | {"recommendation_sequence": 0.7}
  for probe, share in accuracy.items():
    seed = zlib.crc32(f"{name} {probe}".encode())
    lines = probe_lines(probe, share, seed=seed)
    task = variants.PROBE_TASK_PREFIX + probe
    written = {"step": step, "accuracy": share, "count": 300, "ties": 0}
    write_lines(evaluated / f"{task}-metrics.jsonl", [written])
    write_lines(evaluated / f"{task}-{step:06}.jsonl", lines)
  for probe, share in ACCURACY[name].items():
    lines = []
    for place, template in enumerate(("paper", "short", "mood")):
      lines += probe_lines(
        probe, share - 0.1 * place, movies=5, template=template
      )
    task = variants.PROBE_TASK_PREFIX + probe + variants.PHRASINGS
    write_lines(evaluated / f"{task}-metrics.jsonl", [{"step": step}])
    write_lines(evaluated / f"{task}-{step:06}.jsonl", lines)


def record(inputs: dict, result: object, seconds: float = 61.0) -> str:
  """A stage's record, done."""
  values = {"inputs": inputs, "result": result, "state": "done"}
  return json.dumps(values | {"seconds": seconds})


def write_study(out: pathlib.Path) -> None:
  """The folder of a study of the sample corpus; row redial_tags is left out."""
  (out / "stages").mkdir(parents=True)
  chosen = {"corpus": "sample", "preset": "sample", "seed": 0, "steps": None}
  (out / "study.json").write_text(json.dumps({"settings": chosen}))
  tally = {"read": 12, "kept": 10, "dropped": {"empty": 2}, "noted": {}}
  data = {
    name: {
      "status": "built",
      "counts": {"dialogues": tally},
      "fingerprint": name,
    }
    for name in (variants.REDIAL, variants.SEQUENCES, variants.TAGS)
  }
  data[variants.REVIEWS] = {
    "status": "skipped: no reviews.csv",
    "counts": {},
    "fingerprint": None,
  }
  probes = {
    name: {
      "status": "built",
      "counts": {"probes": tally},
      "fingerprint": name,
      "leak": {"pairs": 300, "named": 6, "share": 0.02},
    }
    for name in (*variants.PROBES, variants.SEQUENCE_PROBE)
  }
  stage = out / "stages"
  (stage / "data.json").write_text(record({"redial/x": "aa"}, data))
  (stage / "probes.json").write_text(record({"min_count": 10}, probes))
  for name in variants.ROWS:
    if name != "redial_tags":
      write_run(out / "rows" / name, name)
      (stage / f"row_{name}.json").write_text(record({}, {}))
