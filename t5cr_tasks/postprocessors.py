"""Model outputs and evaluation examples to what the metrics read.

seqio calls a postprocessor on each decoded prediction and on each target, the
latter with `is_target` and the example's remaining fields. What it returns is
also what the evaluation writes to disk, so it is plain JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PROBE_NUMBERS = ("probe_id", "candidate", "rank", "decile", "named")
_PROBE_TEXTS = ("tag", "movie", "related", "negative", "template")


def conversation(
  text: str,
  example: Mapping[str, Any] | None = None,
  is_target: bool = False,
) -> str | dict[str, Any]:
  """A response; as a target, with the dialogue that it belongs to.

  Args:
    text: the decoded response.
    example: fields of the example; a target needs `dialogue_id`, `turn` and
      `recommended`.
    is_target: whether `text` is the human's response.

  Returns:
    The prediction as it is, or for a target {"text", "dialogue_id", "turn",
    "recommended": distinct titles that the human recommends in the dialogue}.
  """
  if not is_target or example is None:
    return text
  return {
    "text": text,
    "dialogue_id": _text(example["dialogue_id"]),
    "turn": int(example["turn"]),
    "recommended": [_text(title) for title in example["recommended"]],
  }


def probe(
  text: str,
  example: Mapping[str, Any] | None = None,
  is_target: bool = False,
) -> str | dict[str, Any]:
  """The identity of a probe's candidate, in place of its target text.

  Args:
    text: the decoded text.
    example: fields of the example: those of `t5cr_probes`, and the token ids
      `targets`.
    is_target: whether `text` is the target that is scored.

  Returns:
    The prediction as it is, or for a target {"probe_id", "candidate" (0 is the
    related one, 1 the negative), "rank", "decile", "named", "tag", "movie",
    "related", "negative", "template", "target_tokens": length of the target in
    tokens, EOS included}.
  """
  if not is_target or example is None:
    return text
  numbers = {name: int(example[name]) for name in _PROBE_NUMBERS}
  texts = {name: _text(example[name]) for name in _PROBE_TEXTS}
  return numbers | texts | {"target_tokens": len(example["targets"])}


def _text(value: bytes | str) -> str:
  return value.decode("utf-8") if isinstance(value, bytes) else value
