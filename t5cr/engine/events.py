"""What happened to a run besides training: MODEL_DIR/events.jsonl."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging
from etils import epath

from t5cr.engine import processes

FILE = "events.jsonl"

# Examples that are shown on the screen, and characters of each of their texts.
_SHOWN = 2
_CHARACTERS = 200

Texts = Callable[[Mapping[str, Any]], Sequence[Mapping[str, str]]]


class Events:
  """Writes a line for each event and says it on the screen.

  A line is a JSON object: `time`, `event`, `step`, and what belongs to it:
  `examples`, all texts of the batch, where a step was not finite.
  """

  def __init__(self, model_dir: str | os.PathLike, texts: Texts):
    """Opens nothing yet.

    Args:
      model_dir: the run folder.
      texts: a batch -> the texts of its examples.
    """
    self._path = epath.Path(model_dir) / FILE
    self._texts = texts

  def note(self, event: Mapping[str, Any]) -> None:
    """Notes an event; of several processes, the first does.

    Args:
      event: JSON values, and `batch`, which is turned into text.
    """
    if not processes.is_first():
      return
    record = dict(event)
    batch = record.pop("batch", None)
    if batch is not None:
      record["examples"] = self._texts(batch)
    logging.warning("%s", _told(record, self._path))
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    line = json.dumps({"time": now, **record}) + "\n"
    try:
      self._append(line.encode())
    except OSError as error:
      logging.warning("%s could not be written: %s", self._path, error)

  def _append(self, line: bytes) -> None:
    if "://" in str(self._path):
      # Nothing can be appended to an object.
      before = self._path.read_bytes() if self._path.exists() else b""
      self._path.write_bytes(before + line)
      return
    self._path.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of somebody else it may be a link to another file.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with open(os.open(self._path, flags, 0o644), "wb") as file:
      file.write(line)


def _told(record: Mapping[str, Any], path: epath.Path) -> str:
  """An event in words."""
  step, event = record["step"], record["event"]
  if event == "damaged_checkpoint":
    return (
      f"checkpoint_{step} is damaged ({record['reason']}); it is set aside as "
      f"damaged_checkpoint_{step}, and the run goes on from "
      f"checkpoint_{record['goes_on_from']}."
    )
  if event == "exploding_loss":
    return (
      f"The loss explodes: {record['loss']:.3f} nats a token around step "
      f"{step}, after {record['lowest']:.3f}. If it does not come down, lower "
      "LEARNING_RATE or set WARMUP_STEPS, and start anew or from an earlier "
      "checkpoint."
    )
  shown = "".join(
    f"\n  {json.dumps(example)[:_CHARACTERS]}"
    for example in record["examples"][:_SHOWN]
  )
  return (
    f"Step {step} is not finite (loss {record['loss']}, gradient norm "
    f"{record['gradient_norm']}), so it changed nothing; "
    f"{record['action']}. The {len(record['examples'])} examples of its batch "
    f"are in {path}, the first ones are{shown}"
  )
