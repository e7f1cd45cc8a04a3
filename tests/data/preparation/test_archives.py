"""Archives: what they hold is written inside of their folder, whole or not at all."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from folded import check_each

from counterpoise import InputError
from counterpoise.data.preparation import archives
from counterpoise.data.preparation.archives import contents, is_archive, unpack

FILES = {"set/a.txt": b"one", "set/deep/b.bin": bytes(3000), "c": b""}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/", b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], *members: tarfile.TarInfo) -> Path:
    modes = {".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}
    with tarfile.open(path, modes.get(path.suffix, "w")) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return path


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "x.tar.xz", "X.ZIP"])
def test_unpacks_every_file(tmp_path: Path, name: str) -> None:
    write = zipped if name.lower().endswith("zip") else tarred
    path = write(tmp_path / name, FILES)
    assert is_archive(path)
    assert sorted(contents(path)) == sorted((n, len(c)) for n, c in FILES.items())
    folder = unpack(path, tmp_path / "deep" / "out")
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert {n: p.read_bytes() for n, p in found.items()} == FILES
    assert not list((tmp_path / "deep").glob(".*"))
    with pytest.raises(InputError, match="is there already"):
        unpack(path, folder)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:\\evil"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    for path in (
        zipped(tmp_path / "x.zip", {name: b"x"}),
        tarred(tmp_path / "x.tar", {name: b"x"}),
    ):
        with pytest.raises(InputError, match="outside of its folder"):
            unpack(path, tmp_path / "out")
        assert not (tmp_path / "out").exists() and not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("set/link")
    member.type, member.linkname = kind, "../../etc/passwd"
    with pytest.raises(InputError, match="a link or a device: 'set/link'"):
        unpack(tarred(tmp_path / "x.tar", FILES, member), tmp_path / "out")
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(InputError, match="a link or a device: 'link'"):
        contents(tmp_path / "x.zip")


def test_bombs_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"big": bytes(10_000_000)})
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match=r"unpacks to more than 1\.0 MB or 5,000,000 files"):
        unpack(path, tmp_path / "out", limit=1_000_000)
    lying = path.read_bytes().replace((10_000_000).to_bytes(4, "little"), (9).to_bytes(4, "little"))
    path.write_bytes(lying)
    with pytest.raises(InputError, match=r"damaged|more in 'big' than it says"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists() and len(os.listdir(tmp_path)) == 1


def test_what_is_no_archive_or_damaged_is_said(tmp_path: Path) -> None:
    for name in ("x.zip", "x.tar", "x.tar.gz"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(InputError, match="is no archive or damaged"):
            contents(tmp_path / name)
    path = zipped(tmp_path / "y.zip", FILES)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="is no archive or damaged"):
        unpack(path, tmp_path / "out")
    with pytest.raises(InputError, match=r"known are \.zip"):
        contents(tmp_path / "x.rar")
    with pytest.raises(InputError, match="is not there"):
        contents(tmp_path / "none.zip")
    twice = tarred(tmp_path / "z.tar", {"a": b"1"}, tarfile.TarInfo("a"))
    with pytest.raises(InputError, match="'a' twice"):
        contents(twice)


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tar.xz", "x.tar.bz2"])
def test_a_wrong_bit_anywhere_is_noticed(tmp_path: Path, name: str) -> None:
    """Tar itself stops before the checksum of what is compressed."""
    write = zipped if name.endswith("zip") else tarred
    noise = np.random.default_rng(0).integers(0, 40, 5000, dtype=np.uint8).tobytes()
    path = write(tmp_path / name, {"a": noise, "b": noise[::-1]})
    whole = path.read_bytes()
    for place in range(len(whole) // 4, len(whole) * 3 // 4, len(whole) // 24):
        damaged = bytearray(whole)
        damaged[place] ^= 16
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"damaged|twice|more in"):
            unpack(path, tmp_path / "out")
        assert os.listdir(tmp_path) == [name]


def test_what_goes_on_for_ever_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tarred(tmp_path / "x.tar", FILES)
    with path.open("ab") as file:
        file.write(bytes(3_000_000))
    assert len(contents(path)) == 3
    monkeypatch.setattr("counterpoise.data.preparation.archives.REST", 2_000_000)
    with pytest.raises(InputError, match="goes on behind its last file"):
        contents(path)


def test_a_password_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "x.zip", FILES)
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)
    content[start + 8] |= 1  # of the first file, behind that of the folder
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x.zip is encrypted; unpack it yourself"):
        contents(path)
    path = zipped(tmp_path / "y.zip", FILES)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("counterpoise.data.preparation.archives._copy", full)
    with pytest.raises(InputError, match=r"cannot be unpacked .*No space left"):
        unpack(path, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["x.zip", "y.zip"]


def test_the_folder_itself_may_be_in_an_archive(tmp_path: Path) -> None:
    """As ``tar -C DIR -czf x.tgz .`` writes it, with ``./`` before each name."""
    source = tmp_path / "source"
    (source / "set").mkdir(parents=True)
    (source / "set" / "a.txt").write_bytes(b"one")
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as archive:
        archive.add(source, ".")
    assert contents(tmp_path / "x.tgz") == [("set/a.txt", 3)]
    assert (unpack(tmp_path / "x.tgz", tmp_path / "out") / "set" / "a.txt").read_bytes() == b"one"


def sparse(path: Path) -> Path:
    """A tar of a kilobyte with a file of 100 MB without content."""
    member = tarfile.TarInfo("hole")
    member.size = 0
    member.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": "100000000",
        "GNU.sparse.map": "100000000,0",
    }
    return tarred(path, {}, member)


def long_header(path: Path) -> Path:
    member = tarfile.TarInfo("a")
    member.pax_headers = {"comment": "x" * 3_000_000}
    return tarred(path, {}, member)


def shared_bytes(path: Path) -> Path:
    """A zip of which many entries stand for one piece of it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", os.urandom(2000))
        first = archive.infolist()[0]
        for number in range(20):
            other = zipfile.ZipInfo(f"b{number}")
            for part in ("CRC", "compress_size", "file_size", "compress_type", "header_offset"):
                setattr(other, part, getattr(first, part))
            archive.filelist.append(other)
            archive.NameToInfo[other.filename] = other
        archive._didModify = True
    return path


def test_bombs_of_every_kind_are_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FREELY": 1_000_000, "AT_ONCE": 1 << 20, "REST": 200_000}.items():
        monkeypatch.setattr(archives, name, value)
    zeros, many = {"big": bytes(5_000_000)}, {f"f{k}": b"" for k in range(2000)}
    cases = {
        zipped(tmp_path / "a.zip", zeros): "unpacks to more than",
        tarred(tmp_path / "a.tgz", zeros): "unpacks to more than",
        tarred(tmp_path / "a.tar.xz", zeros): "unpacks to more than",
        tarred(tmp_path / "a.tar.bz2", zeros): "unpacks to more than",
        sparse(tmp_path / "sparse.tar"): "unpacks to more than",
        tarred(tmp_path / "many.tgz", many): "unpacks to more than",
        long_header(tmp_path / "long.tgz"): "unpacks to more than",
        shared_bytes(tmp_path / "shared.zip"): "share their bytes",
        tarred(tmp_path / "e.tar", {"a": b"", "a/b": b""}): "as a file and as a folder",
        zipped(tmp_path / "e.zip", {"a/b": b"", "a": b""}): "as a file and as a folder",
        zipped(tmp_path / "f.zip", {"x\x1b[2J": b""}): "control characters",
        tarred(tmp_path / "f.tar", {"x\ny": b""}): "control characters",
        tarred(tmp_path / "g.tar", {"x" * 300: b""}): "by more than a disk can",
        tarred(tmp_path / "h.tar", {"x/" * 3000 + "x": b""}): "by more than a disk can",
        tarred(tmp_path / "i.tar", {".": b""}): "outside of its folder",
        tarred(tmp_path / "j.tar", {"./a": b"", "a": b""}): "'a' twice",
    }
    before = sorted(os.listdir(tmp_path))

    def check(path: Path, why: str) -> None:
        with pytest.raises(InputError, match=why) as caught:
            unpack(path, tmp_path / "out")
        assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 500
        assert sorted(os.listdir(tmp_path)) == before

    check_each(cases.items(), check)


def test_what_compresses_well_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of numbers may be 30 times larger than its archive."""
    monkeypatch.setattr(archives, "FREELY", 1000)
    table = b"\n".join(b"%d,0.0,0.0,0.0,0.0,0.0" % (k % 97) for k in range(20_000))
    path = zipped(tmp_path / "x.zip", {"table.csv": table})
    assert len(table) > 30 * path.stat().st_size
    assert (unpack(path, tmp_path / "out") / "table.csv").read_bytes() == table
    inner = zipped(tmp_path / "inner.zip", FILES)  # an archive in an archive stays one
    outer = zipped(tmp_path / "outer.zip", {"inner.zip": inner.read_bytes()})
    assert os.listdir(unpack(outer, tmp_path / "outer")) == ["inner.zip"]


def test_nothing_is_left_where_unpacking_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "x.zip", FILES)
    left = tmp_path / ".out.killed.tmp"  # as a kill leaves it
    left.mkdir()
    (left / "a").write_bytes(b"half")
    held = tmp_path / ".out.busy.tmp"  # as another process has it
    held.mkdir()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with archives._holding(held):
        with monkeypatch.context() as patch:
            patch.setattr(archives, "_copy", stop)
            with pytest.raises(KeyboardInterrupt):
                unpack(path, tmp_path / "out")
        assert sorted(os.listdir(tmp_path)) == [".out.busy.tmp", "x.zip"]
        unpack(path, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == [".out.busy.tmp", "out", "x.zip"]
