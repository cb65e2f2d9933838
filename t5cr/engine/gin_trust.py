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
import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from etils import epath
from gin import config as gin_internals
from gin import config_parser

from t5cr import errors

# What makes a folder a run's, or a study's.
_MARKS = ("run.json", "results_of.json", "model-info.txt", "study.json")
# What makes it one too, but may lie beside one's own files as well.
_WEIGHTS = re.compile(
  r"checkpoint_\d+|(model|flax_model|pytorch_model)(\.safetensors|\.msgpack|"
  r"\.bin)(\.index\.json)?",
  re.ASCII,
)
_CONFIG = "config.gin"  # What a run calls its own.
_PACKAGES = ("t5cr", "t5cr_tasks")
MACRO = "gin.macro"
# Parameters of the jobs that say what is imported, and where files are written.
_MODULE = "module"
_FOLDERS = {
  "t5cr.train.model_dir": "MODEL_DIR",
  "t5cr.eval.output_dir": "EVAL_OUTPUT_DIR",
  "t5cr.infer.output_dir": "INFER_OUTPUT_DIR",
}


class Run(NamedTuple):
  """A folder that holds a run or a study.

  Attributes:
    folder: its path, or address.
    mark: what in it says so.
  """

  folder: str
  mark: str


class _File(NamedTuple):
  """A gin file and the run that it came with, None if it is trusted."""

  path: str
  run: Run | None


def run_around(path: str | os.PathLike[str]) -> Run | None:
  """The innermost run or study around a gin file, if any."""
  # Both the file's own place and, for a link, that of what it points to.
  given = os.fspath(path).removeprefix("file://")
  places = [given] if "://" in given else [os.path.abspath(given)]
  places.append(_plain(given))
  for place in places:
    for folder in _around(place):
      mark = _mark(folder)
      if mark:
        return Run(folder, mark)
  for place in places:
    if posixpath.basename(place) == _CONFIG:
      return Run(posixpath.dirname(place), _CONFIG)
  return None


def _around(path: str) -> Iterator[str]:
  """The folders around a file, from the inside, but for the home folder.

  Nor what is around that: a run does not lie there, but a stray file may.
  """
  folder = posixpath.dirname(path)
  while folder not in ("", "/") and not folder.endswith(":/"):
    if "://" not in folder and is_within(os.path.expanduser("~"), folder):
      return
    yield folder
    folder = posixpath.dirname(folder)


def _mark(folder: str) -> str | None:
  """What makes a folder a run's."""
  here = epath.Path(folder)
  try:
    for name in _MARKS:
      if (here / name).exists():
        return name
    # The folder that one works in may hold weights beside one's own files.
    if "://" not in folder and is_within(os.getcwd(), folder):
      return None
    names = sorted(entry.name for entry in here.iterdir())
    return next(filter(_WEIGHTS.fullmatch, names), None)
  except OSError:  # It may not be looked into, or is gone.
    return None


def is_within(path: str, folder: str) -> bool:
  """Whether a path is a folder or in it, links and `..` followed."""
  path, folder = _plain(path), _plain(folder)
  return path == folder or path.startswith(folder.rstrip("/") + "/")


def _plain(path: str) -> str:
  """A path without links and `..`; an address without `..`."""
  scheme, remote, rest = path.removeprefix("file://").partition("://")
  if remote:
    return f"{scheme}://{posixpath.normpath(rest)}"
  return os.path.realpath(scheme)


def is_macro(reference: Any) -> bool:
  """Whether a value is a `%NAME`."""
  configurable = getattr(reference, "configurable", None)
  return getattr(configurable, "selector", None) == MACRO


def macro_name(reference: Any) -> str:
  """The NAME in `%NAME`."""
  return "/".join(reference.scoped_selector.split("/")[:-1])


class Guard:
  """Watches gin while it reads files; `check` judges what came out of it."""

  def __init__(self, own: str | os.PathLike[str]):
    """Trusts the files below a folder.

    Args:
      own: the gin files that ship with the project.
    """
    self._own = os.fspath(own)
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
        _check_statements(text, file)
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
    if is_within(path, self._own):
      return _File(path, None)
    including = self._reading[-1].run if self._reading else None
    return _File(path, run_around(path) or including)

  def check_references(self) -> None:
    """Raises UsageError where a run's file set or named what is not ours.

    That is looked at before it is read as well; what the file imports may have
    registered more since.
    """
    for (scope, selector), parameters in gin_internals._CONFIG.items():
      for name, value in parameters.items():
        file = self._setter.get((scope, selector, name))
        if file is None or file.run is None:
          continue
        if selector != MACRO:
          _check_selectors([selector], file)
        for reference in gin_internals.iterate_references({name: value}):
          known: Any = reference.configurable
          is_constant = known.wrapped is gin_internals._retrieve_constant
          if not is_constant and not is_macro(reference):
            _check_selectors([known.selector], file)

  def check_job(self, job: str) -> None:
    """Raises UsageError where a run's file chooses modules or other folders.

    Args:
      job: the selector of what is to be done, such as `t5cr.eval`; what
        a file says of others does not matter.
    """
    value, file = self._origin(f"{job}.{_MODULE}")
    if file and value and not _is_ours(str(value)):
      raise _refused(
        file,
        f"names the module {value!r}, which would be imported",
        f"--gin.MIXTURE_OR_TASK_MODULE={str(value)!r}",
      )
    for parameter, flag in _FOLDERS.items():
      if not parameter.startswith(f"{job}."):
        continue
      value, file = self._origin(parameter)
      if not file or not value or file.run is None:
        continue
      if not is_within(str(value), file.run.folder):
        raise _refused(
          file,
          f"would have files written to {_plain(str(value))}, which is not its "
          "own folder",
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
      if not is_macro(value):
        break
      key = (macro_name(value), MACRO, "value")
    file = self._setter.get(key)
    return value, file if file and file.run else None


def _is_ours(module: str) -> bool:
  return module.partition(".")[0] in _PACKAGES


def _refused(file: _File, problem: str, flag: str = "") -> errors.UsageError:
  wanted = f"Say that yourself, with {flag}, or" if flag else "If you trust it,"
  assert file.run is not None
  folder, mark = file.run
  return errors.UsageError(
    f"{file.path} came with the run in {folder} (it is one for its {mark}) and "
    f"{problem}; a gin file of a run folder may not do that. {wanted} copy the "
    "file out of the folder, under another name than config.gin, once you have "
    "read it."
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


def _check_selectors(selectors: list[str], file: _File) -> None:
  others = [name for name in selectors if not name.startswith("t5cr.")]
  if others:
    raise _refused(file, f"refers to {others[0]}")


def _check_statements(text: str, file: _File) -> None:
  """Raises UsageError for what a run's gin file may not say."""

  def check_selector(scoped: str) -> None:
    # What is not registered yet is not known to gin either, which says so.
    selector = scoped.rpartition("/")[2]
    found = gin_internals._REGISTRY.matching_selectors(selector)
    _check_selectors(found, file)

  for statement in config_parser.ConfigParser(text, _Looking(check_selector)):
    if isinstance(statement, config_parser.ImportStatement):
      if not _is_ours(statement.module):
        raise _refused(file, f"imports {statement.module}")
    elif isinstance(statement, config_parser.IncludeStatement):
      _check_include(statement.filename, file)
    elif getattr(statement, "arg_name", "") or isinstance(
      statement, config_parser.BlockDeclaration
    ):
      check_selector(statement.selector)


def _check_include(name: str, file: _File) -> None:
  by_name = "://" not in name and not os.path.isabs(name)
  if by_name and ".." not in name.split("/"):
    return
  assert file.run is not None
  if not is_within(name, file.run.folder):
    raise _refused(file, f"includes {name}")
