"""Nested mappings as flat ones, to say in what two of them differ; JSON."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Nested mappings as one, with keys such as `data.t5cr_redial`."""
  leaves: dict[str, Any] = {}
  for key, item in value.items():
    if isinstance(item, Mapping):
      leaves |= flat(item, f"{prefix}{key}.")
    else:
      leaves[prefix + key] = item
  return leaves


def loads(text: str | bytes) -> Any:
  """What `json.loads` gives, of JSON that may be anybody's.

  Raises:
    ValueError: it is no JSON, or nested too deep to be read.
  """
  try:
    return json.loads(text)
  except RecursionError:
    raise ValueError("it is nested too deep") from None


def load_object(text: str | bytes) -> dict[str, Any]:
  """The same, of what has to be an object.

  Raises:
    ValueError: it is no JSON object, or nested too deep to be read.
  """
  value = loads(text)
  if not isinstance(value, dict):
    raise ValueError(f"it is no JSON object but a {type(value).__name__}")
  return value


def load_lines(data: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
  """The lines of a JSONL file that hold objects, and these.

  What was cut short, or is something else, is left out.

  Args:
    data: what the file holds.

  Yields:
    A line without its end, and the object in it.
  """
  for line in data.splitlines():
    try:
      yield line.decode(), load_object(line)
    except ValueError:
      continue
