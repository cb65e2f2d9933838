"""What gin files may say that lie in a run folder, which may be anybody's.

gin imports modules, calls what they register, and names the folders that are
written to. A user's own files may do all that. A file in or below a folder that
holds a run came with it: it may import nothing but this project, refer to and
set nothing but this project's parameters, include nothing by a path that leads
out, and neither name the module of the tasks nor a folder for results other
than its own. What the command line says goes.
"""

import contextlib
import io
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from gin import config as gin_internals
from gin import config_parser

from t5cr import errors

# What makes a folder a run's, or a study's.
_MARKS = ("run.json", "results_of.json", "model-info.txt", "study.json")
_PACKAGES = ("t5cr", "t5cr_tasks")
_MACRO = "gin.macro"
# Parameters that say what is imported, and where files are written.
_MODULES = ("t5cr.train.module", "t5cr.eval.module", "t5cr.infer.module")
_FOLDERS = {
  "t5cr.train.model_dir": "MODEL_DIR",
  "t5cr.eval.output_dir": "EVAL_OUTPUT_DIR",
  "t5cr.infer.output_dir": "INFER_OUTPUT_DIR",
}


class _File(NamedTuple):
  """A gin file and the run folder that it came with, None if it is trusted."""

  path: str
  run: pathlib.Path | None


def run_folder(path: str | os.PathLike[str]) -> pathlib.Path | None:
  """The innermost folder around a file that holds a run or a study, if any."""
  # Both the file's own place and, for a link, that of what it points to.
  given = pathlib.Path(os.path.abspath(path))
  for folder in (*given.parents, *given.resolve().parents):
    if any((folder / mark).exists() for mark in _MARKS):
      return folder
    if _holds_checkpoints(folder):
      return folder
  return None


def _holds_checkpoints(folder: pathlib.Path) -> bool:
  try:
    names = os.listdir(folder)
  except OSError:
    return False
  return any(
    name.startswith("checkpoint_") and name[len("checkpoint_") :].isdigit()
    for name in names
  )


class Guard:
  """Watches gin while it reads files; `check` judges what came out of it."""

  def __init__(self, own: pathlib.Path):
    """Trusts the files below a folder.

    Args:
      own: the gin files that ship with the project.
    """
    self._own = own.resolve()
    self._reading: list[_File] = []
    # (scope, selector, parameter) -> the file that set it last.
    self._setter: dict[tuple[str, str, str], _File | None] = {}

  @contextlib.contextmanager
  def watching(self) -> Iterator[None]:
    """Looks through every file, included ones too, before gin acts on it."""
    parse, bind = gin_internals.parse_config, gin_internals.bind_parameter

    def parse_checked(bindings: Any, skip_unknown: Any = False) -> Any:
      if not hasattr(bindings, "readline"):
        return parse(bindings, skip_unknown)
      text = bindings.read()
      text = text.decode() if isinstance(text, bytes) else text
      file = self._file(str(bindings.name))
      if file.run is not None:
        _check_statements(text, file, file.run)
      copy = io.StringIO(text)
      copy.name = file.path
      self._reading.append(file)
      try:
        return parse(copy, skip_unknown)
      finally:
        self._reading.pop()

    def bind_noted(key: Any, value: Any) -> None:
      bind(key, value)
      parsed = gin_internals.ParsedBindingKey.parse(key)
      file = self._reading[-1] if self._reading else None
      where = (parsed.scope, parsed.complete_selector, parsed.arg_name)
      self._setter[where] = file

    gin_internals.parse_config = parse_checked
    gin_internals.bind_parameter = bind_noted
    try:
      yield
    finally:
      gin_internals.parse_config = parse
      gin_internals.bind_parameter = bind

  def _file(self, path: str) -> _File:
    if "://" in path:
      return _File(path, pathlib.Path(os.path.dirname(path)))
    if pathlib.Path(path).resolve().is_relative_to(self._own):
      return _File(path, None)
    including = self._reading[-1].run if self._reading else None
    return _File(path, run_folder(path) or including)

  def check(self) -> None:
    """Raises UsageError where a run's file chooses modules or other folders."""
    for parameter in _MODULES:
      value, file = self._origin(parameter)
      if file and value and not _is_ours(str(value)):
        raise _refused(
          file,
          f"names the module {value!r}, which would be imported",
          f"--gin.MIXTURE_OR_TASK_MODULE={str(value)!r}",
        )
    for parameter, flag in _FOLDERS.items():
      value, file = self._origin(parameter)
      if not file or not value or file.run is None:
        continue
      inside = "://" not in str(value) and (
        pathlib.Path(str(value)).resolve().is_relative_to(file.run.resolve())
      )
      if not inside:
        raise _refused(
          file,
          f"would have files written to {value}, which is not its own folder",
          f"--gin.{flag}=\"'FOLDER'\"",
        )

  def _origin(self, parameter: str) -> tuple[Any, _File | None]:
    """A parameter's value, macros followed, and the run's file that set it."""
    selector, _, name = parameter.rpartition(".")
    key = ("", selector, name)
    followed = set()
    while key not in followed:
      followed.add(key)
      value = gin_internals._CONFIG.get(key[:2], {}).get(key[2])
      if not isinstance(value, gin_internals.ConfigurableReference):
        break
      if getattr(value.configurable, "selector", None) != _MACRO:
        break
      macro = "/".join(value.scoped_selector.split("/")[:-1])
      key = (macro, _MACRO, "value")
    file = self._setter.get(key)
    return value, file if file and file.run else None


def _is_ours(module: str) -> bool:
  return module.partition(".")[0] in _PACKAGES


def _refused(file: _File, problem: str, flag: str = "") -> errors.UsageError:
  wanted = f"Say that yourself, with {flag}, or" if flag else "If you trust it,"
  return errors.UsageError(
    f"{file.path} came with the run in {file.run} and {problem}; a gin file "
    f"of a run folder may not do that. {wanted} copy the file out of the "
    "folder once you have read it."
  )


class _Looking(config_parser.ParserDelegate):
  """Lets every reference through `check`, and makes nothing of it."""

  def __init__(self, check: Callable[[str], None]):
    self._check = check

  def configurable_reference(self, scoped_configurable_name, evaluate):
    """Looks at `@name` and `@name()`."""
    self._check(scoped_configurable_name)
    return None

  def macro(self, scoped_macro_name):
    """Lets `%NAME` pass."""
    return None


def _check_statements(text: str, file: _File, run: pathlib.Path) -> None:
  """Raises UsageError for what a run's gin file may not say."""

  def check_selector(scoped: str) -> None:
    # What is not registered yet is not known to gin either, which says so.
    selector = scoped.rpartition("/")[2]
    found = gin_internals._REGISTRY.matching_selectors(selector)
    others = [name for name in found if not name.startswith("t5cr.")]
    if others:
      raise _refused(file, f"refers to {others[0]}")

  for statement in config_parser.ConfigParser(text, _Looking(check_selector)):
    if isinstance(statement, config_parser.ImportStatement):
      if not _is_ours(statement.module):
        raise _refused(file, f"imports {statement.module}")
    elif isinstance(statement, config_parser.IncludeStatement):
      _check_include(statement.filename, file, run)
    elif getattr(statement, "arg_name", "") or isinstance(
      statement, config_parser.BlockDeclaration
    ):
      check_selector(statement.selector)


def _check_include(name: str, file: _File, run: pathlib.Path) -> None:
  parts = pathlib.PurePath(name).parts
  if "://" not in name and not os.path.isabs(name) and ".." not in parts:
    return
  if "://" in name or not pathlib.Path(name).resolve().is_relative_to(
    run.resolve()
  ):
    raise _refused(file, f"includes {name}")
