"""The yardstick: a bare Flask application that answers JSON with the same JSON, under the node's server settings."""

from __future__ import annotations

import gc
import os
from typing import Any

from flask import Flask, request

from app.server import Server
from app.settings import Settings

PATH = "/echo"


def echo_app() -> Flask:
    """Return the application."""
    app = Flask("echo", static_folder=None)

    @app.post(PATH)
    def echo() -> Any:
        return request.get_json()

    return app


class EchoServer(Server):
    """The node's gunicorn: same workers, threads, TLS context and keep-alive, another application."""

    def load(self) -> Flask:
        """The application of one worker, frozen as the node's is."""
        application = echo_app()
        gc.collect()
        gc.freeze()
        return application


def main() -> None:
    """Serve until SIGTERM, with the node's settings (HECHA_*)."""
    EchoServer(Settings.from_env(os.environ)).run()


if __name__ == "__main__":
    main()
