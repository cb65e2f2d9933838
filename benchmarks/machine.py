"""What figures were measured on: processor, accelerator, versions."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import sys
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "transformers")


def load() -> float:
  """Processes that wanted a core in the last minute, on average."""
  return round(os.getloadavg()[0], 2)


def describe() -> dict[str, Any]:
  """The machine and the versions, as JSON values."""
  import jax

  info = pathlib.Path("/proc/cpuinfo")
  lines = info.read_text().splitlines() if info.exists() else []
  names = [
    line.partition(":")[2].strip()
    for line in lines
    if line.startswith("model name")
  ]
  versions = {"python": platform.python_version()}
  for package in PACKAGES:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  # Only where a contender has it: torch takes seconds to import.
  torch = sys.modules.get("torch")
  return {
    "processor": names[0] if names else platform.processor(),
    "cores": len(os.sched_getaffinity(0)),
    "device": jax.devices()[0].device_kind,
    "torch_threads": torch and torch.get_num_threads(),
    "load_before": load(),
    "versions": versions,
  }
