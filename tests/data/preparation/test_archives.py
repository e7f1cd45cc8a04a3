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

from counterpoise import InputError
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
    with pytest.raises(InputError, match=r"unpacks to 1 files of 0\.0 GB, more than"):
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
