"""Brings the node database to this version's shape (Alembic), before anything else opens it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, func, select

from app.log.storage import Store

LOCK = 0x68656368  # "hech"
FOLDER = Path(__file__).parent.parent / "migrations"


def upgrade(store: Store) -> None:
    """Run every migration that the database lacks, in one transaction. Raises `StoreUnavailable`."""
    with store.writing() as connection:
        if not store.sqlite:
            # Instances that start together wait for each other; the lock ends with the transaction.
            connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
        command.upgrade(configuration(connection), "head")


def configuration(connection: Connection) -> Config:
    """Alembic's configuration on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config
