"""Every block of the pages is run here, or marked with what it needs.

The pages that are run here begin where the tour ends: `conftest.reader`.
"""

import importlib.util
import re
import tomllib

import blocks
import command_lines
import pytest

# Whose blocks are run elsewhere, and where.
ELSEWHERE = {
  "docs/launch.md": "tests/launch/test_scripts.py",
  "docs/using_cached.md": "tests/tasks/test_docs_using.py",
  "docs/using_in_a_loop.md": "tests/tasks/test_docs_using.py",
  "docs/using_in_gin.md": "tests/tasks/test_docs_using.py",
  "docs/using_under_a_prefix.md": "tests/tasks/test_docs_using.py",
}
# What the blocks of a page print.
RUN = {
  "docs/adding.md": "The report is in runs/both.",
  "docs/baselines.md": "The report is in runs/report.",
  "docs/checkpoints.md": "from_hf/checkpoint_0",
  "docs/data.md": "'train dialogues': {",
  "docs/engine.md": "",  # t5cr eval says nothing but its progress.
  "docs/huggingface.md": "/runs/flan/checkpoint_0",
  "docs/probes.md": "Painted Jester (1982)",
  "docs/python.md": "log-likelihoods: ",
  "docs/results.md": "The report is in runs/compared.",
  "docs/t5x.md": "gin",
  "docs/tasks.md": "t5cr_movielens_tags",
  "docs/tour.md": "The report is in runs/tour/report.",
}
SHELL = ("sh", "bash")
PROJECT = tomllib.loads((blocks.ROOT / "pyproject.toml").read_text())["project"]
LANGUAGES = (*SHELL, "python", "gin", "text", "dockerfile", "yaml", "json", "")


@pytest.mark.parametrize("page", blocks.PAGES)
def test_every_block_is_run_or_marked(page):
  for block in blocks.read(page):
    assert block.language in LANGUAGES, f"{block}: {block.language}"
    known = block.word in ("", *blocks.MARKERS)
    known = known or (block.is_file and block.language not in SHELL)
    assert known, f"{block}: the marker {block.word!r} is unknown"
    if block.word == "" and block.language in (*SHELL, "python"):
      assert page in (*RUN, *ELSEWHERE), (
        f"{block} has no marker. Mark it with what it needs, or list the page"
        " in tests/docs/test_commands.py so that it is run."
      )


def test_the_pages_that_are_listed_have_something_to_run():
  for page in (*RUN, *ELSEWHERE):
    assert any(b.language in LANGUAGES[:3] for b in blocks.read(page)), page
  assert not set(RUN) & set(ELSEWHERE)
  for tests in ELSEWHERE.values():
    assert (blocks.ROOT / tests).is_file()


def test_tour(tour):
  assert RUN["docs/tour.md"] in tour.with_suffix(".done").read_text()
  assert (tour / "runs" / "tour" / "report" / "report.html").is_file()


@pytest.mark.parametrize("page", sorted(set(RUN) - {"docs/tour.md"}))
def test_page(page, reader):
  words = ("", "hf") if importlib.util.find_spec("transformers") else ("",)
  assert RUN[page] in reader.follow(page, words)


def _marked() -> list[blocks.Block]:
  return [
    block
    for page in blocks.PAGES
    for block in blocks.read(page)
    if block.language in SHELL and block.word
  ]


@pytest.mark.parametrize("block", _marked(), ids=str)
def test_what_is_not_run_is_written_right(block, tmp_path, monkeypatch):
  """Commands, flags, gin files and macros are known, if nothing else."""
  monkeypatch.chdir(tmp_path)
  # Files that the page itself has.
  for other in blocks.read(block.page):
    if other.is_file:
      path = tmp_path / other.word
      path.parent.mkdir(exist_ok=True)
      path.write_text(other.text)
  for call in blocks.calls(block, tmp_path, ""):
    words = list(call.words)
    words[0] = words[0].removeprefix(".venv/bin/")
    if words[0] == "t5cr":
      command_lines.check(words[1:])
    elif words[:2] == ["python", "-m"] and words[2].startswith("t5x."):
      command_lines.check_t5x(words[3:])
    elif words[0] == "python" and words[1].endswith(".py"):
      assert (blocks.ROOT / words[1]).is_file(), words[1]
    elif "pip" in words[:3] and words[-1].startswith(".["):
      extra = words[-1].strip(".[]")
      assert extra in PROJECT["optional-dependencies"], words[-1]
    elif words[0] == "make":
      makefile = (blocks.ROOT / "Makefile").read_text()
      assert re.search(rf"^{words[1]}:", makefile, re.M), words[1]


@pytest.mark.parametrize(
  "line",
  [
    "trian --gin_file=t5cr/finetune.gin",
    "data build --raw RAW",
    "data build --raw RAW --tfds_data_dir DIR --max_lines 3",
    "plan --gin_file=t5cr/finetune.gin --gin_file=recipe/paper.gin",
    "eval --gin_file=t5cr/evaluate.gin",
    "score --gin_file=t5cr/score.gin --gin.CHECKPOINT='runs/all'",
    "score --gin_file=t5cr/score.gin --gin_file=recipe/tiny.gin",
  ],
)
def test_what_is_written_wrong_is_found(line):
  with pytest.raises((ValueError, command_lines.Unknown)):
    command_lines.check(line.split())


def test_what_is_written_wrong_of_t5x_is_found():
  right = ["--gin_file=t5x/eval.gin", "--gin.DECODER='beam'"]
  command_lines.check_t5x(right)
  with pytest.raises(AssertionError, match="DECODE_R"):
    command_lines.check_t5x([*right, "--gin.DECODE_R=1"])
  with pytest.raises(AssertionError, match="evaluate.gin"):
    command_lines.check_t5x(["--gin_file=t5x/evaluate.gin"])


def test_t5x_is_pinned_alike():
  """What the page installs is what a launched job installs."""
  pin = re.compile(r"github\.com/[\w/-]+@[0-9a-f]{40}|\b[\w-]+==[\d.]+")
  page = (blocks.ROOT / "docs" / "t5x.md").read_text()
  job = (blocks.ROOT / "launch" / "job.sh").read_text()
  pins = set(pin.findall(page))
  assert len(pins) == 6
  assert pins <= set(pin.findall(job))
