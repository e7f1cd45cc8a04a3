"""The server as a process of its own: hostile requests, signals, memory, a fuzzer."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deploy.serve.serve_fakes import BOUND, form, hostile, png_bomb
from toy import toy_data

import counterpoise as cp
from counterpoise.cli.main import main

# The fake predictor of this folder, served by the real server; each file that is opened is listed.
PROGRAM = """
import sys
sys.path = [path for path in sys.path if path]  # not the working directory, for imports later
from deploy.serve.serve_fakes import READERS, FakePredictor
from counterpoise.deploy.serve.limits import Limits
from counterpoise.deploy.serve.server import open_socket, serve

texts = READERS["text"].fit(["a cat sat on a mat"])
predictor = FakePredictor(**{**READERS, "text": texts, "story": texts.changed("x", file=True)})
log = open(sys.argv[1], "w", buffering=1)
listener = open_socket("127.0.0.1", 0)


def ready():
    def note(event, arguments):
        if event in ("open", "os.system", "subprocess.Popen", "socket.connect", "os.listdir"):
            print(event, repr(arguments[0]), file=log)

    sys.addaudithook(note)
    print("ready", listener.getsockname()[1], flush=True)


serve(predictor, listener, Limits(seconds=float(sys.argv[2])), ready=ready)
"""


@contextmanager
def start(
    *words: str, quiet: bool = False, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves, and the first line that it prints."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | variables
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        if process.stderr is not None:
            process.stderr.close()


def send(port: int, method: str, path: str, headers: dict[str, str], body: bytes) -> int:
    """The status of the answer; 0 where the connection was closed instead."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            connection.putheader(name, value.encode("utf-8", "replace"))
        connection.endheaders(body)
        answer = connection.getresponse()
        text = answer.read()
        assert b"/tmp/" not in text and b"Traceback" not in text and b"counterpoise-s" not in text
        return answer.status
    except (ConnectionError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def send_raw(port: int, content: bytes) -> bytes:
    """The first line that comes back for bytes that need not be HTTP."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(1 << 16).split(b"\r\n")[0]


RAW = [
    b"",
    b"\0" * 1000,
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\n12345",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + b"[" * 0x100000 + b"\r\n",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\nX\0: c\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
]


@pytest.mark.slow
def test_hostile_requests_get_no_500_and_open_no_file(tmp_path: Path) -> None:
    target = tmp_path / "secret.txt"
    target.write_text("secret")
    log, watch = tmp_path / "opened", Watch(target)
    with start("-c", PROGRAM, str(log), "30") as (process, line):
        port = int(line.split()[1])
        statuses: dict[int, int] = {}
        for method, path, headers, body in hostile(tmp_path, str(target)):
            status = send(port, method, path, headers, body)
            statuses[status] = statuses.get(status, 0) + 1
            assert status < 500, (method, path, headers, body[:300])
        for content in RAW:
            answer = send_raw(port, content)
            assert b" 50" not in answer, (content[:200], answer)
        good = b'{"rows":[{"vector":[1,2,3,4]}]}'
        kind = {"Content-Type": "application/json"}
        assert send(port, "POST", "/predict", kind, good) == 200
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert sum(statuses.values()) >= 500, statuses
    lines = log.read_text().splitlines()
    uploaded = f"'{tempfile.gettempdir()}/counterpoise-serve-"
    modules = tuple(f"'{p}" for p in (sys.prefix, sys.base_prefix) if p)
    outside = {
        text for text in lines if not text.partition(" ")[2].startswith((uploaded, *modules))
    }
    assert any(uploaded in text for text in lines), "the hook has seen nothing"
    assert {text for text in outside if not _is_harmless(text)} == set()
    assert watch.count() == 0  # FFmpeg and HDF5 open files unseen by Python
    target.read_text()
    assert watch.count() > 0


class Watch:
    """Counts how often a file is opened, by whatever program (inotify of Linux)."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self.fd, os.fsencode(path), 0x20) > 0  # IN_OPEN

    def count(self) -> int:
        try:
            return len(os.read(self.fd, 1 << 16)) // 16
        except BlockingIOError:
            return 0


def _is_harmless(text: str) -> bool:
    """What Python, its libraries and the system's counts open, whatever is asked."""
    event, name = text.split(" ", 1)
    name = name.strip("'")
    own = name.startswith("/proc/self/") or name in (tempfile.gettempdir(), "/dev/null", "uname")
    code = name.endswith((".py", ".so")) or "__pycache__" in name or "/lib/python" in name
    return own or code or name.isdigit() or (event == "os.listdir" and code)


@pytest.mark.slow
def test_slow_bodies_are_given_up_and_keep_nobody_waiting(tmp_path: Path) -> None:
    with start("-c", PROGRAM, str(tmp_path / "opened"), "1") as (_, line):
        port = int(line.split()[1])
        slow = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(50)]
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        for connection in slow:
            connection.sendall(f"{head}Content-Length: 1000\r\n\r\n[".encode())
        begun = time.monotonic()
        kind = {"Content-Type": "application/json"}
        good = b'{"rows":[{"vector":[1,2,3,4]}]}'
        assert send(port, "POST", "/predict", kind, good) == 200
        assert time.monotonic() - begun < 1
        answers = {connection.recv(100).split(b"\r\n")[0] for connection in slow}
        for connection in slow:
            connection.close()
    assert answers == {b"HTTP/1.1 408 Request Timeout"}


def test_a_second_signal_ends_at_once_and_quietly(tmp_path: Path) -> None:
    words = ("-c", PROGRAM, str(tmp_path / "opened"), "8")
    home = tmp_path / "tmp"
    home.mkdir()
    with start(*words, quiet=True, TMPDIR=str(home)) as (process, line):
        port = int(line.split()[1])
        multi = {"Content-Type": f"multipart/form-data; boundary={BOUND}"}
        bomb = form(("picture", "x.png", png_bomb(10_000, 10_000)))  # where Pillow warns
        assert send(port, "POST", "/predict/files", multi, bomb) == 422
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: 1000\r\n\r\n[".encode())
            time.sleep(0.3)
            assert process.stderr is not None
            process.send_signal(signal.SIGINT)
            said = process.stderr.readline()
            process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            assert connection.recv(1000).startswith(b"HTTP/1.1 503 ")
            assert process.wait(30) == 0
        assert time.monotonic() - begun < 10
        assert said == "counterpoise: waiting for 1 request; Ctrl-C again ends at once\n"
        assert process.stderr.read() == ""
    assert list(home.iterdir()) == []


def make_pack(folder: Path) -> Path:
    """A small model of two modalities, 24 and 32 numbers."""
    data = toy_data(samples=240)
    run = cp.fit(cp.build_model(data, "joint"), data, "joint", epochs=2)
    run.save(folder / "pack")
    return folder / "pack"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_answers_what_is_under_way_and_stops(tmp_path: Path, number: int) -> None:
    pack = make_pack(tmp_path)
    home = tmp_path / "tmp"
    home.mkdir()
    words = ("-m", "counterpoise", "serve", str(pack), "--port", "0")
    with start(*words, TMPDIR=str(home)) as (process, line):
        assert line.startswith(f"serving {pack} at http://127.0.0.1:")
        port = int(line.split(":")[-1].split()[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        body = b'{"rows":[{"a":[1,2,3,4]}]}'
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:10])
        time.sleep(0.3)
        process.send_signal(number)
        time.sleep(0.3)
        connection.send(body[10:])
        answer = connection.getresponse()
        assert answer.status == 200
        assert json.loads(answer.read())["predictions"][0]["present"] == "a"
        connection.close()
        assert process.wait(30) == 0
        assert process.stdout is not None and process.stdout.read() == "stopped\n"
    assert list(home.iterdir()) == []


@pytest.mark.slow
def test_answers_are_those_of_the_predictor_from_any_number_of_clients(tmp_path: Path) -> None:
    pack = make_pack(tmp_path)
    predictor = cp.Predictor.load(pack)
    rows = [{"a": [k / 10, 1, -1, 0]} | ({"b": [k / 20] * 5} if k % 2 else {}) for k in range(40)]
    with start("-m", "counterpoise", "serve", str(pack), "--port", "0") as (_, line):
        port = int(line.split(":")[-1].split()[0])
        found: dict[int, dict[str, object]] = {}

        def ask(k: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            kind = {"Content-Type": "application/json"}
            connection.request("POST", "/predict", json.dumps({"rows": [rows[k]]}), kind)
            found[k] = json.loads(connection.getresponse().read())["predictions"][0]
            connection.close()

        threads = [threading.Thread(target=ask, args=(k,)) for k in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for k, row in enumerate(rows):
        (alone,) = predictor.predict([row]).rows()
        assert found[k]["label"] == alone["label"]
        assert found[k]["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-6)


@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    with start("-c", PROGRAM, str(tmp_path / "opened"), "30") as (_, line):
        address = f"http://127.0.0.1:{int(line.split()[1])}/openapi.json"
        tool = Path(sys.executable).with_name("schemathesis")
        words = [
            "run",
            address,
            "--max-examples",
            "40",
            "--seed",
            "1",
            "--phases",
            "examples,coverage,fuzzing",
        ]
        checks = "not_a_server_error,status_code_conformance,content_type_conformance,"
        checks += "response_headers_conformance,response_schema_conformance,unsupported_method"
        done = subprocess.run(
            [str(tool), *words, "--checks", checks],
            capture_output=True, text=True, cwd=tmp_path, timeout=500,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]


def test_what_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(reason: str, *words: str) -> None:
        assert main(["serve", *words]) == 2
        assert reason in capsys.readouterr().err

    refuse("holds neither config.json nor run.json", str(tmp_path))
    refuse("--port must be", str(tmp_path), "--port", "70000")
    refuse("--max-body must be", str(tmp_path), "--max-body", "0")
    refuse("--timeout must be", str(tmp_path), "--timeout", "0")
    token = tmp_path / "token"
    refuse("cannot be read", str(tmp_path), "--token-file", str(token))
    token.write_text("two words\n")
    refuse("one word of printable ASCII", str(tmp_path), "--token-file", str(token))
