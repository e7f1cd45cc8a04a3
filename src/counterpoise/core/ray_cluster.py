"""A cluster of Ray: one of this machine's own for as long as it is needed, or one that is there."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from counterpoise.errors import InputError

from .lock import draft_folder
from .workers import count_cores

STORE = 200 * 2**20  # bytes for objects in memory, beside those of the data
LEAST_STORE = 80 * 2**20  # Ray takes no fewer than 75 MB
LONGEST_FOLDER = 8  # of what holds the temporary files: names of sockets have at most 107 bytes
PATIENCE = 20.0  # seconds until an address counts as wrong
HINT = "give the one that `ray start --head` printed, such as 192.168.1.7:6379"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the default of a coming release; else it warns
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of tasks that nobody waits for any more
}
# Of a cluster of this machine alone: on loopback, and only who knows a token is served. It is made
# anew for each process; Ray would leave one in the home folder.
ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on loopback, on every system
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_enable_metrics_collection": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",  # so long processes outlive a killed driver
    "RAY_task_oom_retries": "3",  # by default a run that is too large is tried for ever
}


def import_ray(address: str | None) -> Any:
    """The module ``ray``, imported quietly; :class:`InputError` names the extra that brings it.

    Args:
        address: of the cluster; ``None`` for one of this machine's own.
    """
    with _environment(address), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("ray")
        except ImportError as error:
            raise InputError(
                f"ray is needed for this and cannot be imported ({error}); "
                "install the extra 'ray': pip install '.[ray]' in the checkout"
            ) from None


@contextmanager
def open_cluster(address: str | None, gpus: bool, size: int) -> Iterator[Any]:
    """The module ``ray``, connected; in the end, what was started here has ended.

    Where this process is connected already, that connection is used, and stays.

    Args:
        address: ``HOST:PORT`` of a cluster, or ``auto`` for the one of this machine; with ``None``
            one is started: on loopback, with the cores that this process may use, temporary files
            in a folder of its own, which goes in the end, and no dashboard.
        gpus: whether that one is to have the GPUs of this machine.
        size: bytes of the objects that all runs share.

    Raises:
        InputError: there is no cluster at the address, or none can be started.
    """
    ray = import_ray(address)
    if ray.is_initialized():
        yield ray
        return
    common = {"configure_logging": True, "logging_level": logging.ERROR, "log_to_driver": False}
    with _environment(address):
        if address is not None:
            with _connected(ray, {"address": address, **common}):
                yield ray
            return
        with draft_folder(choose_base() / "cp-ray") as draft:
            draft.chmod(0o700)  # what Ray makes in there, everyone may write to
            plasma, store = choose_store(size, draft)
            here = {
                "address": "local",
                "num_cpus": count_cores(),
                "num_gpus": None if gpus else 0,
                "include_dashboard": False,
                "object_store_memory": store,
                "_temp_dir": str(draft / "r"),
                "_node_ip_address": "127.0.0.1",
            }
            more = {} if plasma is None else {"_plasma_directory": str(plasma)}
            with _connected(ray, {**here, **more, **common}):
                yield ray


@contextmanager
def _connected(ray: Any, how: Mapping[str, Any]) -> Iterator[None]:
    """A connection. Signals are handled as before: Ray would end the process at SIGTERM."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _read_token()
                ray.init(**how)
                _print_nothing(ray)
        except (RuntimeError, ConnectionError, ValueError, OSError) as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            what = "started" if how["address"] == "local" else "reached"
            raise InputError(f"Ray cannot be {what}: {said:.300}") from None
        except SystemExit as error:
            if main:
                signal.signal(signal.SIGTERM, before)
            if error.code == signal.SIGTERM:  # its handler turned the signal into this
                signal.raise_signal(signal.SIGTERM)
            raise
        finally:
            if main:
                signal.signal(signal.SIGTERM, before)
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.shutdown()


def _print_nothing(ray: Any) -> None:
    """Ray prints what it tells of lost workers, with pages of its logs, whatever it was told."""
    module: Any = getattr(getattr(ray, "_private", None), "worker", None)
    if hasattr(module, "_worker_logs_enabled"):
        module._worker_logs_enabled = False


def _read_token() -> None:
    """Have Ray look at the environment again, as an earlier import of it may have done."""
    with suppress(ImportError, AttributeError):  # releases without tokens
        module: Any = importlib.import_module("ray._raylet")
        module.Config.initialize("")
        module.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _environment(address: str | None) -> Iterator[None]:
    """The variables that Ray and the processes that it starts are to see; then those of before.

    What the user has set stays, but for what keeps a cluster of this machine to itself.
    """
    wanted = {key: value for key, value in QUIET.items() if key not in os.environ}
    if address is None:
        path = os.pathsep.join(place or os.getcwd() for place in sys.path)
        wanted |= ALONE | {"PYTHONPATH": path}
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def choose_base() -> Path:
    """A folder for temporary files with a short name."""
    base = tempfile.gettempdir()
    return Path(base if len(base) <= LONGEST_FOLDER else "/tmp")


def choose_store(size: int, folder: Path) -> tuple[Path | None, int]:
    """Where a cluster keeps its objects, and how many bytes are set aside.

    They are in memory (``/dev/shm``, which Ray chooses where ``None`` is given) unless that is
    smaller, as it often is in containers; then in ``folder``.
    """
    wanted = STORE + size + size // 4
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return None, wanted
    fits = int(free * 0.8)
    if fits >= wanted:
        return None, wanted
    return (None, fits) if fits >= max(LEAST_STORE, 2 * size) else (folder, wanted)


def check_address(address: str) -> None:
    """Raise :class:`InputError` unless a cluster of Ray answers, within half a minute.

    Ray itself would try for minutes and then end this process. A child asks in its place.
    """
    if address == "auto":
        return
    if "://" in address:
        raise InputError(
            f"--address {address!r:.80} must read HOST:PORT or auto; this process becomes a part "
            "of the cluster, so start it on one of its machines"
        )
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise InputError(f"--address must read HOST:PORT or auto, found {address!r:.80}; {HINT}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE / 2).close()
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"--address {address} does not answer ({said}); {HINT}") from None
    words = ["-m", "ray.scripts.scripts", "health-check", "--address", address]
    child = subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = child.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        said = "what listens there says nothing that Ray would"
    finally:
        with suppress(OSError):
            child.kill()
        child.wait()
    if child.returncode != 0:
        reason = (said.strip() or "no reason given").splitlines()[-1]
        raise InputError(f"--address {address} is no cluster of Ray ({reason:.300}); {HINT}")
