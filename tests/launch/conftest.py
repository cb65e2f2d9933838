"""Stand-ins for the tools of clouds and clusters, which note their calls."""

import dataclasses
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import time

import pytest

TOOLS = ("gcloud", "sbatch", "squeue", "sacct", "scancel", "srun")
TOOLS += ("kubectl", "docker", "git")


@dataclasses.dataclass
class Cloud:
  """The launchers, run where every tool is a stand-in."""

  repository: pathlib.Path
  folder: pathlib.Path

  def answers(self, *rules: tuple[str, list[dict]]) -> None:
    """Says what the tools answer.

    Args:
      *rules: (pattern, answers): the calls in which the pattern is found get
        one answer after the other: {"out", "error", "status"} and "run", what
        bash is to do meanwhile, all of which may be missing.
    """
    for number, (pattern, answers) in enumerate(rules):
      rule = self.folder / "answers" / f"{number:02}"
      rule.mkdir(parents=True)
      (rule / "pattern").write_text(pattern)
      for turn, answer in enumerate(answers, start=1):
        (rule / str(turn)).write_text(
          f"printf %s {shlex.quote(answer.get('out', ''))}\n"
          f"printf %s {shlex.quote(answer.get('error', ''))} >&2\n"
          f"{answer.get('run', '')}\n"
          f"exit {answer.get('status', 0)}\n"
        )

  def calls(self, pattern: str = "") -> list[str]:
    """The calls so far, in which a pattern is found."""
    path = self.folder / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if re.search(pattern, line)]

  def _start(self, launcher: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
      [str(self.repository / "launch" / launcher), *arguments],
      cwd=self.folder,
      env={
        **os.environ,
        "PATH": f"{self.folder}:{os.environ['PATH']}",
        "POLL_SECONDS": "0.02",
        "GRACE_SECONDS": "0.02",
        "LINGER_SECONDS": "1",
      },
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      start_new_session=True,
    )

  def run(self, launcher: str, *arguments: str) -> tuple[int, str]:
    """Runs a launcher to its end: (status, all that it said)."""
    process = self._start(launcher, *arguments)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said

  def interrupt(
    self, when: str, number: signal.Signals, launcher: str, *arguments: str
  ) -> tuple[int, str]:
    """Runs a launcher, and interrupts it once a call `when` was made."""
    process = self._start(launcher, *arguments)
    deadline = time.monotonic() + 30
    while not self.calls(when):
      assert process.poll() is None, process.communicate()[0]
      assert time.monotonic() < deadline, f"no call {when}: {self.calls()}"
      time.sleep(0.02)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    return process.returncode, said


@pytest.fixture
def cloud(repository: pathlib.Path, tmp_path: pathlib.Path) -> Cloud:
  """Launchers among stand-ins, which answer nothing until a test says what."""
  folder = tmp_path / "tools"
  folder.mkdir()
  for tool in TOOLS:
    shutil.copy(pathlib.Path(__file__).with_name("standin.sh"), folder / tool)
  return Cloud(repository, folder)
