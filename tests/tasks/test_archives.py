"""Archives: what is taken out, and what is refused."""

import hashlib
import pathlib
import stat
import struct
import zipfile

import pytest

from t5cr_tasks import errors
from t5cr_tasks.raw import archives

LIMIT = 1 << 20


def make(path: pathlib.Path, entries: dict[str, bytes]) -> pathlib.Path:
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
    for name, content in entries.items():
      file.writestr(name, content)
  return path


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  path = tmp_path / "out"
  path.mkdir()
  return path


def everything_below(path: pathlib.Path) -> list[str]:
  return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def test_only_the_members_wanted_come_out(tmp_path, folder):
  archive = make(
    tmp_path / "a.zip",
    {
      "ml-25m/movies.csv": b"movies",
      "ml-25m/README.txt": b"read me",
      "__MACOSX/ml-25m/movies.csv": b"what macOS adds",
    },
  )
  digests = archives.unpack(archive, ["movies.csv"], folder, LIMIT)
  assert everything_below(folder) == ["movies.csv"]
  assert (folder / "movies.csv").read_bytes() == b"movies"
  assert digests == {"movies.csv": hashlib.sha256(b"movies").hexdigest()}


@pytest.mark.parametrize(
  "name",
  [
    "../movies.csv",
    "a/../../evil",
    "/etc/evil",
    "..\\evil",
    "C:\\evil",
    "\\evil",
    "movies.csv\0.txt",
  ],
)
def test_an_entry_that_climbs_out_spoils_the_archive(tmp_path, folder, name):
  entry = zipfile.ZipInfo("placeholder")
  entry.filename = name  # past the constructor, which would clean it
  archive = tmp_path / "a.zip"
  with zipfile.ZipFile(archive, "w") as file:
    file.writestr("movies.csv", b"good")
    file.writestr(entry, b"evil")
  with pytest.raises(errors.DataError, match="out of its folder") as caught:
    archives.unpack(archive, ["movies.csv"], folder, LIMIT)
  assert "nothing was unpacked" in str(caught.value)
  assert everything_below(tmp_path) == ["a.zip", "out"]
  with pytest.raises(errors.DataError, match="out of its folder"):
    archives.names(archive)


@pytest.mark.parametrize(
  ("kind", "problem"),
  [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "neither a file nor a folder")],
)
def test_links_and_devices_are_refused(tmp_path, folder, kind, problem):
  entry = zipfile.ZipInfo("movies.csv")
  entry.create_system = 3  # Unix
  entry.external_attr = (kind | 0o777) << 16
  archive = tmp_path / "a.zip"
  with zipfile.ZipFile(archive, "w") as file:
    file.writestr(entry, "/etc/passwd")
  with pytest.raises(errors.DataError, match=problem):
    archives.unpack(archive, ["movies.csv"], folder, LIMIT)
  assert not everything_below(folder)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, folder):
  archive = make(tmp_path / "a.zip", {"a": b"0" * LIMIT, "b": b"1"})
  assert archive.stat().st_size < LIMIT / 100
  with pytest.raises(errors.DataError, match="1,048,577 bytes") as caught:
    archives.unpack(archive, ["a", "b"], folder, LIMIT)
  assert "at most 1,048,576" in str(caught.value)
  assert not everything_below(folder)


def test_a_bomb_that_declares_little_is_stopped(tmp_path, folder):
  archive = make(tmp_path / "a.zip", {"a": b"0" * LIMIT})
  content = archive.read_bytes()
  # The length stands in the local header and again in the directory.
  lying = content.replace(struct.pack("<I", LIMIT), struct.pack("<I", 1000))
  assert lying != content
  archive.write_bytes(lying)
  with pytest.raises(errors.DataError, match="CRC"):
    archives.unpack(archive, ["a"], folder, 2000)
  assert (folder / "a").stat().st_size <= 1000


@pytest.mark.parametrize("names", [["b/c.csv"], ["a/d.csv", "b/d.csv"]])
def test_a_member_must_be_there_once(tmp_path, folder, names):
  archive = make(tmp_path / "a.zip", dict.fromkeys(names, b""))
  with pytest.raises(errors.DataError, match="expected once") as caught:
    archives.unpack(archive, ["d.csv"], folder, LIMIT)
  for name in names:
    assert name in str(caught.value)


def test_damage_is_found_by_checksum(tmp_path, folder):
  archive = tmp_path / "a.zip"
  with zipfile.ZipFile(archive, "w") as file:  # stored as it is
    file.writestr("a", b"hello world")
  archive.write_bytes(archive.read_bytes().replace(b"hello", b"jello"))
  with pytest.raises(errors.DataError, match="a.zip: not a zip archive that"):
    archives.unpack(archive, ["a"], folder, LIMIT)


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>"])
def test_what_is_no_archive_says_so(tmp_path, folder, content):
  archive = tmp_path / "a.zip"
  archive.write_bytes(content)
  with pytest.raises(errors.DataError, match="a.zip: not a zip archive that"):
    archives.unpack(archive, ["a"], folder, LIMIT)


def test_an_encrypted_member_is_refused(tmp_path, folder):
  archive = tmp_path / "a.zip"
  make(archive, {"a": b"secret"})
  content = bytearray(archive.read_bytes())
  content[content.index(b"PK\x01\x02") + 8] |= 1
  archive.write_bytes(content)
  with pytest.raises(errors.DataError, match="a is encrypted"):
    archives.unpack(archive, ["a"], folder, LIMIT)


def test_nothing_is_written_through_what_stands_there(tmp_path, folder):
  archive = make(tmp_path / "a.zip", {"a": b"new"})
  victim = tmp_path / "victim"
  victim.write_bytes(b"old")
  (folder / "a").symlink_to(victim)
  with pytest.raises(FileExistsError):
    archives.unpack(archive, ["a"], folder, LIMIT)
  assert victim.read_bytes() == b"old"
