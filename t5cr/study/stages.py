"""The stages of a study, and what has been done.

Each stage leaves `OUT/stages/NAME.json`: what it was given, what came out, and
how long it took, and `OUT/stages/outputs/NAME.json`: the files that it made. A
stage is skipped when its record says it is done, what it would be given is the
same, and its files are as it left them; whatever moment a study is killed at,
the next run goes on from the last record.
"""

import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etils import epath

from t5cr import errors, nested, progress


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a file whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  temporary.unlink(missing_ok=True)  # a link there would be written through
  try:
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise


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
    return nested.loads(file.read_text(encoding="utf-8"))
  except ValueError as error:
    raise errors.UsageError(
      f"{path} should be JSON that t5cr wrote, but cannot be read ({error}). "
      "Remove it, and what it describes is made again."
    ) from error


def is_json(path: pathlib.Path) -> bool:
  """Whether a file is there and holds JSON."""
  try:
    return read_json(path) is not None
  except errors.UsageError:
    return False


def read_object(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Reads a JSON object, also from gs://; {} where there is no such file.

  Raises:
    UsageError: the file is there and is no JSON object.
  """
  value = read_json(path)
  if value is None or isinstance(value, dict):
    return value or {}
  raise errors.UsageError(
    f"{path} should be a JSON object, and is a {type(value).__name__}. Copy "
    "the folder again, or remove the file."
  )


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


# Files and folders, in groups that are made and made again together.
Outputs = Sequence[Sequence[pathlib.Path]]


@dataclasses.dataclass(frozen=True)
class Study:
  """A study's folder, opened by `opening.open_study`.

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

  def result(self, stage: str) -> Any:
    """What a stage that is done gave; None if it is not done."""
    record = self.record(stage) or {}
    return record.get("result") if record.get("state") == "done" else None

  def known_files(self, about: str) -> dict[str, Any]:
    """The fingerprints kept in `stages/files/ABOUT.json`, {} without any."""
    return read_json(self.record_path(f"files/{about}")) or {}

  def mend(self, stage: str) -> bool:
    """Removes what a stage made that is not as it left it, with a word.

    Returns:
      Whether there was any.
    """
    damaged = False
    for group in read_json(_outputs_path(self.out, stage)) or ():
      lost = _lost(self.out, group)
      if lost is None:
        continue
      damaged = True
      how = "is damaged" if lost.exists() else "is gone"
      paths = [_inside(self.out, name) for name in group["paths"]]
      self.reporter.say(
        f"{lost} {how}, so {', '.join(map(str, paths))} is made again."
      )
      for path in paths:
        remove(path)
    return damaged

  def stands(
    self, stage: str, inputs: Mapping[str, Any], outputs: Outputs
  ) -> bool:
    """Whether a stage is done with these inputs and its output is whole.

    Output that is damaged is removed.

    Args:
      stage: its name.
      inputs: what it would be given.
      outputs: what it made, to look for where it did not note that.

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
    damaged = self.mend(stage)
    done = record["state"] == "done" and not changed and not damaged
    return done and all(path.exists() for group in outputs for path in group)

  def trained_rows(self) -> list[str]:
    """The rows that have been begun."""
    records = self.out.glob("stages/row_*.json")
    begun = {path.stem.removeprefix("row_") for path in records}
    # Also those whose record was lost.
    begun |= {path.parent.name for path in self.out.glob("rows/*/run.json")}
    return sorted(begun)

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
    outputs: Callable[[Any], Outputs],
    run: Callable[[], Any],
  ) -> Any:
    """Does a stage, unless it stands.

    Args:
      name: of the stage.
      inputs: all that its result depends on, as JSON values.
      outputs: from what `run` returned to the files and folders that it made;
        the result stands as long as they are unchanged.
      run: does it and returns a JSON value.

    Returns:
      What `run` returned, now or before.

    Raises:
      UsageError: its inputs changed after rows were trained on its result.
    """
    before = self.result(name)
    if self.stands(name, inputs, () if before is None else outputs(before)):
      return before
    self.begin(name, inputs)
    started = time.monotonic()
    self.reporter.say(f"== {name}")
    result = run()
    note_outputs(self.out, name, outputs(result))
    self.finish(name, result, time.monotonic() - started)
    return result


def _outputs_path(out: pathlib.Path, stage: str) -> pathlib.Path:
  return out / "stages" / "outputs" / f"{stage}.json"


def note_outputs(out: pathlib.Path, stage: str, outputs: Outputs) -> None:
  """Records the files that a stage of a study made."""
  groups = []
  for group in outputs:
    files = {
      str(file.relative_to(out)): file
      for path in group
      for file in (path.rglob("*") if path.is_dir() else (path,))
      if file.is_file()
    }
    names = [str(path.relative_to(out)) for path in group]
    groups.append({"paths": names, "files": files_fingerprint(files, None)})
  write_json(_outputs_path(out, stage), groups)


def _lost(out: pathlib.Path, group: Mapping[str, Any]) -> pathlib.Path | None:
  """A file of a group that is gone or has changed, None if it is whole."""
  for path in (out / name for name in group["paths"]):
    if not path.exists():
      return path
  for path in (out / name for name in group["files"]):
    if not path.is_file():
      return path
  before = group["files"]
  now = files_fingerprint({name: out / name for name in before}, before)
  changed = [n for n in now if now[n]["sha256"] != before[n]["sha256"]]
  return out / changed[0] if changed else None


def is_name_within(name: str) -> bool:
  """Whether a path names something in a folder: not the folder, not above."""
  parts = name.split("/")  # An absolute path begins with an empty one.
  return "\0" not in name and not {"", ".", ".."}.intersection(parts)


def _inside(out: pathlib.Path, name: str) -> pathlib.Path:
  """A path in a study's folder; a record of another's could name any.

  Raises:
    UsageError: it lies elsewhere, also by a link.
  """
  path = out / name
  # A link at its end is removed itself, not what it leads to.
  within = is_name_within(name)
  if not within or not path.parent.resolve().is_relative_to(out.resolve()):
    raise errors.UsageError(
      f"{path} is gone or damaged, and lies outside of {out}. Remove it "
      "yourself, and run the same command again: it is made again."
    )
  return path


def is_whole(out: pathlib.Path, stage: str) -> bool:
  """Whether all that a stage noted is as it left it."""
  groups = read_json(_outputs_path(out, stage)) or ()
  return all(_lost(out, group) is None for group in groups)


def remove(path: pathlib.Path) -> None:
  """Removes a file, a link or a folder with all that is in it."""
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)
