"""The folder of a study: its settings, its lock, and what has been done.

Each stage leaves `OUT/stages/NAME.json`: what it was given, what came out, and
how long it took. A stage is skipped when that record says it is done, what it
would be given is the same, and its output is still there; whatever moment a
study is killed at, the next run goes on from the last record.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from t5cr import errors, nested, progress

_LOCK_SECONDS = 60.0


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a file whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  temporary.write_text(text, encoding="utf-8")
  os.replace(temporary, path)


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes JSON whole or not at all."""
  write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
  """Reads JSON, also from gs://; None where there is no such file.

  Raises:
    UsageError: the file is there and is no JSON.
  """
  file = epath.Path(path)
  if not file.exists():
    return None
  try:
    return json.loads(file.read_text(encoding="utf-8"))
  except ValueError as error:
    raise errors.UsageError(
      f"{path} should be JSON that t5cr wrote, but cannot be read ({error}). "
      "Remove it, and what it describes is made again."
    ) from error


def files_fingerprint(
  paths: Mapping[str, pathlib.Path], known: Mapping[str, Any] | None
) -> dict[str, dict[str, Any]]:
  """Sizes, times and sha256 of files.

  Args:
    paths: name -> file.
    known: what this function gave before; a file whose size and time have not
      changed is not read again.

  Returns:
    name -> {"size", "mtime_ns", "sha256"}.
  """
  prints = {}
  for name, path in sorted(paths.items()):
    status = path.stat()
    entry: dict[str, Any] = {
      "size": status.st_size,
      "mtime_ns": status.st_mtime_ns,
    }
    before = (known or {}).get(name, {})
    if {key: before.get(key) for key in entry} == entry:
      entry["sha256"] = before["sha256"]
    else:
      with path.open("rb") as file:
        entry["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    prints[name] = entry
  return prints


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
  """Says what differs: `steps: 100 before, 200 now`."""
  old, new = nested.flat(before), nested.flat(now)
  return [
    f"{key}: {_short(old.get(key))} before, {_short(new.get(key))} now"
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key)
  ]


def _short(value: Any) -> str:
  text = json.dumps(value, sort_keys=True)
  return text if len(text) <= 60 else text[:57] + "…"


@dataclasses.dataclass(frozen=True)
class Study:
  """A study's folder, opened by `open_study`.

  Attributes:
    out: the folder.
    reporter: where progress is shown.
    lock_file: descriptor of the lock; children that inherit it hold the lock
      as long as they live.
  """

  out: pathlib.Path
  reporter: progress.Reporter
  lock_file: int

  def record_path(self, stage: str) -> pathlib.Path:
    """Where a stage's record is."""
    return self.out / "stages" / f"{stage}.json"

  def record(self, stage: str) -> dict[str, Any] | None:
    """A stage's record, or None if it has never been started."""
    return read_json(self.record_path(stage))

  def stands(
    self, stage: str, inputs: Mapping[str, Any], outputs: Sequence[pathlib.Path]
  ) -> bool:
    """Whether a stage is done with these inputs and its output is there.

    Raises:
      UsageError: rows have been trained, and this stage had other inputs.
    """
    record = self.record(stage)
    if record is None:
      return False
    changed = differences(record["inputs"], inputs)
    if changed and self.trained_rows():
      raise errors.UsageError(
        f"{self.out} holds rows ({', '.join(self.trained_rows())}) of another "
        f"study: the stage {stage!r} was given something else "
        f"({'; '.join(changed)}). Nothing was changed. Use another --out, or "
        "remove that folder to start over."
      )
    done = record["state"] == "done" and not changed
    return done and all(path.exists() for path in outputs)

  def trained_rows(self) -> list[str]:
    """The rows that have been begun."""
    records = self.out.glob("stages/row_*.json")
    return sorted(path.stem.removeprefix("row_") for path in records)

  def begin(self, stage: str, inputs: Mapping[str, Any]) -> None:
    """Records that a stage was started, and with what."""
    record = self.record(stage) or {"seconds": 0.0}
    if record.get("inputs") != inputs:
      record = {"seconds": 0.0}
    write_json(
      self.record_path(stage), record | {"state": "started", "inputs": inputs}
    )

  def finish(self, stage: str, result: Any, seconds: float) -> None:
    """Records that a stage is done; `seconds` add to those of earlier runs."""
    record = self.record(stage) or {"seconds": 0.0, "inputs": {}}
    record["seconds"] = round(record["seconds"] + seconds, 1)
    now = datetime.datetime.now(datetime.UTC)
    record |= {
      "state": "done",
      "result": result,
      "finished": now.isoformat(timespec="seconds"),
    }
    write_json(self.record_path(stage), record)

  def pause(self, stage: str, seconds: float) -> None:
    """Adds the time of a run that did not finish."""
    record = self.record(stage)
    if record is not None and record["state"] == "started":
      record["seconds"] = round(record["seconds"] + seconds, 1)
      write_json(self.record_path(stage), record)

  def stage(
    self,
    name: str,
    inputs: Mapping[str, Any],
    outputs: Sequence[pathlib.Path],
    run: Callable[[], Any],
  ) -> Any:
    """Does a stage, unless it stands.

    Args:
      name: of the stage.
      inputs: all that its result depends on, as JSON values.
      outputs: paths that must exist for its result to stand.
      run: does it and returns a JSON value.

    Returns:
      What `run` returned, now or before.

    Raises:
      UsageError: its inputs changed after rows were trained on its result.
    """
    if self.stands(name, inputs, outputs):
      return (self.record(name) or {})["result"]
    self.begin(name, inputs)
    started = time.monotonic()
    self.reporter.say(f"== {name}")
    result = run()
    self.finish(name, result, time.monotonic() - started)
    return result


@contextlib.contextmanager
def open_study(
  out: pathlib.Path,
  settings: Mapping[str, Any],
  reporter: progress.Reporter,
) -> Iterator[Study]:
  """Opens a study's folder, alone, and makes it if it is not there.

  Args:
    out: the folder.
    settings: what defines the study, as JSON values.
    reporter: where progress is shown.

  Yields:
    The study.

  Raises:
    UsageError: the folder holds something else, a study with other settings,
      or is in use. Nothing in it is changed then.
  """
  file = out / "study.json"
  if out.exists() and not out.is_dir():
    raise errors.UsageError(
      f"--out {out} is a file; give a folder (it need not exist)."
    )
  if out.is_dir() and not file.exists():
    others = sorted(p.name for p in out.iterdir() if p.name != ".lock")
    if others:
      more = f" and {len(others) - 1} more" if len(others) > 1 else ""
      raise errors.UsageError(
        f"--out {out} holds something else than a study ({others[0]!r}{more}, "
        "but no study.json). Use an empty folder."
      )
  before = read_json(file)
  if before is not None:
    changed = differences(before["settings"], settings)
    if changed:
      raise errors.UsageError(
        f"{out} holds a study with other settings ({'; '.join(changed)}). "
        "Nothing was changed. Use another --out, or ask for the same settings."
      )
  out.mkdir(parents=True, exist_ok=True)
  lock_file = _lock(out / ".lock", reporter)
  try:
    if before is None:
      write_json(file, {"settings": dict(settings)})
    yield Study(out, reporter, lock_file)
  finally:
    os.close(lock_file)


def _lock(path: pathlib.Path, reporter: progress.Reporter) -> int:
  """Takes the lock; waits for the children of a run that was killed."""
  lock_file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
  deadline = time.monotonic() + _LOCK_SECONDS
  told = False
  while True:
    try:
      fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      break
    except BlockingIOError:
      owner = path.read_text().strip()
      if _is_alive(owner) or time.monotonic() > deadline:
        os.close(lock_file)
        raise errors.UsageError(
          f"{path.parent} is in use by another t5cr reproduce (process "
          f"{owner or 'unknown'}). Wait until it has ended, or end it, and run "
          "the same command again."
        ) from None
      if not told:
        reporter.say(f"Waiting for rows in {path.parent} that are ending …")
        told = True
      time.sleep(0.2)
  os.ftruncate(lock_file, 0)
  os.pwrite(lock_file, str(os.getpid()).encode(), 0)
  return lock_file


def _is_alive(process_id: str) -> bool:
  try:
    os.kill(int(process_id), 0)
  except PermissionError:
    return True
  except (ValueError, ProcessLookupError):
    return False
  return True
