"""Compiled programs, kept from one process to the next.

JAX can write what it compiles to a folder and load it again where program,
versions and devices are the same, the features of a processor included. This is
on unless JAX is told otherwise: `JAX_COMPILATION_CACHE_DIR` names another
folder, which is then left as it is, and `JAX_ENABLE_COMPILATION_CACHE=false`
turns it off.
"""

import os
import pathlib
from typing import Any

import jax
from absl import logging

# What compiles faster is not worth a file.
_MIN_COMPILE_SECONDS = 0.2
# Programs that were not used for longest go first.
MAX_BYTES = 2 * 1024**3


def folder() -> pathlib.Path | None:
  """Where programs are kept; None if they are not.

  By default `$XDG_CACHE_HOME/t5cr/jax`, else `~/.cache/t5cr/jax`.
  """
  if not _config().jax_enable_compilation_cache:
    return None
  if _config().jax_compilation_cache_dir:
    return pathlib.Path(_config().jax_compilation_cache_dir)
  home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
  return pathlib.Path(home) / "t5cr" / "jax"


def enable() -> None:
  """Keeps what is compiled from now on, and loads what was kept.

  A folder that cannot be written to costs a warning and nothing else.
  """
  place = folder()
  if place is None or _config().jax_compilation_cache_dir:
    return
  try:
    place.mkdir(parents=True, exist_ok=True)
    # The folder may be another user's, or its disk be read-only.
    probe = place / f".{os.getpid()}"
    probe.touch()
    probe.unlink()
    _prune(place, MAX_BYTES)
  except OSError as error:
    logging.warning(
      "Compiled programs are not kept, %s: %s. JAX_COMPILATION_CACHE_DIR "
      "names another folder.",
      place,
      error.strerror,
    )
    return
  jax.config.update("jax_compilation_cache_dir", str(place))
  if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
    jax.config.update(
      "jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_SECONDS
    )


def _config() -> Any:
  return jax.config


def size(place: pathlib.Path) -> tuple[int, int]:
  """How many programs a folder keeps, and their bytes."""
  programs = _programs(place)
  return len(programs), sum(bytes_ for _, bytes_, _ in programs)


def _programs(place: pathlib.Path) -> list[tuple[float, int, pathlib.Path]]:
  """Last use, bytes and path of each program, the oldest first."""
  found = []
  for path in place.glob("*-cache") if place.is_dir() else ():
    try:
      about = path.stat()
    except OSError:  # Another process removed it.
      continue
    used = max(about.st_atime, about.st_mtime)
    found.append((used, about.st_size, path))
  return sorted(found)


def _prune(place: pathlib.Path, limit: int) -> None:
  """Removes the oldest programs until the others are within the limit.

  JAX has a limit of its own, but takes a lock for each access with it and
  writes nothing any more once a process died between two of its files.
  """
  programs = _programs(place)
  total = sum(bytes_ for _, bytes_, _ in programs)
  for _, bytes_, path in programs:
    if total <= limit:
      return
    try:
      path.unlink(missing_ok=True)
    except PermissionError:  # Another user's; the others may do.
      continue
    total -= bytes_
