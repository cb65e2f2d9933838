"""Fetching raw files, from a real server on this machine that misbehaves."""

import dataclasses
import errno
import fcntl
import hashlib
import http.server
import io
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator

import pytest

from t5cr import cli
from t5cr_tasks import errors
from t5cr_tasks.raw import download, transfer

FAST = transfer.Patience(attempts=3, wait_s=0.001, connect_s=5, read_s=5)
MEMBERS = {
  # Noise does not compress: the archive is long enough to break off in.
  "train_data.jsonl": random.Random(0).randbytes(600_000),
  "test_data.jsonl": b'{"b": 2}\n',
}


def pack(members: dict[str, bytes]) -> bytes:
  packed = io.BytesIO()
  with zipfile.ZipFile(packed, "w") as file:
    for name, content in members.items():
      file.writestr(name, content)
  return packed.getvalue()


ARCHIVE = pack(MEMBERS)
# Where connections break off: at the end of one of the blocks that are written.
EARLY, LATE = 12 << 14, 18 << 14


class Handler(http.server.BaseHTTPRequestHandler):
  """Serves ARCHIVE as a good server does, or as a test wants it once."""

  protocol_version = "HTTP/1.1"

  def do_GET(self):
    server: Server = self.server  # pyright: ignore
    server.requests.append((self.path, self.headers.get("Range")))
    behave = server.script.pop(0) if server.script else server.always
    behave(self)

  def log_message(self, *arguments):
    del arguments

  def head(self, status: int, length: int | None = None, **more: str) -> None:
    self.send_response(status)
    if length is not None:
      self.send_header("Content-Length", str(length))
    for name, value in more.items():
      self.send_header(name.replace("_", "-"), value)
    self.end_headers()

  def start(self) -> int:
    match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
    return int(match[1]) if match else 0

  def good(self, content: bytes = ARCHIVE, until: int | None = None) -> None:
    """Honours a range; `until`: breaks off before this byte."""
    start = self.start()
    if start >= len(content):
      self.head(416, 0, Content_Range=f"bytes */{len(content)}")
      return
    span = f"bytes {start}-{len(content) - 1}/{len(content)}"
    more = {"Content_Range": span} if start else {}
    self.head(206 if start else 200, len(content) - start, **more)
    self.wfile.write(content[start:until])
    self.close_connection = until is not None


class Server(http.server.ThreadingHTTPServer):
  """Answers by `script`, one behaviour a request, and then by `always`."""

  def __init__(self):
    super().__init__(("127.0.0.1", 0), Handler)
    self.script: list[Callable[[Handler], None]] = []
    self.always: Callable[[Handler], None] = Handler.good
    self.requests: list[tuple[str, str | None]] = []

  def handle_error(self, request, client_address):
    """A client that goes away is part of the tests."""


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
  # A proxy of the environment must not come between.
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  with Server() as server:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()


@pytest.fixture
def source(server) -> download.Source:
  return source_for(ARCHIVE, server)


def source_for(content: bytes, server: Server) -> download.Source:
  return download.Source(
    name="redial",
    url=f"http://127.0.0.1:{server.server_port}/data/redial.zip",
    sha256=hashlib.sha256(content).hexdigest(),
    size=len(content),
    members=tuple(MEMBERS),
    max_unpacked=1 << 20,
    terms="Invented.",
  )


def held(raw: pathlib.Path) -> list[str]:
  """All files below RAW."""
  return sorted(
    str(p.relative_to(raw)) for p in raw.rglob("*") if not p.is_dir()
  )


WHOLE = sorted(["redial/.fetched.json", *(f"redial/{m}" for m in MEMBERS)])
PART = "redial.zip.part"


def assert_whole(raw: pathlib.Path) -> None:
  assert held(raw) == WHOLE
  for name, content in MEMBERS.items():
    assert (raw / "redial" / name).read_bytes() == content


def test_files_come_once_and_are_known_again(tmp_path, server, source):
  assert download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)
  assert not download.fetch(source, tmp_path, patience=FAST)
  # Touched, but the same: read through, and no request either.
  os.utime(tmp_path / "redial/test_data.jsonl", (1, 1))
  assert not download.fetch(source, tmp_path, patience=FAST)
  assert server.requests == [("/data/redial.zip", None)]


def test_progress_is_told_in_kb(tmp_path, source):
  told = []
  download.fetch(source, tmp_path, progress=lambda *told_: told.append(told_))
  kb = -(-len(ARCHIVE) // 1000)
  fetching = [told_ for told_ in told if told_[0] == "fetch redial"]
  assert fetching[-1] == ("fetch redial", kb, kb, "kB")
  assert len(fetching) > 1
  kb = -(-sum(map(len, MEMBERS.values())) // 1000)
  assert told[-1] == ("unpack redial", kb, kb, "kB")


@pytest.mark.parametrize("stage", ["fetch redial", "unpack redial"])
def test_a_full_disk_says_so_and_loses_nothing(tmp_path, source, stage):
  def fails(named, *_):
    if named == stage:
      raise OSError(errno.ENOSPC, "No space left on device")

  with pytest.raises(errors.DataError, match="no space is left"):
    download.fetch(source, tmp_path, patience=FAST, progress=fails)
  assert held(tmp_path) == [PART]
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)


@pytest.mark.parametrize("record", ["", "[]", '{"sha256": 1, "files": [1]}'])
def test_a_record_that_is_spoilt_is_made_anew(tmp_path, source, record):
  download.fetch(source, tmp_path, patience=FAST)
  (tmp_path / "redial" / download.RECORD).write_text(record)
  assert download.fetch(source, tmp_path, patience=FAST)
  assert not download.fetch(source, tmp_path, patience=FAST)


@pytest.mark.parametrize("size_is_known", [True, False])
def test_a_connection_that_breaks_is_taken_up_again(
  tmp_path, server, source, size_is_known
):
  server.script = [
    lambda h: h.good(until=EARLY),
    lambda h: h.good(until=LATE),
  ]
  if not size_is_known:
    source = dataclasses.replace(source, size=None)
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)
  asked = [asked for _, asked in server.requests]
  assert asked == [None, f"bytes={EARLY}-", f"bytes={LATE}-"]


def test_what_arrived_stays_for_the_next_call(tmp_path, server, source):
  server.script = [lambda h: h.good(until=LATE)]
  server.always = lambda h: h.head(503, 0)
  with pytest.raises(errors.DataError, match="503") as caught:
    download.fetch(source, tmp_path, patience=FAST)
  assert f"{LATE:,} bytes of {len(ARCHIVE):,}" in str(caught.value)
  assert held(tmp_path) == [PART]
  server.always = Handler.good
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)
  assert server.requests[-1][1] == f"bytes={LATE}-"


def test_errors_of_the_server_that_pass_are_waited_for(
  tmp_path, server, source
):
  server.script = [
    lambda h: h.head(500, 0),
    lambda h: h.head(429, 0, Retry_After="0"),
  ]
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)
  assert len(server.requests) == 3


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_ends_it_at_once(tmp_path, server, source, status):
  server.always = lambda h: h.head(status, 0)
  with pytest.raises(errors.DataError, match=f"answered {status}"):
    download.fetch(source, tmp_path, patience=FAST)
  assert len(server.requests) == 1
  assert held(tmp_path) == []


def test_a_server_without_ranges_starts_again(tmp_path, server, source):
  def ignores_ranges(handler):
    handler.head(200, len(ARCHIVE))
    handler.wfile.write(ARCHIVE)

  server.script = [lambda h: h.good(until=LATE), ignores_ranges]
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)


def test_another_range_than_asked_for_is_not_appended(tmp_path, server, source):
  def sends_the_wrong_part(handler):
    size = len(ARCHIVE)
    span = f"bytes 7-{size - 1}/{size}"
    handler.head(206, size - 7, Content_Range=span)
    handler.wfile.write(ARCHIVE[7:])

  server.script = [lambda h: h.good(until=LATE), sends_the_wrong_part]
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)
  assert server.requests[-1][1] is None


def test_a_server_that_always_breaks_off_is_given_up(tmp_path, server, source):
  def without_ranges(handler):
    # A bit more or less each time, which is no way forward.
    cut = 300_000 - 50_000 * (len(server.requests) % 2)
    handler.head(200, len(ARCHIVE))
    handler.wfile.write(ARCHIVE[:cut])
    handler.close_connection = True

  server.always = without_ranges
  with pytest.raises(errors.DataError, match="Gave up after 3 attempts"):
    download.fetch(source, tmp_path, patience=FAST)
  assert len(server.requests) < 8


@pytest.mark.parametrize("said", [len(ARCHIVE) + 5, len(ARCHIVE) - 5, 0])
def test_a_length_that_is_not_the_published_one(tmp_path, server, source, said):
  def lies(handler):
    handler.head(200, said)
    handler.wfile.write(ARCHIVE)
    handler.close_connection = True

  server.always = lies
  with pytest.raises(errors.DataError) as caught:
    download.fetch(source, tmp_path, patience=FAST)
  assert f"expected {len(ARCHIVE):,} bytes" in str(caught.value)
  assert f"offers {said:,}" in str(caught.value)
  assert held(tmp_path) == []


def test_a_lie_about_length_where_none_is_published(tmp_path, server, source):
  def lies(handler):
    handler.head(200, len(ARCHIVE) - 5)
    handler.wfile.write(ARCHIVE)
    handler.close_connection = True

  server.always = lies
  source = dataclasses.replace(source, size=None)
  with pytest.raises(errors.DataError, match="expected sha256") as caught:
    download.fetch(source, tmp_path, patience=FAST)
  assert f"{len(ARCHIVE) - 5:,} bytes that came" in str(caught.value)
  assert held(tmp_path) == []


def test_more_than_the_published_length_is_cut_short(tmp_path, server, source):
  def without_a_length(handler):
    handler.head(200, Connection="close")
    for _ in range(20):
      handler.wfile.write(ARCHIVE)
    handler.close_connection = True

  server.always = without_a_length
  with pytest.raises(errors.DataError, match="more than that arrived"):
    download.fetch(source, tmp_path, patience=FAST)
  assert held(tmp_path) == []


def test_a_page_in_place_of_the_file_costs_nothing_that_is_there(
  tmp_path, server, source
):
  page = b"<html>Log in to the network</html>"

  def log_in(handler):
    handler.head(200, len(page), Content_Type="text/html")
    handler.wfile.write(page)

  (tmp_path / PART).write_bytes(ARCHIVE[:LATE])
  server.script = [log_in]
  with pytest.raises(errors.DataError, match="text/html"):
    download.fetch(source, tmp_path, patience=FAST)
  assert (tmp_path / PART).read_bytes() == ARCHIVE[:LATE]
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)


def test_a_wrong_file_of_the_right_length_is_thrown_away(
  tmp_path, server, source
):
  wrong = pack(MEMBERS | {"test_data.jsonl": b'{"b": 3}\n'})
  assert len(wrong) == len(ARCHIVE)
  server.always = lambda h: h.good(wrong)
  with pytest.raises(errors.DataError) as caught:
    download.fetch(source, tmp_path, patience=FAST)
  assert f"expected sha256 {source.sha256}" in str(caught.value)
  assert f"found {hashlib.sha256(wrong).hexdigest()}" in str(caught.value)
  assert held(tmp_path) == []


@pytest.mark.parametrize("length", [300_000, len(ARCHIVE), len(ARCHIVE) + 9])
def test_a_spoilt_beginning_is_not_kept(tmp_path, server, source, length):
  (tmp_path / PART).write_bytes(b"x" * length)
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)
  assert server.requests[-1][1] is None


@pytest.mark.parametrize("size_is_known", [True, False])
def test_a_part_that_is_whole_needs_no_more_bytes(
  tmp_path, server, source, size_is_known
):
  (tmp_path / PART).write_bytes(ARCHIVE)
  if not size_is_known:
    source = dataclasses.replace(source, size=None)
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)
  assert len(server.requests) == (0 if size_is_known else 1)


def test_redirects_are_followed_with_the_range(tmp_path, server, source):
  def elsewhere(handler):
    handler.head(302, 0, Location="/mirror/redial.zip")

  (tmp_path / PART).write_bytes(ARCHIVE[:1000])
  server.script = [elsewhere]
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)
  assert server.requests[-1] == ("/mirror/redial.zip", "bytes=1000-")


def test_redirects_in_a_circle_end(tmp_path, server, source):
  server.always = lambda h: h.head(302, 0, Location=h.path)
  with pytest.raises(errors.DataError, match="redirects"):
    download.fetch(source, tmp_path, patience=FAST)
  assert held(tmp_path) == []


def test_a_certificate_that_nobody_signed_is_refused(tmp_path, server, source):
  # This server speaks no TLS at all, which is as unsafe.
  source = dataclasses.replace(
    source, url=source.url.replace("http:", "https:")
  )
  with pytest.raises(errors.DataError, match="no safe connection"):
    download.fetch(source, tmp_path, patience=FAST)
  assert held(tmp_path) == []


def test_a_server_that_falls_silent_is_asked_again(tmp_path, server, source):
  ended = threading.Event()

  def falls_silent(handler):
    handler.head(200, len(ARCHIVE))
    handler.wfile.write(ARCHIVE[:LATE])
    ended.wait(10)

  server.script = [falls_silent]
  patience = dataclasses.replace(FAST, read_s=0.2)
  download.fetch(source, tmp_path, patience=patience)
  ended.set()
  assert_whole(tmp_path)


def test_an_interrupt_leaves_what_arrived(tmp_path, server, source):
  def falls_silent(handler):
    handler.head(200, len(ARCHIVE))
    handler.wfile.write(ARCHIVE[:LATE])
    time.sleep(3)

  server.script = [falls_silent]
  code = (
    "import sys\n"
    "from t5cr import cli\n"
    "from t5cr_tasks.raw import download\n"
    f"download.SOURCES = {{'redial': download.{source!r}}}\n"
    "sys.exit(cli.main(['data', 'fetch', '--raw', sys.argv[1]]))"
  )
  child = subprocess.Popen(
    [sys.executable, "-c", code, str(tmp_path)],
    stderr=subprocess.PIPE,
    text=True,
  )
  part = tmp_path / PART
  deadline = time.monotonic() + 300
  while not part.is_file() or part.stat().st_size < LATE:
    assert child.poll() is None and time.monotonic() < deadline
    time.sleep(0.02)
  child.send_signal(signal.SIGINT)
  _, told = child.communicate(timeout=30)
  assert child.returncode == 130
  assert "The same command goes on" in told
  arrived = part.read_bytes()
  assert arrived == ARCHIVE[: len(arrived)]
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)
  assert server.requests[-1][1] == f"bytes={len(arrived)}-"


def test_two_at_once_do_no_harm(tmp_path, server, source):
  with open(tmp_path / PART, "wb") as other:
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(errors.DataError, match="another process is fetching"):
      download.fetch(source, tmp_path, patience=FAST)
  assert not server.requests
  # The lock ended with its owner.
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)


def test_a_good_file_that_is_there_is_kept(tmp_path, source):
  there = tmp_path / "redial/train_data.jsonl"
  there.parent.mkdir()
  there.write_bytes(MEMBERS["train_data.jsonl"])
  before = there.stat()
  assert download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)
  assert os.path.samestat(before, there.stat())


def test_a_file_that_differs_is_never_overwritten(tmp_path, server, source):
  there = tmp_path / "redial/test_data.jsonl"
  there.parent.mkdir()
  there.write_bytes(b"mine")
  with pytest.raises(errors.DataError, match="differs from the file") as caught:
    download.fetch(source, tmp_path, patience=FAST)
  assert str(there) in str(caught.value)
  assert there.read_bytes() == b"mine"
  assert held(tmp_path) == [PART, "redial/test_data.jsonl"]
  # Once it is out of the way, nothing is downloaded again.
  there.unlink()
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)
  assert len(server.requests) == 1


def test_a_file_that_changed_since_is_named_at_once(tmp_path, server, source):
  download.fetch(source, tmp_path, patience=FAST)
  changed = tmp_path / "redial/test_data.jsonl"
  changed.write_bytes(b'{"b": 4}\n')
  os.utime(changed, (1, 1))
  with pytest.raises(errors.DataError, match="test_data.jsonl differs"):
    download.fetch(source, tmp_path, patience=FAST)
  assert len(server.requests) == 1


def test_a_file_that_went_missing_comes_back(tmp_path, source):
  download.fetch(source, tmp_path, patience=FAST)
  (tmp_path / "redial/test_data.jsonl").unlink()
  assert download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)


@pytest.mark.parametrize(
  ("members", "problem"),
  [
    ({"train_data.jsonl": b"a"}, "test_data.jsonl stands in it 0 times"),
    (MEMBERS | {"../evil": b"a"}, "out of its folder"),
    (MEMBERS | {"test_data.jsonl": b"0" * (1 << 20)}, "at most 1,048,576"),
  ],
)
def test_an_archive_that_will_not_do_leaves_nothing_unpacked(
  tmp_path, server, members, problem
):
  content = pack(members)
  server.always = lambda h: h.good(content)
  with pytest.raises(errors.DataError, match=problem):
    download.fetch(source_for(content, server), tmp_path, patience=FAST)
  assert held(tmp_path) == [PART]


def test_a_leftover_of_a_killed_process_does_no_harm(tmp_path, source):
  leftover = tmp_path / ".redial.unpacking"
  leftover.mkdir()
  (leftover / "train_data.jsonl").write_bytes(b"half")
  download.fetch(source, tmp_path, patience=FAST)
  assert_whole(tmp_path)


def test_a_file_in_place_of_the_folder_is_named(tmp_path, source):
  (tmp_path / "redial").write_text("")
  with pytest.raises(errors.DataError, match="redial: a folder is needed"):
    download.fetch(source, tmp_path)


def test_nobody_answers(tmp_path, source):
  source = dataclasses.replace(source, url="http://127.0.0.1:9/redial.zip")
  with pytest.raises(errors.DataError, match="the connection failed"):
    download.fetch(source, tmp_path, patience=FAST)
  assert held(tmp_path) == []


def test_the_published_sources_are_spelled_out():
  for name, source in download.SOURCES.items():
    assert source.name == name
    assert source.url.startswith("https://")
    assert re.fullmatch("[0-9a-f]{64}", source.sha256)
    assert source.archive.endswith(".zip")


def test_the_command_says_what_it_did(tmp_path, source, monkeypatch, capsys):
  monkeypatch.setattr(download, "SOURCES", {"redial": source})
  given = ["data", "fetch", "--raw", str(tmp_path)]
  assert cli.main(given) == 0
  shown = capsys.readouterr()
  assert "redial: fetched and verified. Invented." in shown.err
  assert "no licence" in shown.out
  assert f"convert_reviews --crawl imdb_reviews.csv.zip --raw {tmp_path}" in (
    shown.out
  )
  assert_whole(tmp_path)
  assert cli.main([*given, "--only", "redial"]) == 0
  shown = capsys.readouterr()
  assert "redial: already there." in shown.err
  assert "licence" not in shown.out
  assert cli.main([*given, "--only", "reviews"]) == 2
  assert "'reviews' cannot be fetched" in capsys.readouterr().err
