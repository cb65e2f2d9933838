"""Runs every block of the pages docs/using_*.md, on a tiny corpus.

The word behind a fence's language is the file that the block is, or what it
needs: `t5x`, `beam`, or `install` for what no test runs.
"""

import dataclasses
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import caches
import pytest
import seqio

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(path.name for path in DOCS.glob("using_*.md"))
CACHED = ("t5cr_redial_conversation", "t5cr_movielens_sequence") + (
  "t5cr_movielens_tags",
  "t5cr_movielens_review",
  "t5cr_probe_recommendation",
)


@dataclasses.dataclass(frozen=True)
class Block:
  language: str
  word: str
  text: str


def _blocks(page: str) -> list[Block]:
  found = re.findall(
    r"^```(\w+) ?(\S*)\n(.*?)^```$", (DOCS / page).read_text(), re.M | re.S
  )
  return [Block(*parts) for parts in found]


def _of(page: str, language: str, word: str = "") -> list[Block]:
  found = [b for b in _blocks(page) if (b.language, b.word) == (language, word)]
  assert found, f"no {language} block in {page}"
  return found


@pytest.fixture
def project(tiny_corpus, tiny_vocabulary, tmp_path, monkeypatch):
  """A folder of somebody's project, which is the working directory."""
  os.symlink(tiny_corpus, tmp_path / "data")
  shutil.copy(tiny_vocabulary, tmp_path / "spm.model")
  for page in PAGES:
    for block in _blocks(page):
      if "." in block.word:
        path = tmp_path / block.word
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text)
  monkeypatch.chdir(tmp_path)
  before = list(seqio.get_global_cache_dirs())
  yield tmp_path
  seqio.set_global_cache_dirs(before)
  for name in CACHED:
    caches.forget(name)


def _run(command: list[str], path: str) -> str:
  """Output of a command in the working directory."""
  done = subprocess.run(
    command,
    env={**os.environ, "PYTHONPATH": path},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return done.stdout


def _shell(block: Block, repository: pathlib.Path) -> str:
  """Output of a shell block."""
  commands = pathlib.Path("bin").absolute()
  commands.mkdir(exist_ok=True)
  for name, module in {
    "t5cr": "-m t5cr.cli",
    "seqio_cache_tasks": "-m seqio.scripts.cache_tasks_main",
    "python": "",
  }.items():
    (commands / name).write_text(
      f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n'
    )
    (commands / name).chmod(0o755)
  text = f"set -e\nPATH={commands}:$PATH\n{block.text}"
  return _run(["bash", "-c", text], _path(repository))


def _path(repository: pathlib.Path) -> str:
  """A PYTHONPATH with the source tree and the working directory."""
  set_before = os.environ.get("PYTHONPATH", "")
  return os.pathsep.join([str(repository), ".", set_before])


def test_the_pages_are_there():
  assert PAGES == [
    "using_cached.md",
    "using_in_a_loop.md",
    "using_in_gin.md",
    "using_under_a_prefix.md",
  ]
  for page in PAGES:
    assert all(b.language in ("gin", "python", "sh") for b in _blocks(page))
    assert page in (DOCS / "tasks.md").read_text()
    assert page in (DOCS / "index.md").read_text()


@pytest.mark.parametrize(
  ("number", "printed"),
  [
    (0, "encoder_input_tokens int32 (4, 512)"),
    (1, "movielens tags: "),
    (2, "'accuracy': "),
  ],
)
def test_loop(number, printed, project, capsys):
  exec(_of("using_in_a_loop.md", "python")[number].text, {})
  assert printed in capsys.readouterr().out


def test_cached_in_python(project, capsys):
  for name in CACHED:
    caches.write(project / "cache", name)
  exec(_of("using_cached.md", "python")[0].text, {})
  assert "'examples': 2" in capsys.readouterr().out


@pytest.mark.long
def test_cached_in_training(project, repository):
  for name in CACHED:
    caches.write(project / "cache", name)
  (block,) = _of("using_cached.md", "sh")
  _shell(block, repository)
  assert (project / "runs" / "cached" / "checkpoint_2").is_dir()


@pytest.mark.slow
@caches.needs_beam
def test_caching(project, repository):
  (block,) = _of("using_cached.md", "sh", "beam")
  # The usual 64 are many for two examples.
  text = block.text.replace(
    "seqio_cache_tasks", "seqio_cache_tasks --min_shards=2"
  )
  _shell(dataclasses.replace(block, text=text), repository)
  done = sorted(path.parent.name for path in project.glob("cache/*/COMPLETED"))
  assert done == sorted(CACHED)
  seqio.add_global_cache_dirs([str(project / "cache")])
  for name in CACHED:
    caches.assert_same(name)
    task = seqio.TaskRegistry.get(name)
    stats = task.get_cached_stats(task.splits[0])
    assert stats["examples"] > 0
    assert ("targets_tokens" in stats) == (name != "t5cr_movielens_tags")


@pytest.mark.long
def test_prefix_in_training(project, repository):
  (block,) = _of("using_under_a_prefix.md", "sh")
  _shell(block, repository)
  run = project / "runs" / "half"
  assert (run / "checkpoint_2").is_dir()
  results = "mine_t5cr_probe_recommendation-metrics.jsonl"
  assert (run / "inference_eval" / results).is_file()


# Somebody's program that gin configures: what t5x's DatasetConfig is there.
_PROGRAM = """
import sys
import gin
import seqio

@gin.configurable
def program(name, lengths, vocabulary):
  seqio.set_tfds_data_dir_override("data")
  mixture = seqio.get_mixture_or_task(name)
  example = next(iter(mixture.get_dataset(lengths, "train", seed=0)))
  same = mixture.output_features["inputs"].vocabulary == vocabulary
  print(name, same, len(example["inputs"]) <= 256)

for file in sys.argv[1:]:
  gin.clear_config()
  gin.parse_config_files_and_bindings([file], [
    "program.name = %MIXTURE_OR_TASK_NAME",
    "program.vocabulary = %VOCABULARY",
    "program.lengths = {'inputs': 512, 'targets': 128}",
  ])
  # t5x too makes more than one configuration of a data set.
  program()
  program()
"""


def test_gin_files(project, repository):
  for file in ("mine.gin", "copies.gin"):
    lines = (project / file).read_text().splitlines()
    # The files of t5x, which need not be installed here.
    own = [line for line in lines if not line.startswith("include")]
    (project / file).write_text("\n".join(own))
  (project / "program.py").write_text(_PROGRAM)
  printed = _run(
    [sys.executable, "program.py", "mine.gin", "copies.gin"], _path(repository)
  )
  assert printed.splitlines() == [
    "t5cr_all True True",
    "t5cr_all True True",
    "mine_t5cr_all True True",
    "mine_t5cr_all True True",
  ]


@pytest.mark.slow
@pytest.mark.skipif(
  not importlib.util.find_spec("t5x"), reason="needs upstream t5x"
)
def test_gin_files_under_t5x(project, repository):
  path = project / "mine.gin"
  text = re.sub("INITIAL_CHECKPOINT_PATH = .*", "", path.read_text())
  path.write_text(
    text.replace("base.gin", "tiny.gin").replace("1_039_900", "1")
    + textwrap.dedent("""
      INITIAL_CHECKPOINT_PATH = None
      BATCH_SIZE = 8
      EVAL_STEPS = 1
      EVAL_PERIOD = 1
      EVALUATOR_NUM_EXAMPLES = 2
    """)
  )
  for block in _of("using_in_gin.md", "sh", "t5x"):
    _shell(block, repository)
  for run in ("mine", "copies"):
    assert (project / "runs" / run / "checkpoint_1").is_dir()


_OTHER_PACKAGE = """
import seqio
import t5cr_tasks

t5cr_tasks.register(
  prefix="their_",
  vocabulary=seqio.ByteVocabulary(),
  feature_lengths={"inputs": 40, "targets": 8},
)
"""


def test_another_package_feeds_the_engine(project, monkeypatch):
  """A module that the engine imports by name registers its own copies."""
  from t5cr.engine import feed
  from t5cr.engine.train_config import TrainData

  (project / "their_tasks.py").write_text(_OTHER_PACKAGE)
  monkeypatch.syspath_prepend(str(project))
  feed.import_tasks("their_tasks")
  feed.use_data_dir("data")
  names = feed.task_names("their_t5cr_probes")
  assert len(names) == 4 and all(n.startswith("their_t5cr_") for n in names)
  data = TrainData(
    "their_t5cr_all",
    {"inputs": 64, "targets": 32},
    batch_size=2,
    pack=False,
    seed=0,
  )
  batch = next(feed.train_batches(data))
  ends = (batch["encoder_input_tokens"] > 0).sum(axis=1)
  assert ends.max() <= 40
  text = seqio.ByteVocabulary().decode(
    batch["encoder_input_tokens"][0].tolist()
  )
  assert text.startswith(("redial conversation", "movielens "))
  evaluator = feed.evaluator(
    "their_t5cr_probe_recommendation",
    output_dir=None,
    task_feature_lengths={"inputs": 64, "targets": 32},
    split="validation",
  )
  assert evaluator.eval_tasks[0].score_metric_fns


def test_what_gin_copies_must_exist():
  import t5cr_tasks

  with pytest.raises(t5cr_tasks.DataError, match="no task or mixture 'all'"):
    t5cr_tasks.copy_of("all", "nowhere_")
  assert not any(n.startswith("nowhere_") for n in seqio.TaskRegistry.names())
