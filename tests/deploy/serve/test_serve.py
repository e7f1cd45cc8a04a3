"""The server in this process: what it answers, what it refuses, what it leaves behind."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.media import jpeg, video, wav
from deploy.serve.serve_fakes import READERS, FakePredictor, external_hdf5, npy, playlists, png_bomb
from folded import check_each
from starlette.testclient import TestClient

from counterpoise.deploy.serve import app as application
from counterpoise.deploy.serve import uploads
from counterpoise.deploy.serve.app import create_app
from counterpoise.deploy.serve.limits import Limits
from counterpoise.deploy.serve.server import is_loopback, open_socket
from counterpoise.errors import InputError

VECTOR = [1.0, 2.0, 3.0, 4.0]


@pytest.fixture
def predictor() -> FakePredictor:
    texts = READERS["text"].fit(["a cat sat on a mat"])
    return FakePredictor(**{**READERS, "text": texts, "story": texts.changed("x", file=True)})


@pytest.fixture
def client(predictor: FakePredictor) -> Iterator[TestClient]:
    with open_client(predictor) as found:
        yield found


def open_client(predictor: Any, limits: Limits | None = None, **more: Any) -> TestClient:
    return TestClient(
        create_app(predictor, limits, **more), "http://127.0.0.1", raise_server_exceptions=False
    )


def ask(client: TestClient, *rows: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    found = client.post("/predict", json={"rows": list(rows), **more})
    assert found.status_code == 200, found.text
    return found.json()["predictions"]


def test_rows_are_answered_with_any_of_the_modalities(client: TestClient) -> None:
    rows = [{"vector": VECTOR}, {"numbers": [-9, None, -9], "vector": None}, {"text": "a cat"}]
    first, second, third = ask(client, *rows, accuracy=0.9, coverage=0.5)
    assert (first["label"], first["present"], first["withheld"]) == ("yes", "vector", False)
    assert first["probabilities"]["yes"] == pytest.approx(1 / (1 + np.exp(-2.5)))
    assert (second["label"], second["present"], second["set"]) == ("no", "numbers", ["no"])
    assert third["present"] == "text"
    assert "withheld" not in ask(client, rows[0])[0]


def test_one_bad_row_leaves_the_others(client: TestClient) -> None:
    good, bad = ask(client, {"vector": VECTOR}, {"vector": [1]})
    assert good["label"] == "yes"
    assert bad["label"] is None and "must hold numbers of shape [4]" in bad["problem"]


def test_what_is_wrong_is_one_line(client: TestClient) -> None:
    def check(status: int, reason: str, body: Any) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        found = client.post("/predict", content=text, headers={"Content-Type": "application/json"})
        assert found.status_code == status
        assert reason in found.json()["detail"] and "\n" not in found.json()["detail"]

    rows = [
        (400, "no JSON", b"{"),
        (400, "no UTF-8", b'"\xff"'),
        (400, "write null", b'{"rows": [{"vector": [NaN, 1, 1, 1]}]}'),
        (400, "twice", b'{"rows": [{"vector": 1, "vector": 2}]}'),
        (400, "thousands of digits", b'{"rows": [{"vector": [%s]}]}' % (b"9" * 5000)),
        (400, "nested 50000 deep", b"[" * 50000),
        (413, "1,000,001 values", b"[" + b"1," * 1_000_000 + b"1]"),
        (422, "must be an object", []),
        (422, "did you mean 'rows'", {"row": []}),
        (422, "one at least", {"rows": []}),
        (422, "at most 256, found 300", {"rows": [{"vector": VECTOR}] * 300}),
        (422, "did you mean 'vector'", {"rows": [{"vectr": VECTOR}]}),
        (422, "no row has any modality", {"rows": [{}, {"vector": None}]}),
        (422, "row 1: vector must be lists of numbers", {"rows": [{}, {"vector": [[1], [1, 2]]}]}),
        (422, "row 0: vector: must hold", {"rows": [{"vector": [1]}, {"vector": VECTOR[:3]}]}),
        (422, "row 0: vector: no value was measured", {"rows": [{"vector": [None] * 4}, {}]}),
        (422, "row 0: text: is empty", {"rows": [{"text": ""}, {}]}),
        (422, "finite", b'{"rows": [{"vector": [1e999, 1, 1, 1]}]}'),
        (422, "found a text", {"rows": [{"vector": "1 2 3 4"}]}),
        (422, "found a text", {"rows": [{"array": "/etc/passwd"}]}),
        (422, "upload it to /predict/files", {"rows": [{"picture": "/etc/passwd"}]}),
        (422, "upload it to /predict/files", {"rows": [{"story": "/etc/passwd"}]}),
        (422, "must be a text, found a list", {"rows": [{"text": ["a"]}]}),
        (422, "accuracy must be", {"rows": [{"vector": VECTOR}], "accuracy": "0.9"}),
        (422, "coverage must be", {"rows": [{"vector": VECTOR}], "coverage": 1}),
        (422, "row 0: vector must hold numbers, found a truth", {"rows": [{"vector": [1, True]}]}),
        (422, "row 0: numbers must hold numbers", {"rows": [{"numbers": [1, False, 2]}]}),
        (422, "array must hold numbers", {"rows": [{"array": [[1, 2], [True, 2]]}]}),
    ]
    check_each(rows, check)


def test_a_query_that_means_nothing_is_refused(client: TestClient) -> None:
    def check(status: int, reason: str, path: str) -> None:
        body = {"rows": [{"vector": VECTOR}]}
        files = {"vector": (None, "1 2 3 4")}
        more: dict[str, Any] = {"files": files} if "files" in path else {"json": body}
        found = client.post(path, **more)
        assert found.status_code == status and reason in found.text, found.text

    cases = [
        (422, "accuracy belongs into the body", "/predict?accuracy=0.9"),
        (422, "did you mean 'coverage'", "/predict?coverag=0.9"),
        (422, "here they belong into the body", "/predict?x=0.9"),
        (422, "did you mean 'accuracy'", "/predict/files?acuracy=0.9"),
        (422, "accuracy must be", "/predict/files?accuracy=0.9&accuracy=0.8"),
        (200, "withheld", "/predict/files?accuracy=0.9"),
    ]
    check_each(cases, check)


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    kind = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    found = client.post("/predict", content=b"x", headers=kind)
    assert found.status_code == 415 and "'gzip' is not read" in found.json()["detail"]
    kind["Content-Encoding"] = "identity"
    body = json.dumps({"rows": [{"vector": VECTOR}]})
    assert client.post("/predict", content=body, headers=kind).status_code == 200


def test_no_path_in_json_is_opened(client: TestClient, tmp_path: Path) -> None:
    """Each modality whose reader opens files gets the path of one that it could read."""
    paths = {
        "array": tmp_path / "x.npy",
        "clip": video(tmp_path / "x.mp4"),
        "picture": jpeg(tmp_path / "x.jpg"),
        "sound": wav(tmp_path / "x.wav"),
        "story": tmp_path / "x.txt",
    }
    np.save(paths["array"], np.ones(4, np.float32))
    paths["story"].write_text("a cat")

    def check(name: str, value: Any) -> None:
        found = client.post("/predict", json={"rows": [{name: value}]})
        assert found.status_code == 422, found.text

    cases = [(name, str(path)) for name, path in paths.items()]
    cases += [(name, [str(path)] * n) for name, path in paths.items() for n in (1, 2, 3)]
    cases += [("frames", [str(paths["picture"])]), ("numbers", str(paths["array"]))]
    check_each(cases, check)


def test_files_of_every_kind_are_answered(client: TestClient, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array(VECTOR, np.float32))
    picture = jpeg(tmp_path / "x.jpg").read_bytes()
    files = [
        ("array", ("a.npy", buffer.getvalue())),
        ("clip", ("c.mp4", video(tmp_path / "c.mp4").read_bytes())),
        ("picture", ("p.jpg", picture)),
        ("frames", ("1.jpg", picture)),
        ("frames", ("2.jpg", picture)),
        ("sound", ("s.wav", wav(tmp_path / "s.wav").read_bytes())),
        ("story", ("s.txt", b"a cat sat")),
    ]
    texts = {"numbers": "1 2 3", "text": "a mat", "vector": "[1, null, 3, 4]"}
    found = client.post("/predict/files?coverage=0.9", files=files, data=texts).json()
    (row,) = found["predictions"]
    assert row["present"] == "array+clip+frames+numbers+picture+sound+story+text+vector"
    assert "problem" not in row and row["set"]
    for item in files[:3] + files[5:]:
        (alone,) = client.post("/predict/files", files=[item]).json()["predictions"]
        assert alone["present"] == item[0]


def test_files_are_gone_after_each_request(
    predictor: FakePredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Path]] = []
    check = application.check_files

    def note(*args: Any) -> Any:
        seen.append([path for path in tmp_path.rglob("*") if path.is_file()])
        return check(*args)

    make = uploads.Uploads.__init__
    monkeypatch.setattr(application, "check_files", note)
    monkeypatch.setattr(uploads.Uploads, "__init__", lambda self: make(self, tmp_path))
    with open_client(predictor) as client:
        (home,) = tmp_path.iterdir()
        assert home.stat().st_mode & 0o077 == 0
        for content in (npy((4,), content=bytes(16)), b"\x93NUMPY broken"):
            client.post("/predict/files", files={"array": ("../../../x.NPY", content)})
            assert list(home.iterdir()) == []
    assert [len(files) for files in seen] == [1, 1]
    assert all(p.parent.parent == home and len(p.stem) == 32 for files in seen for p in files)
    assert {p.suffix for files in seen for p in files} == {".npy"}
    assert list(tmp_path.iterdir()) == []


def test_what_a_form_may_not_hold(client: TestClient, tmp_path: Path) -> None:
    def check(reason: str, field: str, file: Any) -> None:
        part = file if isinstance(file, tuple) else (None, file)
        found = client.post("/predict/files", files={field: part})
        assert found.status_code == 422, found.text
        detail = found.json()["detail"]
        assert reason in detail and "/tmp" not in detail and "counterpoise-serve" not in detail

    lists = playlists("/etc/hostname")
    cases: list[tuple[str, str, Any]] = [
        ("did you mean 'picture'", "pictur", ("x.png", b"x")),
        ("must be a file, found a text", "picture", "x.png"),
        ("must be numbers in lists, found a file", "vector", ("x.npy", npy((4,)))),
        ("50,000,000 pixels", "picture", ("x.png", png_bomb())),
        ("4,000,000,000,000,000 bytes", "array", ("x.npy", npy((10**15,)))),
        ("points at another file", "array", ("x.h5", external_hdf5(tmp_path, "/etc/hostname"))),
        ("no arrays that can be read", "array", ("x.npz", b"PK\x03\x04" + bytes(99))),
        ("1,000,001 fields", "array", ("x.csv", b"1," * 1_000_001)),
        ("no picture", "picture", ("x.eps", lists["eps"])),
        ("the file of 'sound' is no sound", "sound", ("x.mp3", lists["id3+hls"])),
        *(("no sound or film", "sound", ("x.mp3", lists[k])) for k in ("hls", "concat", "dash")),
        ("is empty", "sound", ("x.wav", b"")),
        ("vector: ", "vector", "1 2"),
    ]
    check_each(cases, check)


def test_a_file_that_is_no_media_leaves_the_other_modalities(client: TestClient) -> None:
    def check(reason: str, field: str, file: tuple[str, bytes]) -> None:
        parts: dict[str, Any] = {field: file, "vector": (None, "1 2 3 4")}
        found = client.post("/predict/files", files=parts)
        assert found.status_code == 200, found.text
        (row,) = found.json()["predictions"]
        assert row["present"] == "vector" and row["label"] == "yes"
        assert row["problem"].startswith(f"{field}: ") and reason in row["problem"]
        assert client.post("/predict/files", files={field: file}).status_code == 422

    cases = [
        ("is no picture", "picture", ("x.png", b"RIFF    WAVE")),
        ("is no picture", "frames", ("x.png", b"RIFF    WAVE")),
        ("is empty", "sound", ("x.wav", b"")),
        ("50,000,000 pixels", "picture", ("x.png", png_bomb())),
    ]
    check_each(cases, check)
    both = dict.fromkeys(("picture", "sound"), ("x", b""))
    detail = client.post("/predict/files", files=both).json()["detail"]
    assert detail == "picture: is empty; sound: is empty"


def test_sizes_are_checked_while_they_come(predictor: FakePredictor) -> None:
    came: list[int] = []

    def pour() -> Iterator[bytes]:
        for k in range(100):
            came.append(k)
            yield b"[" + b" " * 1000

    with open_client(predictor, Limits(body=10_000)) as client:
        kind = {"Content-Type": "application/json"}
        found = client.post("/predict", content=pour(), headers=kind)
        assert found.status_code == 413 and "10,000 bytes" in found.json()["detail"]
        assert client.post("/predict", content=b" " * 10_001, headers=kind).status_code == 413
        assert client.post("/predict", content=b" " * 9_999, headers=kind).status_code == 400
        assert ask(client, {"vector": VECTOR})


def test_a_late_answer_is_given_up(predictor: FakePredictor) -> None:
    predictor.slow = 0.5
    with open_client(predictor, Limits(seconds=0.1)) as client:
        found = client.post("/predict", json={"rows": [{"vector": VECTOR}]})
        assert found.status_code == 503 and "0.1 s" in found.json()["detail"]
        assert found.headers["Retry-After"] == "1"


def test_requests_that_wait_are_answered_together(predictor: FakePredictor) -> None:
    predictor.slow = 0.1
    with open_client(predictor, Limits(batch=8)) as client, ThreadPoolExecutor(12) as pool:
        values = [[float(k - 6)] * 4 for k in range(12)]
        found = list(pool.map(lambda v: ask(client, {"vector": v})[0], values))
    assert [row["label"] for row in found] == ["no"] * 7 + ["yes"] * 5
    for value, row in zip(values, found, strict=True):
        assert row["probabilities"]["yes"] == pytest.approx(1 / (1 + np.exp(-value[0])))
    assert sum(predictor.batches) == 12 and len(predictor.batches) <= 5
    assert max(predictor.batches) <= 8


def test_a_batch_waits_for_more_where_that_is_wanted(predictor: FakePredictor) -> None:
    with open_client(predictor, Limits(wait=0.2)) as client, ThreadPoolExecutor(4) as pool:
        ask(client, {"vector": VECTOR})
        list(pool.map(lambda _: ask(client, {"vector": VECTOR}), range(4)))
    assert predictor.batches == [1, 4]


def test_no_part_of_an_answer_waits_for_a_receipt() -> None:
    with open_socket("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with pytest.raises(InputError, match=r"cannot listen at 127\.0\.0\.1, port \d+ \(Address"):
            open_socket("127.0.0.1", listener.getsockname()[1])
    assert is_loopback("::1") and is_loopback("localhost") and not is_loopback("0.0.0.0")


def test_those_who_ask_otherwise_are_answered_apart(predictor: FakePredictor) -> None:
    predictor.slow = 0.1
    with open_client(predictor) as client, ThreadPoolExecutor(8) as pool:
        shares = [None, 0.5] * 4
        asked = [{} if share is None else {"coverage": share} for share in shares]
        found = list(pool.map(lambda more: ask(client, {"vector": VECTOR}, **more)[0], asked))
    assert ["set" in row for row in found] == [False, True] * 4


def test_what_spoils_a_batch_spoils_no_other_request(predictor: FakePredictor) -> None:
    predictor.slow = 0.1

    def fail(samples: Any) -> Exception | None:
        return RuntimeError("secret") if (samples.inputs["vector"] == 99).any() else None

    predictor.fails = fail
    values = [1.0] * 5 + [99.0] + [1.0] * 5
    with open_client(predictor) as client, ThreadPoolExecutor(11) as pool:
        bodies = [{"rows": [{"vector": [v] * 4}]} for v in values]
        found = list(pool.map(lambda body: client.post("/predict", json=body), bodies))
    assert [f.status_code for f in found] == [200] * 5 + [500] + [200] * 5
    assert "secret" not in found[5].text


def test_a_full_queue_asks_to_come_again(predictor: FakePredictor) -> None:
    predictor.slow = 0.3
    with open_client(predictor, Limits(queue=2, batch=1)) as client, ThreadPoolExecutor(8) as pool:
        body = {"rows": [{"vector": VECTOR}]}
        found = list(pool.map(lambda _: client.post("/predict", json=body), range(8)))
    codes = sorted(f.status_code for f in found)
    assert set(codes) == {200, 503} and 2 <= codes.count(200) <= 5
    assert all(f.headers["Retry-After"] == "1" for f in found if f.status_code == 503)


def test_a_token_opens(predictor: FakePredictor) -> None:
    with open_client(predictor, token="s3cret") as client:
        body = {"rows": [{"vector": VECTOR}]}
        for said in ({}, {"Authorization": "Bearer other"}, {"Authorization": "s3cret"}):
            for path in ("/metrics", "/openapi.json", "/predict"):
                found = client.request("GET", path, headers=said)
                assert found.status_code == 401 and found.headers["WWW-Authenticate"] == "Bearer"
        right = {"Authorization": "Bearer s3cret"}
        for said in (
            right,
            {"Authorization": "bearer s3cret"},
            {"Authorization": "BEARER  s3cret"},
        ):
            assert client.post("/predict", json=body, headers=said).status_code == 200
        assert client.get("/healthz").json()["status"] == "ready"
        assert 'id="token"' in client.get("/").text
        paths = client.get("/openapi.json", headers=right).json()["paths"]
        assert paths["/predict"]["post"]["security"] and "security" not in paths["/healthz"]["get"]


def test_pages_of_other_sites_are_refused(predictor: FakePredictor) -> None:
    with open_client(predictor, hosts={"127.0.0.1", "localhost"}) as client:

        def status(**headers: str) -> int:
            return client.get("/healthz", headers=headers).status_code

        assert status() == status(host="localhost:8000") == 200
        assert status(host="evil.example") == status(host="[::") == 421
        assert status(origin="http://evil.example") == 403
        assert status(host="localhost:1", origin="http://localhost:1") == 200


def test_the_page_needs_no_network(client: TestClient) -> None:
    for path in ("/", "/docs"):
        found = client.get(path)
        policy = found.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
        assert "unsafe" not in policy and "https://" not in found.text
        for name in client.app.app.openapi()["paths"]:  # type: ignore[attr-defined]
            assert name in found.text
        assert 'type="file" data-name="picture"' in found.text
        assert "access-control-allow-origin" not in found.headers


def test_the_page_shows_nested_lists_and_the_statuses_that_occur() -> None:
    predictor = FakePredictor()
    predictor.preprocessing["vector"] = dataclasses.replace(
        predictor.preprocessing["vector"], spec={"": ("float32", (4, 2))}
    )
    with open_client(predictor, hosts={"127.0.0.1"}) as client:
        page = client.get("/").text
    assert "numbers, as <code>[[1.5, null, 3], [..]]</code>; a sample has shape [4, 2]" in page
    assert "1.5 2 3" not in page
    for status in (403, 404, 405, 413, 415, 421, 422, 503):
        assert f"<td>{status}</td>" in page
    assert "<td>401</td>" not in page
    with open_client(FakePredictor(), token="s3cret") as client:
        page = client.get("/").text
    assert "<code>1.5 2 3</code> or <code>[1.5, null, 3]</code>" in page
    assert "<td>401</td>" in page and "<td>421</td>" not in page and "<td>403</td>" not in page


def test_names_are_escaped_on_the_page() -> None:
    predictor = FakePredictor()
    odd = '<b>"x"</b>\''
    predictor.preprocessing = {odd: predictor.preprocessing["vector"]}
    predictor.modalities = (odd,)
    with open_client(predictor) as client:
        assert "<b>" not in client.get("/").text
        assert ask(client, {odd: VECTOR})[0]["present"] == odd


def test_openapi_describes_the_modalities(client: TestClient) -> None:
    found = client.get("/openapi.json").json()
    body = found["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    row = body["schema"]["properties"]["rows"]["items"]["properties"]
    assert set(row) == {"array", "numbers", "text", "vector"}
    files = found["paths"]["/predict/files"]["post"]["requestBody"]["content"]
    parts = files["multipart/form-data"]["schema"]["properties"]
    assert set(parts) == {*READERS, "vector"}


def test_metrics_count(client: TestClient) -> None:
    ask(client, {"vector": VECTOR}, {"vector": [1]})
    client.get("/nowhere/at/all")
    text = client.get("/metrics").text
    assert 'counterpoise_requests_total{path="/predict",status="200"} 1.0' in text
    assert 'counterpoise_requests_total{path="other",status="404"} 1.0' in text
    assert "counterpoise_problem_rows_total 1.0" in text
    assert 'counterpoise_batch_rows_bucket{le="2.0"} 1.0' in text


def test_no_threads_stay(predictor: FakePredictor) -> None:
    before = threading.active_count()
    with open_client(predictor) as client:
        ask(client, {"vector": VECTOR})
    end = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before


logging.getLogger("python_multipart").setLevel(logging.ERROR)
