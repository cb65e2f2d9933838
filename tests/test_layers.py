"""Holds the import rules between the three layers of the source.

The rules are read from the source with ast, so that an import inside a
function counts too; what an import really loads is asked of an interpreter.
"""

import ast
import dataclasses
import json
import pathlib
import subprocess
import sys

import pytest

TENSORFLOW = (
  "seqio",
  "tensorflow",
  "tensorflow_datasets",
  "tensorflow_text",
)


@dataclasses.dataclass(frozen=True)
class Import:
  """One imported module, by its absolute name."""

  module: str
  line: int
  # Inside a function or under TYPE_CHECKING: importing the file does not
  # load the module.
  late: bool


@dataclasses.dataclass(frozen=True)
class Rule:
  """Modules that the files of one part must not import.

  Attributes:
    why: what the rule keeps true, for the failure text.
    part: package or module that the rule is about, with all inside it.
    forbidden: packages or modules, with all inside them.
    except_part: package or module inside `part` that may.
    late_is_fine: whether an import inside a function is allowed.
  """

  why: str
  part: str
  forbidden: tuple[str, ...]
  except_part: str | None = None
  late_is_fine: bool = False


RULES = (
  Rule(
    why="t5cr_tasks knows data and language, nothing of models",
    part="t5cr_tasks",
    forbidden=("jax", "jaxlib", "flax", "optax", "orbax", "t5cr"),
  ),
  Rule(
    why="the engine knows tensors, nothing of movies or of the study",
    part="t5cr.engine",
    forbidden=("t5cr_tasks", "t5cr.study", "t5cr.cli"),
  ),
  Rule(
    why="the engine runs where TensorFlow is not installed: only feed has it",
    part="t5cr.engine",
    forbidden=TENSORFLOW,
    except_part="t5cr.engine.feed",
  ),
  Rule(
    why="feed brings TensorFlow, so it is imported inside functions",
    part="t5cr",
    forbidden=("t5cr.engine.feed", "t5cr_tasks", *TENSORFLOW),
    except_part="t5cr.engine.feed",
    late_is_fine=True,
  ),
)


def _is_within(module: str, part: str) -> bool:
  return module == part or module.startswith(part + ".")


def _is_type_checking(node: ast.AST) -> bool:
  if not isinstance(node, ast.If):
    return False
  return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
  """Name that `from … import` starts from, relative dots resolved."""
  if not node.level:
    return node.module or ""
  up = node.level - (1 if is_package else 0)
  parts = module.split(".")
  base = parts[: len(parts) - up]
  return ".".join([*base, *([node.module] if node.module else [])])


def find_imports(
  source: str, module: str, *, is_package: bool = False
) -> list[Import]:
  """All imports of a source text, those inside functions included.

  `from a import b` gives both `a` and `a.b`: b may be a module.
  """
  found = []

  def visit(node: ast.AST, late: bool) -> None:
    if isinstance(node, ast.Import):
      found.extend(
        Import(alias.name, node.lineno, late) for alias in node.names
      )
    elif isinstance(node, ast.ImportFrom):
      base = _absolute(node, module, is_package)
      found.append(Import(base, node.lineno, late))
      found.extend(
        Import(f"{base}.{alias.name}", node.lineno, late)
        for alias in node.names
      )
    is_function = isinstance(
      node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    )
    inner_late = late or is_function or _is_type_checking(node)
    for child in ast.iter_child_nodes(node):
      visit(child, inner_late)

  visit(ast.parse(source), late=False)
  return found


def broken_rules(
  source: str,
  module: str,
  *,
  is_package: bool = False,
  rules: tuple[Rule, ...] = RULES,
) -> list[str]:
  """One line for each import of a source text that breaks a rule."""
  broken = set()
  for rule in rules:
    if not _is_within(module, rule.part):
      continue
    if rule.except_part and _is_within(module, rule.except_part):
      continue
    for item in find_imports(source, module, is_package=is_package):
      if rule.late_is_fine and item.late:
        continue
      if any(_is_within(item.module, name) for name in rule.forbidden):
        broken.add(
          f"{module}, line {item.line}: imports {item.module}, but {rule.why}"
        )
  return sorted(broken)


def _source_files(repository: pathlib.Path) -> list[pathlib.Path]:
  return sorted(
    path
    for package in ("t5cr", "t5cr_tasks")
    for path in (repository / package).rglob("*.py")
  )


def _module_name(path: pathlib.Path, repository: pathlib.Path) -> str:
  parts = path.relative_to(repository).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_the_source_keeps_the_rules(repository):
  files = _source_files(repository)
  assert files, f"no source files under {repository}"
  broken = [
    line
    for path in files
    for line in broken_rules(
      path.read_text(),
      _module_name(path, repository),
      is_package=path.name == "__init__.py",
    )
  ]
  assert not broken, "\n".join(broken)


def test_every_folder_of_source_is_a_package(repository):
  folders = {path.parent for path in _source_files(repository)}
  # A folder without __init__.py works in a clone but is missing in a wheel.
  missing = [str(f) for f in folders if not (f / "__init__.py").is_file()]
  assert not missing, f"no __init__.py in {missing}"


def test_parts_that_the_rules_name_exist(repository):
  modules = {
    _module_name(path, repository) for path in _source_files(repository)
  }
  named = {
    name
    for rule in RULES
    for name in (rule.part, rule.except_part, *rule.forbidden)
    if name and name.split(".")[0] in ("t5cr", "t5cr_tasks")
  }
  assert named <= modules, f"rules name what is gone: {named - modules}"


@pytest.mark.parametrize(
  ("module", "source"),
  [
    ("t5cr_tasks.metrics", "import jax"),
    ("t5cr_tasks.metrics", "import jax.numpy as jnp"),
    ("t5cr_tasks.metrics", "from flax import linen"),
    ("t5cr_tasks.probes.build", "from t5cr import errors"),
    ("t5cr_tasks.tasks", "def f():\n  import optax"),
    ("t5cr_tasks.tasks", "try:\n  import orbax.checkpoint\nfinally:\n  pass"),
    ("t5cr.engine.model", "import t5cr_tasks"),
    ("t5cr.engine.model", "def f():\n  from t5cr_tasks import metrics"),
    ("t5cr.engine.main", "from t5cr.study import report"),
    ("t5cr.engine.main", "from t5cr import study"),
    ("t5cr.engine.main", "from .. import study"),
    ("t5cr.engine.main", "from ..study.report import write"),
    ("t5cr.engine.train", "def f():\n  import seqio"),
    ("t5cr.engine.train", "class A:\n  import tensorflow as tf"),
    ("t5cr.engine.train", "from t5cr.engine import feed"),
    ("t5cr.engine.train", "from . import feed"),
    ("t5cr.engine.train", "from .feed import batches"),
    ("t5cr.engine.train", "if True:\n  import t5cr.engine.feed"),
    ("t5cr.study.report", "import tensorflow_datasets as tfds"),
    ("t5cr.cli", "from t5cr.engine import feed"),
    ("t5cr.cli", "import t5cr_tasks"),
  ],
)
def test_a_broken_rule_is_found(module, source):
  assert broken_rules(source, module), source


@pytest.mark.parametrize(
  ("module", "source"),
  [
    ("t5cr_tasks.metrics", "import seqio\nimport tensorflow as tf"),
    ("t5cr_tasks.metrics", "from t5cr_tasks import titles"),
    ("t5cr_tasks.metrics", "import jaxonomy"),
    ("t5cr.engine.feed", "import seqio\nimport tensorflow_datasets"),
    ("t5cr.engine.train", "def f():\n  from t5cr.engine import feed"),
    ("t5cr.engine.train", "import jax\nfrom t5cr import errors"),
    ("t5cr.cli", "def f():\n  import t5cr_tasks"),
    (
      "t5cr.cli",
      "import typing\nif typing.TYPE_CHECKING:\n  import t5cr_tasks",
    ),
    ("t5cr.study.report", "from t5cr.study import statistics"),
  ],
)
def test_an_allowed_import_passes(module, source):
  assert not broken_rules(source, module)


def test_relative_imports_of_a_package_file_are_resolved():
  names = {
    item.module
    for item in find_imports(
      "from . import feed", "t5cr.engine", is_package=True
    )
  }
  assert names == {"t5cr.engine", "t5cr.engine.feed"}


def _loaded_by(statement: str, repository: pathlib.Path) -> set[str]:
  """Top-level packages that a fresh interpreter holds after a statement."""
  code = (
    "import json, sys\n"
    f"{statement}\n"
    "print(json.dumps([name.split('.')[0] for name in sys.modules]))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=repository,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", ["t5cr", "t5cr.cli"])
def test_the_command_line_starts_light(module, repository):
  heavy = {"jax", "flax", "optax", "orbax", "t5cr_tasks", *TENSORFLOW}
  assert not heavy & _loaded_by(f"import {module}", repository)


def test_the_engine_loads_without_tensorflow(repository):
  modules = [
    _module_name(path, repository)
    for path in (repository / "t5cr" / "engine").rglob("*.py")
    if "feed" not in path.parts
  ]
  loaded = _loaded_by("import " + ", ".join(sorted(modules)), repository)
  assert "jax" in loaded
  assert not set(TENSORFLOW) & loaded
  assert "t5cr_tasks" not in loaded


def test_the_tasks_load_without_jax_of_their_own(repository):
  # seqio itself may load JAX; our part must not load the engine.
  assert "t5cr" not in _loaded_by("import t5cr_tasks", repository)
