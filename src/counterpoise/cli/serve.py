"""The command ``counterpoise serve``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from counterpoise.core.files import read_bytes
from counterpoise.errors import InputError, check_number

from .arguments import Command, add_config, read_path

VARIABLE = "COUNTERPOISE_TOKEN"
MOST = 1 << 34


def add(parser: argparse.ArgumentParser) -> None:
    from .opening import MODEL

    parser.add_argument("model", type=read_path, metavar="MODEL", help=MODEL)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0: a free one (%(default)s)")
    parser.add_argument(
        "--token-file",
        type=read_path,
        metavar="PATH",
        help=f"a file with the token that requests must bring; or set {VARIABLE}",
    )
    parser.add_argument(
        "--max-body", type=int, default=16 << 20, metavar="BYTES", help="of a request (%(default)s)"
    )
    parser.add_argument(
        "--max-rows", type=int, default=256, metavar="N", help="of a request (%(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="of a request (%(default)s)"
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=64,
        metavar="N",
        help="rows that are answered at once (%(default)s)",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="MS",
        help="that a batch waits for more rows where requests are many (%(default)s)",
    )
    parser.add_argument("--data-dir", type=read_path, help="where the data of a run lie")
    add_config(parser)


def run(options: argparse.Namespace) -> None:
    from counterpoise.data.readers.base import need

    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        need(module, "serve")
    from counterpoise.deploy.serve.limits import Limits
    from counterpoise.deploy.serve.server import is_loopback, open_socket, serve

    from .opening import open_predictor

    limits = Limits(
        body=check_number("--max-body", options.max_body, 1, MOST, whole=True),
        rows=check_number("--max-rows", options.max_rows, 1, 1 << 20, whole=True),
        seconds=check_number("--timeout", options.timeout, 0.1, 86400),
        batch=check_number("--batch-size", options.batch_size, 1, 1 << 16, whole=True),
        wait=check_number("--wait", options.wait, 0, 10_000) / 1000,
    )
    check_number("--port", options.port, 0, 65535, whole=True)
    token = read_token(options.token_file)
    predictor = open_predictor(options.model, options.data_dir)
    with open_socket(options.host, options.port) as listener:
        port = listener.getsockname()[1]
        local = is_loopback(options.host)
        if not local and token is None:
            print(
                f"counterpoise: warning: {options.host} is reached from other machines, and no "
                f"token is asked for; set {VARIABLE} or give --token-file",
                file=sys.stderr,
            )
        hosts = {"localhost", "127.0.0.1", "::1", options.host} if local and not token else None
        host = f"[{options.host}]" if ":" in options.host else options.host

        def say_ready() -> None:
            print(f"serving {options.model} at http://{host}:{port} (Ctrl-C stops)", flush=True)

        given_up = serve(predictor, listener, limits, token=token, hosts=hosts, ready=say_ready)
    print("stopped", flush=True)
    if given_up:
        os._exit(0)  # else Python waits for threads that decode


def read_token(path: Path | None) -> str | None:
    """The token of a file, else of the environment; None where neither holds one.

    Raises:
        InputError: the file is not there, or holds no token of one line in ASCII.
    """
    token = os.environ.get(VARIABLE) or None
    where = VARIABLE
    if path is not None:
        where = f"--token-file {path}"
        try:
            token = read_bytes(path).decode().strip()
        except InputError:
            raise
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{where} cannot be read ({error})") from None
    if token is not None and not (
        token.isascii() and token.isprintable() and token.split() == [token]
    ):
        raise InputError(f"{where} must hold one word of printable ASCII")
    return token


COMMAND = Command("answer requests over HTTP with a packed model", add, run)
