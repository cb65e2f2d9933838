"""Archives that climb out or blow up, and servers that lie."""

import http.server
import io
import resource
import stat
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator

import pytest

from t5cr_tasks import errors
from t5cr_tasks.raw import archives, crawl, transfer

GOOD = b'{"a": 1}\n'


def packed(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
  """A zip archive with these entries, none of which is looked at."""
  content = io.BytesIO()
  with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
    for name, data in entries:
      file.writestr(name, data)
  return content.getvalue()


def of_kind(name: str, kind: int) -> zipfile.ZipInfo:
  entry = zipfile.ZipInfo(name)
  entry.external_attr = (kind | 0o777) << 16
  return entry


def squeezed(method: int, size: int) -> bytes:
  """A member of so many zeros that says it is as small as GOOD."""
  content = io.BytesIO()
  with zipfile.ZipFile(content, "w", method) as file:
    file.writestr("a.jsonl", bytes(size))
  return content.getvalue().replace(
    struct.pack("<L", size), struct.pack("<L", len(GOOD))
  )


def overlapping() -> bytes:
  """Two names in the directory for one and the same stored content."""
  content = bytearray(packed(("a.jsonl", GOOD), ("b.jsonl", GOOD)))
  second = content.rindex(b"PK\x01\x02")
  content[second + 42 : second + 46] = struct.pack("<L", 0)
  return bytes(content)


CLIMBING = {
  "parent": packed(("../a.jsonl", b"x"), ("a.jsonl", GOOD)),
  "parent inside": packed(("d/../../a.jsonl", b"x"), ("a.jsonl", GOOD)),
  "absolute": packed(("/tmp/a.jsonl", b"x"), ("a.jsonl", GOOD)),
  "backslashes": packed(("..\\a.jsonl", b"x"), ("a.jsonl", GOOD)),
  "drive": packed(("C:a.jsonl", b"x"), ("a.jsonl", GOOD)),
  "symbolic link": packed((of_kind("a.jsonl", stat.S_IFLNK), b"/etc/passwd")),
  "device": packed((of_kind("a.jsonl", stat.S_IFCHR), b"")),
  "pipe": packed((of_kind("a.jsonl", stat.S_IFIFO), b"")),
  "twice": packed(("a.jsonl", GOOD), ("d/a.jsonl", b"other")),
  "another case": packed(("A.JSONL", GOOD)),
  "only behind backslashes": packed(("d\\a.jsonl", GOOD)),
  "overlapping": overlapping(),
  "no archive": b"PK\x03\x04 but no archive",
  "a bomb that says so": packed(("a.jsonl", bytes(5_000_000))),
  "a bomb that lies": squeezed(zipfile.ZIP_DEFLATED, 300_000_000),
  "a bomb of bzip2": squeezed(zipfile.ZIP_BZIP2, 300_000_000),
  "a bomb of lzma": squeezed(zipfile.ZIP_LZMA, 300_000_000),
  "names without end": packed(*((f"{i:060}", b"") for i in range(12_000))),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("attack", CLIMBING)
def test_nothing_of_a_hostile_archive_is_left(watched, attack):
  archive = watched.root.parent / "archive.zip"
  archive.write_bytes(CLIMBING[attack])
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  with pytest.raises(errors.DataError, match=r"archive\.zip"):
    archives.unpack(archive, ["a.jsonl"], watched.inside, 1_000_000)
  grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
  assert grown < 100_000, "kB: it was unpacked in memory"
  left = [path.stat().st_size for path in watched.inside.iterdir()]
  assert sum(left) <= 1_000_000


def test_a_link_in_the_way_is_not_written_through(watched):
  (watched.inside / "a.jsonl").symlink_to(watched.root / "precious.json")
  archive = watched.root.parent / "archive.zip"
  archive.write_bytes(packed(("a.jsonl", GOOD)))
  with pytest.raises(FileExistsError):
    archives.unpack(archive, ["a.jsonl"], watched.inside, 1_000_000)


def test_a_nested_archive_is_not_opened(watched):
  inner = packed(("../reviews.csv", b"title\treview\n"))
  archive = watched.root.parent / "crawl.zip"
  archive.write_bytes(packed(("reviews.csv.zip", inner)))
  with pytest.raises(errors.DataError, match="expected one .csv"):
    crawl.convert(archive, watched.inside)
  archive.write_bytes(packed(("x\x1b]0;owned\x07/../reviews.csv", b"")))
  with pytest.raises(errors.DataError) as caught:
    crawl.convert(archive, watched.inside)
  assert "\x1b" not in str(caught.value)
  assert not list(watched.inside.iterdir())


class Liar(http.server.BaseHTTPRequestHandler):
  """Answers as the test wants; ends when the client hangs up."""

  attack: Callable[["Liar"], None]

  def do_GET(self):
    self.server.requests += 1  # pyright: ignore
    self.server.attack(self)  # pyright: ignore

  def head(self, status: int, **headers: str) -> None:
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name.replace("_", "-"), value)
    self.end_headers()

  def pour(self, block: bytes = bytes(1 << 16), most: int = 4_000) -> None:
    for _ in range(most):
      self.wfile.write(block)
      self.server.poured += len(block)  # pyright: ignore

  def log_message(self, *arguments):
    del arguments


class LyingServer(http.server.ThreadingHTTPServer):
  attack: Callable[[Liar], None]
  requests = 0
  poured = 0

  def handle_error(self, request, client_address):
    """A client that hangs up is what is wanted."""


@pytest.fixture
def server(monkeypatch) -> Iterator[LyingServer]:
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  with LyingServer(("127.0.0.1", 0), Liar) as server:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def endless(liar: Liar) -> None:
  liar.head(200)
  liar.pour()


def endless_redirect(liar: Liar) -> None:
  liar.head(302, Location="/again")
  liar.pour()


def to_a_file(liar: Liar) -> None:
  liar.head(302, Location="file:///etc/passwd")


def packed_bomb(liar: Liar) -> None:
  import gzip

  liar.head(200, Content_Encoding="gzip, gzip")
  liar.wfile.write(gzip.compress(gzip.compress(bytes(50_000_000))))


def length_without_end(liar: Liar) -> None:
  liar.head(200, Content_Length="9" * 30)
  liar.pour()


def range_without_end(liar: Liar) -> None:
  liar.head(206, Content_Range=f"bytes 3-{10**30}/{10**30}")
  liar.pour()


def heads_without_end(liar: Liar) -> None:
  liar.send_response(200)
  for number in range(5_000):
    liar.send_header(f"X-{number}", "x" * 1000)
  liar.end_headers()


LIES = (
  endless,
  endless_redirect,
  to_a_file,
  packed_bomb,
  length_without_end,
  range_without_end,
  heads_without_end,
)


@pytest.mark.parametrize("attack", LIES, ids=lambda attack: attack.__name__)
def test_a_server_cannot_fill_disk_or_memory(watched, server, attack):
  server.attack = attack
  patience = transfer.Patience(attempts=2, wait_s=0.001, read_s=5)
  url = f"http://127.0.0.1:{server.server_port}/data.zip"
  part = watched.inside / "data.zip.part"
  part.write_bytes(b"abc" if attack is range_without_end else b"")
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  with part.open("r+b", buffering=0) as file, pytest.raises(errors.DataError):
    transfer.download(url, file, None, most=1_000_000, patience=patience)
  assert part.stat().st_size <= 1_000_000
  grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
  assert grown < 20_000, "kB: it was read into memory"
  # What the sockets between hold, and no more.
  assert server.poured < 100_000_000
  assert server.requests <= 12
