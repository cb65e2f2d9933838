"""Nested mappings as flat ones, to say in what two of them differ."""

from collections.abc import Mapping
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
