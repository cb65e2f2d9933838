"""gin at the edge: files and bindings in, frozen dataclasses out.

Only `t5cr.engine.main` uses it. Whatever is wrong with the files is a
UsageError that names the macro or parameter, before anything is computed.
"""

import contextlib
import difflib
import io
import os
import pathlib
import re
import tokenize
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gin
from etils import epath
from gin import config as gin_internals

from t5cr import errors
from t5cr.engine import gin_trust


def _open_remote(address: str) -> io.StringIO:
  """Opens a gin file of an address such as gs://bucket/run/config.gin."""
  file = io.StringIO(epath.Path(address).read_text())
  file.name = address
  return file


gin_internals.register_file_reader(
  _open_remote,
  # gin looks for the name in the search paths too.
  lambda name: bool(re.match(r"\w+://", name)) and epath.Path(name).exists(),
)

# Of what was parsed last.
_guard: gin_trust.Guard | None = None


def gin_root() -> pathlib.Path:
  """The folder of the gin files that ship with the project."""
  package = pathlib.Path(__file__).resolve().parents[1]
  installed = package / "gin"
  return installed if installed.is_dir() else package.parent / "gin"


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
  """Turns gin's errors into UsageError, without gin's own stack of calls."""
  try:
    yield
  except errors.UsageError as error:
    raise errors.UsageError(_first_words(error)) from None
  except TypeError as error:
    raise errors.UsageError(
      f"The gin files leave values out: {_first_words(error)}. Start with a "
      "run file such as t5cr/finetune.gin, which lists what is required."
    ) from error
  except OSError as error:
    raise errors.UsageError(
      f"{_first_words(error)} Files that gin files include are looked for in "
      f"--gin_search_paths and {gin_root()}."
    ) from error
  except RecursionError:
    raise errors.UsageError(
      "In the gin files: a value is nested too deep."
    ) from None
  except tokenize.TokenError as error:
    raise errors.UsageError(
      f"In the gin files: {error.args[0]}; a bracket or a quote is not closed."
    ) from error
  except (ValueError, SyntaxError, ImportError, AttributeError) as error:
    raise errors.UsageError(f"In the gin files: {error}") from error


def _first_words(error: Exception) -> str:
  """An error's message without what gin appends to it."""
  text = str(error).split("\n  In call to configurable")[0]
  return text.split("\nNo values supplied by Gin")[0].strip()


@contextlib.contextmanager
def _searching(folders: Sequence[str]) -> Iterator[None]:
  """Looks for included files in these folders first."""
  prefixes = gin_internals._LOCATION_PREFIXES
  kept = list(prefixes)
  prefixes[:] = [*folders, *kept]
  try:
    yield
  finally:
    prefixes[:] = kept


def _locate(path: str | os.PathLike, folders: Sequence[str]) -> str:
  """Where a gin file is: as given, else in the first folder that has it."""
  name = os.fspath(path)
  if "://" in name:
    return name
  for folder in ("", *folders):
    candidate = os.path.abspath(os.path.join(folder, name))
    if os.path.isfile(candidate):
      return candidate
  raise errors.UsageError(
    f"--gin_file: there is no file {name}, neither as it stands nor in any of "
    f"--gin_search_paths or {gin_root()}."
  )


def _references() -> Iterator[tuple[str, Any]]:
  """(where it stands, reference) of every `%…` and `@…` in the bindings."""
  for (scope, selector), parameters in gin_internals._CONFIG.items():
    for name, value in parameters.items():
      short = selector.rpartition(".")[2]
      where = scope if selector == gin_trust.MACRO else f"{short}.{name}"
      for reference in gin_internals.iterate_references({name: value}):
        yield where, reference


def _is_required(reference: Any) -> bool:
  if reference.configurable.wrapped is not gin_internals._retrieve_constant:
    return False
  return reference.scoped_configurable_fn() is gin.REQUIRED


def _macros() -> set[str]:
  """Macros that have a value, `%gin.REQUIRED` included."""
  return {
    scope
    for scope, selector in gin_internals._CONFIG
    if selector == gin_trust.MACRO
  }


def _check_complete() -> None:
  """Raises UsageError that names every macro without a value, and its uses."""
  required = {where for where, ref in _references() if _is_required(ref)}
  defined = _macros()
  uses: dict[str, list[str]] = {}
  for where, reference in _references():
    if gin_trust.is_macro(reference):
      name = gin_trust.macro_name(reference)
      if name in required or name not in defined:
        uses.setdefault(name, []).append(where)
  lacking = {name: uses.get(name, []) for name in sorted(required | set(uses))}
  if lacking:
    told = "; ".join(
      f"{name} (used by {', '.join(dict.fromkeys(where))})" if where else name
      for name, where in lacking.items()
    )
    example = next(iter(lacking))
    raise errors.UsageError(
      f"These gin macros have no value: {told}. Set each with a flag such as "
      f"--gin.{example}=VALUE, or include a gin file that does: the recipes "
      f"(recipe/*.gin) and rows (recipe/rows/*.gin) in {gin_root()}."
    )


def _check_spelling(before: set[str]) -> None:
  """Raises UsageError for a macro that only a flag sets and nothing reads."""
  read = {
    gin_trust.macro_name(ref)
    for _, ref in _references()
    if gin_trust.is_macro(ref)
  }
  for name in sorted(_macros() - before - read):
    near = difflib.get_close_matches(name, sorted(before | read), n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise errors.UsageError(
      f"--gin.{name}: no gin file has or uses a macro {name}.{hint}"
    )


def _parse_binding(binding: str) -> None:
  """Reads one binding; what is wrong with it names its flag."""
  try:
    gin.parse_config(binding)
  except (ValueError, SyntaxError) as error:
    name, _, value = binding.partition("=")
    name, value = name.strip(), value.strip()
    why = str(error).split("\n")[0].split(" (line ")[0].rstrip(".")
    raise errors.UsageError(
      f"--gin.{name}={value}: {why}. Give the name of a macro or parameter "
      "that the gin files have, and a value as Python writes it: text in "
      f"quotes of its own, such as --gin.{name}=\"'text'\"."
    ) from error


def parse(
  gin_files: Sequence[str | os.PathLike],
  gin_bindings: Sequence[str] = (),
  gin_search_paths: Sequence[str | os.PathLike] = (),
) -> str:
  """Reads gin files, then bindings; later values replace earlier ones.

  Args:
    gin_files: paths, or relative to the search paths or the project's files.
    gin_bindings: such as `TRAIN_STEPS = 100`.
    gin_search_paths: folders.

  Returns:
    The whole configuration as a gin file.

  Raises:
    UsageError: a file cannot be read, a name is unknown, a macro has no
      value, or a file of a run folder says what it may not (`gin_trust`).
  """
  global _guard
  gin.clear_config()
  folders = [*map(str, gin_search_paths), str(gin_root())]
  _guard = guard = gin_trust.Guard(gin_root())
  with _plain_errors(), _searching(folders), guard.watching():
    for path in gin_files:
      gin.parse_config_file(_locate(path, folders))
    before = _macros()
    for binding in gin_bindings:
      _parse_binding(binding)
    guard.check_references()
    _check_spelling(before)
    _check_complete()
    gin_internals.find_unknown_references_hook(gin_internals._CONFIG)
    gin_internals.validate_macros_hook(gin_internals._CONFIG)
    return gin.config_str()


def build(configurable: Callable[..., Any]) -> Any:
  """Calls a configurable with what was parsed.

  Raises:
    UsageError: a parameter has no value, or one that cannot be used, or one
      that a file of a run folder may not set (`gin_trust`).
  """
  with _plain_errors():
    (job,) = (
      selector
      for selector, known in gin_internals._REGISTRY.items()
      if known.wrapper is configurable
    )
    if _guard:
      _guard.check_job(job)
    return configurable()
