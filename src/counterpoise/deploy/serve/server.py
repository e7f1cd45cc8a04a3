"""The server: a socket, the signals that end it, and what it prints."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Collection
from ipaddress import ip_address
from types import FrameType
from typing import TYPE_CHECKING

import torch
import uvicorn

from counterpoise.errors import InputError

from .app import create_app
from .limits import Limits

if TYPE_CHECKING:
    from counterpoise.deploy.predictor import Predictor

MOST_CLIENTS = 512  # connections at once


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: a name or an address.
        port: its number; 0: one that is free.

    Raises:
        InputError: the port is taken, or the address is not this machine's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family)
        # Else the second part of an answer waits 40 ms for the receipt of the first. asyncio asks
        # for this only where a socket names its protocol, which those of create_server do not.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise InputError(
            f"cannot listen at {host}, port {port} ({error.strerror or error}); choose others with "
            "--host and --port"
        ) from None


def serve(
    predictor: Predictor,
    listener: socket.socket,
    limits: Limits,
    *,
    token: str | None = None,
    hosts: Collection[str] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> bool:
    """Answer until SIGINT or SIGTERM comes; requests under way are answered then.

    A second signal gives them up. What decodes a file at that time cannot be stopped, so the
    caller ends the process.

    Args:
        predictor: that answers.
        listener: see :func:`open_socket`.
        limits: of a request.
        token: that requests must bring.
        hosts: what requests may call this server.
        ready: called once requests are answered.

    Returns:
        Whether a second signal came while requests were under way.
    """
    torch.set_num_threads(1)
    # Pillow warns of what is refused by its header anyway.
    warnings.filterwarnings("ignore", r"Image size .* decompression bomb")
    config = uvicorn.Config(
        create_app(predictor, limits, token=token, hosts=hosts),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        limit_concurrency=MOST_CLIENTS,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # which uvicorn raises again when it is done
        signal.signal(number, lambda *_: None)
    server = _Server(config, ready)
    asyncio.run(server.serve(sockets=[listener]))
    return server.force_exit


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # uvicorn does so at SIGINT alone
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        count = len(self.server_state.tasks)
        if count:
            print(
                f"counterpoise: waiting for {count} request{'s' * (count > 1)}; "
                "Ctrl-C again ends at once",
                file=sys.stderr,
                flush=True,
            )
        watch = asyncio.create_task(self._give_up())
        await super().shutdown(sockets=sockets)
        if self.force_exit:  # then uvicorn leaves out what deletes uploads
            await watch
            await self.lifespan.shutdown()
        watch.cancel()

    async def _give_up(self) -> None:
        """At the second signal, answer those that are under way with 503."""
        while not self.force_exit:
            await asyncio.sleep(0.05)
        logging.getLogger("uvicorn.error").disabled = True  # it would print what is cancelled here
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        for connection in list(self.server_state.connections):
            connection.transport.close()
