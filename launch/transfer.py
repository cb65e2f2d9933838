"""Copies a folder between this machine and a bucket, without checkpoints.

    transfer.py SOURCE DEST [CORPUS]
    transfer.py --is-whole DEST CORPUS

The last file that is written, DEST/.whole, says that a copy is complete, and of
which corpus. --is-whole ends with 0 if it is of this one, with 1 if there is
none, and with 2 and a message if it is of another.
"""

import sys

from etils import epath

_WHOLE = ".whole"


def copy(source: epath.Path, dest: epath.Path) -> int:
  """Copies files, replacing those that are there.

  Args:
    source: a folder.
    dest: made where it is not there.

  Returns:
    How many files were copied.
  """
  dest.mkdir(parents=True, exist_ok=True)
  copied = 0
  for path in source.iterdir():
    if path.name == _WHOLE or path.name.startswith("checkpoint_"):
      continue
    if path.is_dir():
      copied += copy(path, dest / path.name)
    else:
      path.copy(dest / path.name, overwrite=True)
      copied += 1
  return copied


def is_whole(folder: str, corpus: str = "") -> int:
  """Tells by a status whether a folder is a complete copy of a corpus."""
  mark = epath.Path(folder) / _WHOLE
  if not mark.exists():
    return 1
  if (there := mark.read_text()) == corpus:
    return 0
  print(
    f"transfer.py: {folder} was built from the corpus '{there}', not "
    f"'{corpus}'. Give that --corpus, or another --out.",
    file=sys.stderr,
  )
  return 2


def main(arguments: list[str]) -> int:
  """Does what the arguments say; returns the exit status."""
  if len(arguments) not in (2, 3):
    print(__doc__, file=sys.stderr)
    return 2
  if arguments[0] == "--is-whole":
    return is_whole(*arguments[1:])
  source, dest = map(epath.Path, arguments[:2])
  if not source.is_dir():
    print(f"transfer.py: there is no folder {source}.", file=sys.stderr)
    return 2
  copied = copy(source, dest)
  (dest / _WHOLE).write_text("".join(arguments[2:]))
  print(f"{copied} files: {source} -> {dest}")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
