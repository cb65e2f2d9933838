"""Stand-ins for the tools of clouds and clusters, which note their calls."""

import dataclasses
import fcntl
import os
import pathlib
import pty
import re
import shlex
import shutil
import signal
import subprocess
import termios
import time

import pytest

TOOLS = ("gcloud", "sbatch", "squeue", "sacct", "scancel", "srun")
TOOLS += ("scontrol", "sinfo", "kubectl", "docker", "git")


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

  def _start(
    self, *command: str, terminal: int | None = None
  ) -> subprocess.Popen[str]:
    """Starts a launcher in a session of its own, on a terminal if there is."""

    def controls() -> None:
      if terminal is not None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    launcher, *arguments = command
    return subprocess.Popen(
      [str(self.repository / "launch" / launcher), *arguments],
      cwd=self.folder,
      env={
        **os.environ,
        "PATH": f"{self.folder}:{os.environ['PATH']}",
        "POLL_SECONDS": "0.02",
        "PATIENCE": "3",
        "GRACE_SECONDS": "0.02",
        "CAPACITY_SECONDS": "0.02",
        "LINGER_SECONDS": "1",
      },
      stdin=subprocess.DEVNULL if terminal is None else terminal,
      stdout=subprocess.PIPE if terminal is None else terminal,
      stderr=subprocess.STDOUT,
      text=True,
      start_new_session=True,
      preexec_fn=controls,
    )

  def run(self, *command: str) -> tuple[int, str]:
    """Runs a launcher to its end: (status, all that it said)."""
    process = self._start(*command)
    try:
      said, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
      # It ends what it started too: nothing of a failed test polls on.
      process.terminate()
      raise
    return process.returncode, said

  def _wait(self, process: subprocess.Popen[str], when: str) -> None:
    """Waits until a call `when` was made."""
    deadline = time.monotonic() + 30
    while not self.calls(when):
      assert process.poll() is None, f"ended before {when}: {self.calls()}"
      assert time.monotonic() < deadline, f"no call {when}: {self.calls()}"
      time.sleep(0.02)

  def interrupt(
    self, when: str, number: signal.Signals, *command: str
  ) -> tuple[int, str]:
    """Runs a launcher, and interrupts it once a call `when` was made."""
    process = self._start(*command)
    self._wait(process, when)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    return process.returncode, said

  def abandon(
    self, signals: list[tuple[str, signal.Signals]], *command: str
  ) -> int:
    """Ends who reads what a launcher says, then signals its process group.

    Args:
      signals: (when, number): each is sent once a call `when` was made.
      *command: the launcher and its arguments.

    Returns:
      The launcher's status.
    """
    process = self._start(*command)
    assert process.stdout is not None
    for when, number in signals:
      self._wait(process, when)
      process.stdout.close()
      os.killpg(process.pid, number)
    return process.wait(timeout=30)

  def on_terminal(self, when: str, keys: bytes, *command: str) -> int:
    """Runs a launcher on a terminal; types after a call `when`, or closes it.

    Args:
      when: the call; a moment later comes what is typed.
      keys: what is typed; nothing closes the terminal.
      *command: the launcher and its arguments.

    Returns:
      The launcher's status.
    """
    ours, its = pty.openpty()
    process = self._start(*command, terminal=its)
    os.close(its)
    try:
      self._wait(process, when)
      time.sleep(0.3)
      if keys:
        os.write(ours, keys)
    finally:
      if not keys:
        os.close(ours)
    try:
      return process.wait(timeout=15)
    finally:
      process.kill()
      if keys:
        os.close(ours)


@pytest.fixture
def cloud(repository: pathlib.Path, tmp_path: pathlib.Path) -> Cloud:
  """Launchers among stand-ins, which answer nothing until a test says what."""
  folder = tmp_path / "tools"
  folder.mkdir()
  for tool in TOOLS:
    shutil.copy(pathlib.Path(__file__).with_name("standin.sh"), folder / tool)
  return Cloud(repository, folder)
