"""Asks a process of its own to compile, and understands how it ends."""

import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from typing import Any

from t5cr import errors
from t5cr.plan import chips
from t5cr.plan.request import Request

_TAIL_LINES = 15


def check_compiler(topology: str) -> None:
  """Raises UsageError if what compiles for a topology is not installed."""
  if not chips.is_tpu(topology):
    return
  if os.environ.get("TPU_LIBRARY_PATH") or importlib.util.find_spec("libtpu"):
    return
  wanted = _libtpu_version()
  raise errors.UsageError(
    f"--topology {topology} needs libtpu, the TPU compiler, which runs without "
    f"a TPU but is not installed here: pip install '{wanted}', the version "
    "that the installed jax wants, or 't5cr[tpu]'. `--topology cpu:8` needs "
    "nothing."
  )


def _libtpu_version() -> str:
  """The version of libtpu that the installed jax asks for."""
  for requirement in importlib.metadata.requires("jax") or ():
    if re.match(r"libtpu\b", requirement):
      return requirement.partition(";")[0].strip()
  return "libtpu"


def environment(topology: str) -> dict[str, str]:
  """Variables of a process that compiles for a topology.

  JAX's platforms are fixed before it starts: the processor's for a TPU that is
  not there.
  """
  variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
  if topology.startswith("gpu"):
    # Compiling needs little of a memory that others may use.
    return variables | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
  variables["JAX_PLATFORMS"] = "cpu"
  variables.pop("JAX_NUM_CPU_DEVICES", None)
  # How many devices there are is set otherwise.
  flags = variables.get("XLA_FLAGS", "")
  variables["XLA_FLAGS"] = re.sub(
    r"--xla_force_host_platform_device_count=\d+", "", flags
  ).strip()
  if chips.is_tpu(topology):
    # It would ask Google Cloud which TPU it is on, and wait for an answer.
    variables["TPU_SKIP_MDS_QUERY"] = "1"
    variables["TPU_LOG_DIR"] = "disabled"
  return variables


def ask(request: Request) -> dict[str, Any]:
  """Has a request answered by a process of its own.

  Args:
    request: what to compile.

  Returns:
    What `t5cr.plan.compiling` prints; `{"crashed": why}` where the system
    ended the process, which it does when memory is short.

  Raises:
    UsageError: something about the request cannot be used.
    RunError: the process failed.
  """
  with tempfile.TemporaryFile("w+") as log:
    done = subprocess.run(
      [sys.executable, "-m", "t5cr.plan.compiling"],
      input=request.to_json(),
      stdout=subprocess.PIPE,
      stderr=log,
      text=True,
      env=environment(request.topology),
      check=False,
    )
    log.seek(0)
    tail = "".join(log.readlines()[-_TAIL_LINES:])
  if done.returncode < 0:
    name = signal.Signals(-done.returncode).name
    return {"crashed": f"the compiler was ended by {name}"}
  if done.returncode:
    raise errors.RunError(
      f"Compiling for {request.topology} failed; its log ends:\n{tail}"
    )
  answer = json.loads(done.stdout.splitlines()[-1])
  if "error" in answer:
    raise errors.UsageError(answer["error"])
  return answer
