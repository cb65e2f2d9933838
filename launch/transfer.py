"""Copies a folder between this machine and a bucket, without checkpoints.

    transfer.py SOURCE DEST
    transfer.py --is-whole DEST    ends with 0 if a copy there is complete

The last file that is written, DEST/.whole, says that a copy is complete.
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


def main(arguments: list[str]) -> int:
  """Does what the arguments say; returns the exit status."""
  if len(arguments) != 2:
    print(__doc__, file=sys.stderr)
    return 2
  if arguments[0] == "--is-whole":
    return 0 if (epath.Path(arguments[1]) / _WHOLE).exists() else 1
  source, dest = map(epath.Path, arguments)
  if not source.is_dir():
    print(f"transfer.py: there is no folder {source}.", file=sys.stderr)
    return 2
  copied = copy(source, dest)
  (dest / _WHOLE).write_text("")
  print(f"{copied} files: {source} -> {dest}")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
