"""Follows a page: runs its blocks in order, in one folder."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys
import types

import blocks
import gin
import jax
import seqio

from t5cr import cli
from t5cr_tasks import metrics

# So that a training takes seconds: what is replaced in a page's commands.
SHORTER = {
  "--gin.TRAIN_STEPS=600": "--gin.TRAIN_STEPS=20",
  "--gin.MIXTURE_OR_TASK_NAME='t5cr_probe_*'": (
    "--gin.MIXTURE_OR_TASK_NAME='t5cr_probe_attribute'"
  ),
}


def _forget_data() -> None:
  """What is remembered by the name of a folder; all readers call it `data`."""
  seqio.LazyTfdsLoader._MEMOIZED_BUILDERS.clear()
  metrics._catalogue.cache_clear()


class Reader:
  """Somebody with a folder, a shell and a Python; leaves no trace behind."""

  def __init__(self, folder: pathlib.Path, vocabulary: str = ""):
    """Takes the folder, and what T5CR_VOCABULARY is there."""
    self.folder = folder
    self.vocabulary = vocabulary
    self._names: dict = types.ModuleType("__main__").__dict__

  def __enter__(self) -> "Reader":
    self._before = (
      os.getcwd(),
      os.environ.get("T5CR_VOCABULARY"),
      list(sys.path),
      set(sys.modules),
      jax.config.jax_compilation_cache_dir,
    )
    _forget_data()
    self._tasks = set(seqio.TaskRegistry.names())
    self._mixtures = set(seqio.MixtureRegistry.names())
    os.chdir(self.folder)
    self._use_vocabulary()
    return self

  def __exit__(self, *_) -> None:
    folder, vocabulary, path, modules, compiled = self._before
    os.chdir(folder)
    self.vocabulary = vocabulary or ""
    self._use_vocabulary()
    sys.path[:] = path
    for name in set(sys.modules) - modules:
      file = getattr(sys.modules[name], "__file__", None) or ""
      if file.startswith(str(self.folder)):
        del sys.modules[name]
    for name in set(seqio.TaskRegistry.names()) - self._tasks:
      seqio.TaskRegistry.remove(name)
    for name in set(seqio.MixtureRegistry.names()) - self._mixtures:
      seqio.MixtureRegistry.remove(name)
    seqio.set_tfds_data_dir_override(None)
    _forget_data()
    gin.clear_config()
    jax.config.update("jax_compilation_cache_dir", compiled)

  def follow(self, page: str, words: tuple[str, ...] = ("",)) -> str:
    """Runs the blocks of a page that are marked with one of `words`.

    Args:
      page: its path from the root of the repository.
      words: markers; "" for the blocks without one.

    Returns:
      What they print.
    """
    printed = io.StringIO()
    for block in blocks.read(page):
      if block.is_file:
        path = self.folder / block.word
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
      elif block.word not in words:
        continue
      elif block.language == "python":
        # Python itself, unlike an installed command, looks there first.
        sys.path.insert(0, str(self.folder))
        with contextlib.redirect_stdout(printed):
          exec(compile(block.text, str(block), "exec"), self._names)
        sys.path.remove(str(self.folder))
      elif block.language in ("sh", "bash"):
        self._shell(block, printed)
    return printed.getvalue()

  def _shell(self, block: blocks.Block, printed: io.StringIO) -> None:
    for call in blocks.calls(block, self.folder, self.vocabulary):
      self.vocabulary = call.vocabulary
      self._use_vocabulary()
      program, *arguments = (SHORTER.get(w, w) for w in call.words)
      if program == "t5cr":
        with contextlib.redirect_stdout(printed):
          status = cli.main(arguments)
        assert status == 0, f"{block}: {' '.join(call.words)}"
      elif program != ":end":
        program = sys.executable if program == "python" else program
        done = subprocess.run(
          [program, *arguments],
          cwd=call.folder,
          env=os.environ | {"PYTHONPATH": str(blocks.ROOT)},
          capture_output=True,
          text=True,
        )
        assert done.returncode == 0, f"{block}: {done.stderr}"
        printed.write(done.stdout)

  def _use_vocabulary(self) -> None:
    if self.vocabulary:
      os.environ["T5CR_VOCABULARY"] = self.vocabulary
    else:
      os.environ.pop("T5CR_VOCABULARY", None)
