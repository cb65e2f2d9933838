"""Checks command lines without running them."""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

from typer import main as typer_main

from t5cr import cli
from t5cr.commands import engine as engine_commands
from t5cr.engine import gin_config, upstream
from t5cr.engine import main as engine
from t5cr.plan import planner

# Importing them makes what the gin files configure known to gin.
assert engine.train and upstream.checkpoint

_MACRO = re.compile(r"^([A-Z][A-Z0-9_]*) = ", re.M)
_INCLUDE = re.compile(r"^include '(.*)'$", re.M)


class Unknown(Exception):
  """A command or flag is unknown, or one is missing."""


def check(arguments: Sequence[str]) -> None:
  """Checks a command line of t5cr: command, flags, gin files and macros.

  Args:
    arguments: behind `t5cr`.

  Raises:
    Unknown: the command line has no such command or flag, or lacks one.
    UsageError: the gin files are wrong.
  """
  command = typer_main.get_command(cli.app)
  given: list[dict[str, Any]] = []
  _replace_callbacks(command, lambda **values: given.append(values))
  try:
    rewritten = [cli.rewrite(word) for word in arguments]
    command.main(rewritten, prog_name="t5cr", standalone_mode=False)
  except Exception as error:
    raise Unknown(f"t5cr {' '.join(arguments)}: {error}") from error
  (values,) = given
  if "gin_file" in values:
    read = planner.read_run if "topology" in values else gin_config.parse
    folders = engine_commands.commas(values["gin_search_paths"])
    read(values["gin_file"], values["gin_bindings"] or (), folders)


def _replace_callbacks(command: Any, callback: Any) -> None:
  """Makes all commands below call `callback` with their arguments."""
  below = getattr(command, "commands", {})
  for name in below:
    _replace_callbacks(below[name], callback)
  if not below:
    command.callback = callback


def check_t5x(arguments: Sequence[str]) -> None:
  """Checks a command line of t5x, which need not be installed.

  Args:
    arguments: behind `python -m t5x.train` and the like.

  Raises:
    AssertionError: there is no such gin file here, or none of them has such a
      macro.
  """
  flags = [argument.partition("=") for argument in arguments]
  own = [
    file
    for name, _, file in flags
    if name == "--gin_file" and not pathlib.Path(file).exists()
  ]
  text = "\n".join(_read(file) for file in own)
  macros = set(_MACRO.findall(text))
  for name, _, _ in flags:
    macro = name.removeprefix("--gin.")
    if own and macro != name and macro.isupper():
      assert macro in macros, f"no gin file has a macro {macro}"


def _read(name: str) -> str:
  """A gin file and those that it includes."""
  path = gin_config.gin_root() / name
  assert path.is_file(), f"there is no {path}"
  text = path.read_text()
  return "\n".join([text, *map(_read, _INCLUDE.findall(text))])
