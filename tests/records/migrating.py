"""Moves a database between its versions, as an upgrade of Penstock does, and back."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from penstock.records import migrations


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config


def down(connection: Connection, revision: str) -> None:
    command.downgrade(_config(connection), revision)


def up(connection: Connection) -> None:
    command.upgrade(_config(connection), "head")
