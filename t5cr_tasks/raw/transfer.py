"""A download that goes on where it broke off.

The bytes go to a file that stays when a download fails or is interrupted; the
next one asks the server for the rest. What arrived is checked by the caller,
with a checksum: a server's word on lengths is only used to fail early.
"""

from __future__ import annotations

import dataclasses
import re
import time
import urllib.parse
from collections.abc import Callable
from typing import BinaryIO

import requests

from t5cr_tasks import errors

Progress = Callable[[str, int, int | None, str], None]

_REDIRECTS = 10
# A block that was not finished when a connection broke is lost.
_BLOCK_BYTES = 1 << 14
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclasses.dataclass(frozen=True)
class Patience:
  """How long to try.

  Attributes:
    attempts: in a row that may bring nothing; one that brings bytes begins the
      count anew.
    wait_s: seconds before the second attempt, doubled before each further one.
    max_wait_s: seconds between attempts, at most.
    connect_s: seconds to wait for a connection.
    read_s: seconds to wait for the next bytes.
  """

  attempts: int = 6
  wait_s: float = 1.0
  max_wait_s: float = 60.0
  connect_s: float = 20.0
  read_s: float = 60.0


class _Passing(Exception):
  """Something that another attempt may mend."""

  def __init__(self, problem: str, wait_s: float = 0.0):
    super().__init__(problem)
    self.wait_s = wait_s


def download(
  url: str,
  file: BinaryIO,
  size: int | None,
  *,
  most: int | None = None,
  stage: str = "download",
  patience: Patience | None = None,
  progress: Progress | None = None,
) -> None:
  """Downloads what a file lacks of the content at an address.

  Proxies are those of the environment (HTTPS_PROXY, NO_PROXY); redirects are
  followed; certificates are checked.

  Args:
    url: http or https.
    file: open for reading and writing in binary, unbuffered; what it holds is
      taken for the beginning of the content.
    size: bytes that the content must have, None if that is not known.
    most: bytes that it may have where that is not known; None for any number.
    stage: the name to report progress under.
    patience: when to give up.
    progress: see `t5cr.progress`; counted in kB.

  Raises:
    DataError: the server refuses, offers another length than `size` or more
      than `most`, or keeps breaking off. `file` holds what arrived, unless that
      is of no use.
  """
  patience = patience or Patience()
  failures = furthest = 0
  with _Session() as session:
    while True:
      before = _length(file)
      limit = size if size is not None else most
      if limit is not None and before > limit:
        file.truncate(before := 0)
      if before and before == size:
        return
      try:
        _attempt(session, url, file, size, limit, stage, patience, progress)
        return
      except _Passing as error:
        # A server that starts from zero each time must not count as progress.
        gained = _length(file) > max(before, furthest)
        furthest = max(before, furthest, _length(file))
        failures = 1 if gained else failures + 1
        if failures >= patience.attempts:
          raise errors.DataError(
            f"{url}: {error}. Gave up after {failures} attempts in a row that "
            f"brought nothing; {_length(file):,} bytes"
            + (f" of {size:,}" if size else "")
            + " are there. Try again later: the download goes on from there."
          ) from error
        wait = patience.wait_s * 2 ** (failures - 1)
        time.sleep(min(max(wait, error.wait_s), patience.max_wait_s))


def _length(file: BinaryIO) -> int:
  return file.seek(0, 2)


def _attempt(
  session: requests.Session,
  url: str,
  file: BinaryIO,
  size: int | None,
  limit: int | None,
  stage: str,
  patience: Patience,
  progress: Progress | None,
) -> None:
  """One request; returns when the content is all there."""
  start = _length(file)
  # Without this a server may compress, and lengths would mean something else.
  headers = {"Accept-Encoding": "identity"}
  if start:
    headers["Range"] = f"bytes={start}-"
  try:
    with _get(session, url, headers, patience) as response:
      total = _check(url, response, file, start, size)
      if total is not None and _length(file) == total:
        return
      _receive(url, response, file, total, limit, stage, progress)
  except requests.exceptions.SSLError as error:
    raise errors.DataError(
      f"{url}: no safe connection ({error}). Check the clock and the "
      "certificates of this machine, or of the proxy it goes through."
    ) from error
  except (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
  ) as error:
    raise _Passing(f"the connection failed or broke off ({error})") from error
  except requests.exceptions.RequestException as error:
    raise errors.DataError(f"{url}: cannot be fetched ({error}).") from error


class _Session(requests.Session):
  """Leaves redirects to `_get`: requests reads all that comes with one."""

  def get_redirect_target(self, resp: requests.Response) -> None:
    """None, as if there were no redirects."""
    return None


def _get(
  session: requests.Session,
  url: str,
  headers: dict[str, str],
  patience: Patience,
) -> requests.Response:
  """Follows redirects."""
  place = url
  for _ in range(_REDIRECTS):
    response = session.get(
      place,
      headers=headers,
      stream=True,
      timeout=(patience.connect_s, patience.read_s),
    )
    target = requests.Session.get_redirect_target(session, response)
    if target is None:
      return response
    response.close()
    place = urllib.parse.urljoin(place, target)
  raise errors.DataError(
    f"{url}: more than {_REDIRECTS} redirects, the last to {place}. See the "
    "publisher's page, and put the files in place by hand."
  )


def _check(
  url: str,
  response: requests.Response,
  file: BinaryIO,
  start: int,
  size: int | None,
) -> int | None:
  """Looks at an answer's head and sets the file to where its body goes on.

  Returns:
    Bytes of the whole content, None if neither we nor the server know.
  """
  status = response.status_code
  packed = response.headers.get("Content-Encoding", "identity")
  if packed.strip().lower() not in ("", "identity"):
    # It was not asked for, and could unpack to any length.
    raise errors.DataError(
      f"{url}: the server sends it packed ({packed!r:.40}), which was not "
      "asked for. See the publisher's page, and put the files in place by hand."
    )
  if status in (206, 416):
    total = _check_range(response, file, start)
  elif status == 200:
    declared = response.headers.get("Content-Length", "")
    total = int(declared) if declared.isdecimal() else None
  elif status in _PASSING:
    after = response.headers.get("Retry-After", "")
    raise _Passing(
      f"the server answered {status} {response.reason}",
      float(after) if after.isdecimal() else 0.0,
    )
  else:
    raise errors.DataError(
      f"{url}: the server answered {status} {response.reason}. The address may "
      "have changed: see the publisher's page, and put the files in place by "
      "hand."
    )
  if size is not None and total is not None and total != size:
    # What is here already may be good: it may be a log-in page that came now.
    kind = response.headers.get("Content-Type", "no type")
    raise errors.DataError(
      f"{url}: expected {size:,} bytes, the server offers {total:,} ({kind}). "
      "This is not the published file, or a proxy has put another page in its "
      "place."
    )
  if status == 200:
    file.truncate(0)  # The server does not do ranges: all of it comes.
  return size if size is not None else total


def _check_range(
  response: requests.Response, file: BinaryIO, start: int
) -> int | None:
  match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
  total = int(match[3]) if match and match[3].isdecimal() else None
  if response.status_code == 416 and total == start:
    return total
  if response.status_code == 206 and match and match[1] == str(start):
    return total
  # Another part than the one asked for, or what is here is no part of it.
  file.truncate(0)
  raise _Passing("the server did not send the range that was asked for")


def _receive(
  url: str,
  response: requests.Response,
  file: BinaryIO,
  total: int | None,
  limit: int | None,
  stage: str,
  progress: Progress | None,
) -> None:
  if total is not None:
    limit = total if limit is None else min(total, limit)
  done = _length(file)
  all_kb = None if total is None else -(-total // 1000)
  for block in response.iter_content(_BLOCK_BYTES):
    _write(file, block)
    done += len(block)
    if limit is not None and done > limit:
      file.truncate(0)
      known = "" if limit == total else "at most "
      raise errors.DataError(
        f"{url}: expected {known}{limit:,} bytes, and more than that arrived. "
        "This is not the published file."
      )
    if progress:
      kb = all_kb if done == total and all_kb is not None else done // 1000
      progress(stage, kb, all_kb, "kB")
  if total is not None and done < total:
    raise _Passing(f"broke off after {done:,} of {total:,} bytes")


def _write(file: BinaryIO, block: bytes) -> None:
  # An unbuffered file may take less than it is given.
  rest = memoryview(block)
  while rest:
    rest = rest[file.write(rest) :]
