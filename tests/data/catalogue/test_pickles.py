"""The unpickler that runs nothing: what it reads, what it refuses, what breaks it (nothing)."""

import copyreg
import io
import os
import pickle
import struct
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
from folded import check_each

from counterpoise.data.catalogue.pickles import _load, read_npy, read_pickle
from counterpoise.errors import InputError

CORE = b"numpy.core.multiarray"
F4 = b"cnumpy\ndtype\n(X\x02\0\0\0f4I0\nI1\ntR(I3\nX\x01\0\0\0<NNNI-1\nI-1\nI0\ntb"


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def same(left, right) -> bool:
    if isinstance(left, np.ndarray):
        return (
            type(left) is type(right) is np.ndarray
            and left.dtype.newbyteorder("=") == right.dtype.newbyteorder("=")
            and (all(map(same, left.ravel(), right.ravel())) and left.shape == right.shape)
        )
    if isinstance(left, dict):
        return (
            type(left) is type(right)
            and list(left) == list(right)
            and (all(same(left[k], right[k]) for k in left))
        )
    if isinstance(left, (list, tuple)):
        return (
            type(left) is type(right) and len(left) == len(right) and (all(map(same, left, right)))
        )
    return bool(left == right) and type(left) is type(right)


VALUES = {
    "plain": {"a": [1, -(2**70), 2.5, None, True], "b": (b"x", "é", {1, 2}, 1j), 3: frozenset("q")},
    "containers": OrderedDict(z=defaultdict(list, k=[1]), y=defaultdict(dict), x=bytearray(b"12")),
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
    "doubles": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "moved": np.arange(24).reshape(2, 3, 4).transpose(0, 2, 1),
    "big-endian": np.arange(4, dtype=">i2"),
    "others": [np.array([True, False]), np.array([1j]), np.zeros((0, 3)), np.array(2.0)],
    "texts": [np.array([b"a", b"bc"]), np.array(["a", "é"])],
    "scalars": [np.float64(2.5), np.int32(-3), np.str_("ab"), np.bytes_(b"cd"), np.bool_(True)],
    "objects": np.array([None, "a", b"b", 3, [np.ones(2)], {"k": np.float32(1)}], dtype=object),
}


@pytest.mark.parametrize("name", VALUES)
def test_reads_arrays_and_containers_of_every_protocol(tmp_path, name):
    for protocol in range(6):
        path = put(tmp_path / "a.pkl", pickle.dumps(VALUES[name], protocol))
        assert same(read_pickle(path), VALUES[name]), protocol


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_module_paths_of_numpy_1(tmp_path, protocol):
    value = [np.arange(3.0), np.float32(1)]
    content = pickle.dumps(value, protocol)
    old = content.replace(b"numpy._core.", b"numpy.core.")
    if protocol == 4:  # names are preceded by their length
        old = content.replace(b"\x16numpy._core.multiarray", b"\x15numpy.core.multiarray")
        old = old[:3] + struct.pack("<Q", len(old) - 11) + old[11:]
    assert old != content
    assert same(read_pickle(put(tmp_path / "a.pkl", old)), value)


def test_shared_parts_stay_shared(tmp_path):
    part = np.ones(2)
    whole = [part, {"again": part}]
    whole.append(whole)
    found = read_pickle(put(tmp_path / "a.pkl", pickle.dumps(whole)))
    assert found[0] is found[1]["again"] and found[2] is found


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_python_2(tmp_path, protocol):
    # {"vision": array([1., 2.], float32), "id": "caf\xe9", "n": 2L}, as Python 2 writes strings.
    raw = np.array([1, 2], dtype="<f4").tobytes()

    def text(value: bytes) -> bytes:
        if protocol:
            return b"U" + bytes([len(value)]) + value
        return b"S'" + "".join(f"\\x{byte:02x}" for byte in value).encode() + b"'\n"

    array = (
        b"c" + CORE + b"\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + text(b"b") + b"tR(I1\n(I2\nt"
        b"cnumpy\ndtype\n(" + text(b"f4") + b"I0\nI1\ntR(I3\n" + text(b"<") + b"NNNI-1\nI-1\nI0\ntb"
        b"I00\n" + text(raw) + b"tb"
    )
    content = b"(d" + text(b"vision") + array + b"s" + text(b"id") + text(b"caf\xe9") + b"s"
    content += (
        text(b"n") + b"L2L\ns" + text(b"o") + b"ccollections\nOrderedDict\n((l(lI1\naI2\naatRs."
    )
    if protocol == 2:
        content = b"\x80\x02" + content
    found = read_pickle(put(tmp_path / "a.pkl", content))
    assert found["vision"].tolist() == [1, 2] and found["vision"].dtype == np.float32
    assert found["id"] == "caf\xe9" and found["n"] == 2 and found["o"] == OrderedDict({1: 2})


class Reduced:
    """Pickled as a call."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


class Named:
    pass


PERSON = Named()
PERSON.name = "x"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Reduced(os.system, "touch pwned"), f"{os.system.__module__}.system"),
        ({"train": [np.ones(1), Reduced(eval, "1")]}, r"(builtins|__builtin__).eval"),
        (np.array([Reduced(exec, "1")], dtype=object), r"(builtins|__builtin__).exec"),
        (Reduced(getattr, "a", "join"), r"(builtins|__builtin__).getattr"),
        (Reduced(np.load, "x"), r"numpy\S*.load"),
        (Reduced(io.open, "pwned", "w"), r"_?io.open"),
        (PERSON, r"\w*\.?test_pickles.Named|copy_?reg._reconstructor"),
        (Reduced(__import__, "os"), r"(builtins|__builtin__).__import__"),
        (range(3), r"(builtins|__builtin__).x?range"),
        (defaultdict(os.getcwd), rf"{os.getcwd.__module__}.getcwd"),
    ],
)
def test_other_names_are_refused(tmp_path, monkeypatch, value, name):
    monkeypatch.chdir(tmp_path)

    def check(protocol):
        path = put(tmp_path / "a.pkl", pickle.dumps(value, protocol))
        with pytest.raises(InputError, match=rf"a\.pkl.* names ({name}), which is refused: only"):
            read_pickle(path)
        assert not (tmp_path / "pwned").exists()

    check_each(range(6), check)


ATTACKS = {
    "inst": (b"(S'touch pwned'\nios\nsystem\n.", "os.system"),
    "inst-allowed": (b"(I9\ninumpy\nndarray\n.", "makes an object"),
    "obj": (b"(cnumpy\nndarray\nI9\no.", "makes an object"),
    "newobj": (b"\x80\x02cnumpy\nndarray\n(I9\nt\x81.", "makes an object"),
    "newobj-ex": (b"\x80\x04cnumpy\nndarray\n)}\x92.", "makes an object"),
    "dotted": (b"\x80\x04\x8c\x05numpy\x8c\x0bos.getcwd__\x93.", "numpy.os.getcwd"),
    "array-call": (b"cnumpy\nndarray\n(I99999999\ntR.", "calls type"),
    "call-result": (b"(lI1\na(tR.", "calls list"),
    "int-call": (b"c__builtin__\nint\n(S'1'\ntR.", "calls type"),
    "memo-call": (b"cnumpy\nndarray\np0\n0g0\n(tR.", "calls type"),
    "persid": (b"Psomething\n.", "outside of it"),
    "binpersid": (b"I1\nQ.", "outside of it"),
    "state-of-a-list": (b"(l}b.", "sets the state of list"),
    "state-of-a-function": (b"c_codecs\nencode\n(N}tb.", "sets the state of function"),
    "state-of-a-dict": (
        b"ccollections\nOrderedDict\n(tR}S'items'\nI1\nsb.",
        "sets the state of OrderedDict",
    ),
    "subclass": (b"c" + CORE + b"\n_reconstruct\n(c__builtin__\nlist\n(I0\ntS'b'\ntR.", "class of"),
    "no-array": (b"c" + CORE + b"\n_reconstruct\n(N(I0\ntS'b'\ntR.", "class of"),
    "records": (
        b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR(I3\nS'|'\nN(S'a'\nt}I8\nI1\nI0\ntb.",
        "array of records",
    ),
    "subarray": (b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR(I3\nS'|'\n(I1\ntNNI8\nI1\nI0\ntb.", "records"),
    "bytes-bomb": (b"c__builtin__\nbytearray\n(L99999999999999L\ntR.", "bytearray of int"),
    "bytes-bomb-2": (
        b"c__builtin__\nbytes\n(c" + CORE + b"\nscalar\n(" + F4 + b"C\x04\0\0\x80?tRtR.",
        "bytes of float32",
    ),
    "dates": (
        b"c" + CORE + b"\nscalar\n(cnumpy\ndtype\n(S'M8'\nI0\nI1\ntRC\x08\0\0\0\0\0\0\0\0tR.",
        "'M8' is refused",
    ),
}


def test_attacks_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def check(name):
        content, message = ATTACKS[name]
        with pytest.raises(InputError, match=message):
            read_pickle(put(tmp_path / "a.pkl", content))
        assert not (tmp_path / "pwned").exists()

    check_each(ATTACKS, check)


def test_registered_extensions_are_refused(tmp_path):
    copyreg.add_extension("os", "getcwd", 240)
    try:
        content = pickle.dumps(os.getcwd, 2).replace(b"cposix\ngetcwd\n", b"\x82\xf0")
        path = put(tmp_path / "a.pkl", b"\x80\x02\x82\xf0.")
        assert content  # the name is known to this process, and to pickle
        for again in range(2):  # a cache must not let the second through
            with pytest.raises(InputError, match="registered extension"):
                read_pickle(path)
            if not again:
                assert pickle.loads(b"\x80\x02\x82\xf0.") is os.getcwd
    finally:
        copyreg.remove_extension("os", "getcwd", 240)


def filled(shape: bytes, kind: bytes, data: bytes) -> bytes:
    """An array whose state says ``shape``, a type and values."""
    head = b"\x80\x03c" + CORE + b"\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
    return head + b"(I1\n" + shape + kind + b"I00\n" + data + b"tb."


FOUR = b"C\x08" + b"\0" * 8
POINTERS = b"cnumpy\ndtype\n(X\x02\0\0\0O8I0\nI1\ntR(I3\nX\x01\0\0\0|NNNI-1\nI-1\nI%d\ntb"


@pytest.mark.parametrize(
    "content",
    [
        filled(b"(I3\nt", F4, FOUR),  # more values than bytes
        filled(b"(I1\nt", F4, FOUR),  # fewer
        filled(b"(I-2\nt", F4, FOUR),
        filled(b"(I-1\nI-2\nt", F4, FOUR),
        filled(b"(L18446744073709551618L\nt", F4, FOUR),
        filled(b"(F2.0\nt", F4, FOUR),
        filled(b"N", F4, FOUR),
        filled(b"(I2\nt", F4, b"C\x07" + b"\0" * 7),
        filled(b"(I2\nt", F4, b"(lI1\naI2\na"),
        filled(b"(I2\nt", b"X\x02\0\0\0f4", FOUR),  # a type that is only a text
        filled(b"(I1\nt", POINTERS % 63, b"C\x08" + b"\x01" * 8),  # bytes as pointers
        filled(b"(I1\nt", POINTERS % 0, b"C\x08" + b"\x01" * 8),  # and flags that hide it
        filled(b"(I9\nt", POINTERS % 63, b"(lI1\na"),
        b"c" + CORE + b"\nscalar\n(" + POINTERS % 0 + b"C\x08" + b"\x01" * 8 + b"tR.",
        b"c" + CORE + b"\nscalar\n(" + F4 + FOUR + b"tR.",
        b"\x80\x03cnumpy.core.numeric\n_frombuffer\n("
        + FOUR
        + POINTERS % 0
        + b"(I1\ntX\x01\0\0\0CtR.",
        b"\x80\x03cnumpy.core.numeric\n_frombuffer\n(" + FOUR + F4 + b"(I9\ntX\x01\0\0\0CtR.",
    ],
)
def test_arrays_that_lie_about_themselves_are_refused(tmp_path, content):
    with pytest.raises(InputError, match="refused"):
        read_pickle(put(tmp_path / "a.pkl", content))
    good = filled(b"(I2\nt", F4, FOUR)
    assert read_pickle(put(tmp_path / "a.pkl", good)).tolist() == [0, 0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"PK\x03\x04 a zip",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a frame of eight exabytes
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\0\0\0.",  # bytes of a terabyte
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a bytearray likewise
        b"\x8b\xff\xff\xff\x7f1.",  # an integer of two gigabytes
        b"\x80\x05\x97.",  # a buffer that lies elsewhere
        b"g5\n.",
        b"t.",
        b"(.",
        b"\x80\x09.",
    ],
)
def test_what_is_no_pickle(tmp_path, content):
    with pytest.raises(InputError, match=r"a\.pkl.*(empty|no pickle)"):
        read_pickle(put(tmp_path / "a.pkl", content))


@pytest.mark.slow
def test_cut_short_and_changed_bytes_never_crash():
    whole = {"train": {"text": np.arange(12.0).reshape(3, 4), "id": np.array(["a", "b"], object)}}
    rng = np.random.default_rng(0)

    def read(content: bytes):
        return _load(Path("a.pkl"), io.BytesIO(content), len(content))

    for protocol in (0, 2, 4, 5):
        content = pickle.dumps(whole, protocol)
        assert same(read(content), whole)
        for cut in range(1, len(content) - 1):
            with pytest.raises(InputError):
                read(content[:cut])
        for _ in range(300):
            changed = bytearray(content)
            for place in rng.integers(0, len(content), 3):
                changed[place] = rng.integers(0, 256)
            try:
                found = read(bytes(changed))
            except InputError:
                continue
            repr(found)  # whatever it is, it is in one piece


def test_limit_and_absence(tmp_path):
    path = put(tmp_path / "a.pkl", pickle.dumps(np.zeros(1000)))
    with pytest.raises(InputError, match="more than"):
        read_pickle(path, limit=1000)
    assert read_pickle(path, limit=10000).shape == (1000,)
    with pytest.raises(InputError, match="is not there"):
        read_pickle(tmp_path / "b.pkl")


def test_npy(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6.0).reshape(2, 3))
    assert read_npy(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    np.save(path, {"a": np.ones(2)}, allow_pickle=True)
    assert same(read_npy(path), {"a": np.ones(2)})
    np.save(path, np.array(["x", None], dtype=object), allow_pickle=True)
    assert read_npy(path).tolist() == ["x", None]
    with pytest.raises(InputError, match="more than"):
        read_npy(path, limit=20)
    np.save(path, np.array([Reduced(os.system, "touch pwned")], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="system, which is refused"):
        read_npy(path)
    for content in (
        b"no array",
        b"\x93NUMPY\x01\0\x10\0{'descr': '<f8'}",
        b"\x93NUMPY\x09\0\x10\0",
    ):
        with pytest.raises(InputError, match=r"a\.npy.*cannot be read"):
            read_npy(put(path, content))
    np.save(path, np.zeros(100))
    with pytest.raises(InputError, match="cannot be read"):
        read_npy(put(path, path.read_bytes()[:300]))
