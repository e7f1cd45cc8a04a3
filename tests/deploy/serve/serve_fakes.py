"""A predictor without a model for tests of the server, and the requests that are hostile."""

from __future__ import annotations

import io
import json
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from counterpoise.core.tasks import Classification
from counterpoise.data.readers import ArrayFile, Audio, Frames, Image, Numbers, Text, Video
from counterpoise.data.readers.base import Reader
from counterpoise.data.settle import Form
from counterpoise.deploy.inputs.preprocessing import Preprocessing
from counterpoise.deploy.inputs.samples import Samples, read_samples
from counterpoise.deploy.prediction import Prediction

READERS: dict[str, Reader] = {
    "array": ArrayFile(),
    "clip": Video(frames=2, size=8),
    "frames": Frames(frames=2, size=8),
    "numbers": Numbers(count=3),
    "picture": Image(size=8),
    "sound": Audio(seconds=0.5),
    "story": Text(file=True, length=8),
    "text": Text(length=8),
}
SPECS = {
    "array": {"": ("float32", (4,))},
    "clip": {"": ("uint8", (2, 3, 8, 8))},
    "frames": {"": ("uint8", (2, 3, 8, 8))},
    "numbers": {"": ("float32", (3,))},
    "picture": {"": ("uint8", (3, 8, 8))},
    "sound": {"": ("float32", (64, 51))},
    "story": {"input_ids": ("int64", (8,)), "attention_mask": ("int64", (8,))},
    "text": {"input_ids": ("int64", (8,)), "attention_mask": ("int64", (8,))},
}


class FakePredictor:
    """Answers with the sum of what it reads, by the readers of every kind; counts its batches."""

    def __init__(self, **readers: Reader) -> None:
        self.preprocessing = {
            name: Preprocessing(SPECS[name], reader, None, None, "")
            for name, reader in sorted(readers.items())
        }
        form = Form((4,), mean=np.zeros(4))
        self.preprocessing["vector"] = Preprocessing(
            {"": ("float32", (4,))}, None, form, None, "vector"
        )
        self.modalities = tuple(self.preprocessing)
        self.classes = ("no", "yes")
        self.facts: dict[str, Any] = {"data": {"name": "fake"}, "checksum": "0" * 64}
        self.batches: list[int] = []
        self.slow = 0.0
        self.fails: Callable[[Samples], Exception | None] = lambda samples: None

    def read(self, X: Any, folder: Path | None = None) -> Samples:
        return read_samples(X, self.preprocessing, folder)

    def answer(
        self, samples: Samples, *, accuracy: float | None = None, coverage: float | None = None
    ) -> Prediction:
        error = self.fails(samples)
        if error is not None:
            raise error
        time.sleep(self.slow)
        self.batches.append(len(samples))
        total = sum(_sum(samples.inputs[m]) for m in self.modalities)
        some = torch.stack([samples.present[m] for m in self.modalities]).any(0).numpy()
        chances = 1 / (1 + np.exp(-np.stack([-total, total], 1).clip(-50, 50)))
        chances[~some] = np.nan
        count = len(samples)
        return Prediction(
            Classification(2),
            self.classes,
            np.asarray(self.classes)[(total > 0).astype(int)],
            chances,
            {m: samples.present[m].numpy() for m in self.modalities},
            {m: np.ones(count) for m in self.modalities},
            np.full(count, np.nan),
            "accuracy",
            dict(samples.problems),
            None if accuracy is None else chances.max(1) >= accuracy,
            None if coverage is None else chances > 0.5,
        )


def _sum(value: Any) -> Any:
    parts = value.values() if isinstance(value, Mapping) else [value]
    return sum(part.flatten(1).double().mean(1).numpy() for part in parts)


# -- hostile requests ---------------------------------------------------------------------------

Request = tuple[str, str, dict[str, str], bytes]  # method, path, headers, body
BOUND = "XXbound"


def form(*parts: tuple[str, str | None, bytes], end: bool = True) -> bytes:
    """The body of a form, of (name, file name, content), written byte by byte."""
    found = b""
    for name, file, content in parts:
        head = f'Content-Disposition: form-data; name="{name}"'
        head += "" if file is None else f'; filename="{file}"'
        found += f"--{BOUND}\r\n{head}\r\n\r\n".encode("utf-8", "surrogateescape")
        found += content + b"\r\n"
    return found + (f"--{BOUND}--\r\n".encode() if end else b"")


def png_bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A picture of 3.6 gigapixels in some hundred bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + check

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    rows = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rows + chunk(b"IEND", b"")


def npz_bomb(size: int = 1 << 29) -> bytes:
    """An array of half a gigabyte in half a megabyte."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        head = io.BytesIO()
        about = {"descr": "|u1", "fortran_order": False, "shape": (size,)}
        np.lib.format.write_array_header_1_0(head, about)
        with archive.open("x.npy", "w") as file:
            file.write(head.getvalue())
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
    return buffer.getvalue()


def npy(shape: tuple[int, ...], descr: str = "<f4", content: bytes = b"") -> bytes:
    """A NumPy file whose header promises what need not be there."""
    head = io.BytesIO()
    about = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, about)
    return head.getvalue() + content


def external_hdf5(folder: Path, target: str) -> bytes:
    """An HDF5 file whose numbers lie in another file."""
    import h5py

    path = folder / "external.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (4,), "u1", external=[(target, 0, 4)])
    return path.read_bytes()


def virtual_hdf5(folder: Path, target: str) -> bytes:
    """An HDF5 file whose array is that of another one."""
    import h5py

    path = folder / "virtual.h5"
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(target, "x", (4,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("x", layout)
    return path.read_bytes()


def playlists(target: str) -> dict[str, bytes]:
    """Texts, and what they hide in, that FFmpeg takes for lists of other files."""
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{target}\n#EXT-X-ENDLIST\n"
    found = {
        "hls": hls.encode(),
        "concat": f"ffconcat version 1.0\nfile '{target}'\n".encode(),
        "dash": f'<?xml version="1.0"?><MPD profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">'
        f"<Period><AdaptationSet><Representation><BaseURL>{target}</BaseURL></Representation>"
        f"</AdaptationSet></Period></MPD>".encode(),
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n%%EOF\n",
        "svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{target}"/></svg>'.encode(),
    }
    found["id3+hls"] = b"ID3\x04\x00\x00\x00\x00\x00\x00" + found["hls"]
    found["riff+dash"] = b"RIFF\xff\xff\xff\x7fWAVE" + found["dash"]
    found["mp3+sdp"] = b"\xff\xfb\n" + found["sdp"]
    return found


def json_bodies() -> Iterator[bytes]:
    """Bodies that are no JSON, not the one that is asked for, or large for their length."""
    yield from (b"", b"\0", b"\xff\xfe", b"nul", b"[]", b"1", b'"rows"', b"{", b'{"rows":', b"{}")
    yield from (b"[" * 50_000, b'{"rows":' * 5000, b'{"a":' * 500 + b"1" + b"}" * 500)
    for value in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 400, b"9" * 5000):
        yield b'{"rows":[{"vector":[1,2,3,%s]}]}' % value
        yield b'{"rows":[{"numbers":[1,2,%s]}]}' % value
        yield b'{"rows":[{"vector":[1,2,3,4]}],"accuracy":%s}' % value
    odd: list[Any] = [None, True, -1, 0, 1.5, "", "a", "\0", "\ud800", [], [[]], {}, {"a": 1}]
    odd += [["a"], [None] * 4, [[1, 2], [3]], [1] * 5000, "/etc/passwd", "file:///etc/passwd"]
    odd += ["../../etc/passwd", "x\r\nSet-Cookie: a=b", "~root", "~", "$(id)", 2**63, -(2**70), "9"]
    for value in odd:
        for name in ("vector", "numbers", "array", "picture", "sound", "story", "text", "frames"):
            yield json.dumps({"rows": [{name: value}]}).encode()
        yield json.dumps({"rows": value}).encode()
        yield json.dumps({"rows": [value]}).encode()
        yield json.dumps({"rows": [{"vector": [1, 2, 3, 4]}], "coverage": value}).encode()
    yield json.dumps({"rows": [{"vector": [1, 2, 3, 4]}], "path": "/etc/passwd"}).encode()
    yield json.dumps({"rows": [{"x" * 10_000: 1}]}).encode()
    yield json.dumps({"rows": [{"vector": [1, 2, 3, 4]}] * 5000}).encode()
    yield b'{"rows":[{"vector":[1,2,3,4],"vector":[1,2,3,4]}]}'


def form_bodies(folder: Path, target: str) -> Iterator[bytes]:
    """Forms with names that climb, files that explode or point elsewhere, and cut ones."""
    names = ["../../../../tmp/x.npy", "/etc/passwd", "a\0b.npy", "x" * 5000, "..", ".", "", "%00"]
    names += ["a\\b.npy", "c:\\x.npy", "x.npy;rm -rf", "$(id).wav", "nul", "a%0d%0aX: y", "é.png"]
    contents = [b"", b"\0", b"MZ", b"x" * 1000, png_bomb(), npy((4,)), npy((10**15,)), npy((-1,))]
    contents += [npy((4,), "|O"), b"\x80\x04K\x01.", *playlists(target).values()]
    contents += [b"\x89HDF\r\n\x1a\n" + bytes(600), b"PK\x03\x04" + bytes(100), b"RIFF", b"OggS"]
    contents += [b"GIF89a" + b"\xff" * 50, b"II*\0\xff\xff\xff\xff", b"1,2\n" * 5, b"MATLAB 5.0 x"]
    contents += [external_hdf5(folder, target), virtual_hdf5(folder, target)]
    for name in names:
        yield form(("array", name, npy((4,), content=bytes(16))))
    for content in contents:
        for field in ("array", "picture", "sound", "clip", "story", "frames"):
            yield form((field, f"x.{field}", content))
    yield form(("array", "x.npz", npz_bomb()))
    yield form(("array", "x.csv", b"1," * 2_000_000))
    whole = form(("picture", "x.png", png_bomb()), ("text", None, b"a"))
    yield from (whole[:cut] for cut in range(0, len(whole), 17))
    yield from (form((n, None, b"1")) for n in ("", "\0", "x" * 9000, "vectr", "a\r\nb", "../x"))
    yield form(*[("vector", None, b"1 2 3 4")] * 3)
    yield form(*[(f"f{k}", None, b"1") for k in range(9000)])
    for text in (b"[1,2", b"[" * 9000, b"1 2 x", b"1e999 1 1 1", b"\xff\xfe", b"nan " * 4, b"/etc"):
        yield form(("vector", None, text))


def hostile(folder: Path, target: str) -> Iterator[Request]:
    """Some hundred requests that no honest program sends.

    Args:
        folder: where files are made for them.
        target: a file that they try to have read.
    """
    plain = {"Content-Type": "application/json"}
    multi = {"Content-Type": f"multipart/form-data; boundary={BOUND}"}
    good = b'{"rows":[{"vector":[1,2,3,4]}]}'
    yield from (("POST", "/predict", plain, body) for body in json_bodies())
    yield from (("POST", "/predict/files", multi, body) for body in form_bodies(folder, target))
    kinds = ["", "text/plain", "application/xml", "multipart/form-data", "application/json\x00x"]
    kinds += ["multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 5000}"]
    kinds += ["application/x-www-form-urlencoded", "*/*", "application/json, text/html"]
    for kind in kinds:
        for path in ("/predict", "/predict/files"):
            yield "POST", path, {"Content-Type": kind.replace("\x00", "")}, good
    for path in ("/../etc/passwd", "/%2e%2e/etc/passwd", "/predict/../../x", "/static/%00", "//x"):
        yield "GET", path, {}, b""
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "BREW"):
        yield from ((method, path, {}, b"") for path in ("/predict", "/predict/files", "/metrics"))
    for name in ("accuracy", "coverage", "token"):
        for value in ("nan", "inf", "-1", "2", "1e999", "%00", "x" * 5000, "%0d%0aX:1", "0.5&a=b"):
            body = form(("vector", None, b"1 2 3 4"))
            yield "POST", f"/predict/files?{name}={value}", multi, body
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Host": "[::"}):
        yield "POST", "/predict", plain | headers, good
    yield "POST", "/predict", plain | {"Content-Encoding": "gzip"}, zlib.compress(good)
    yield "POST", "/predict", plain | {"X": "y" * 30_000}, good
