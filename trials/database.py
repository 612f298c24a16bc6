"""The database that keeps a study: opened, and locked where the database itself doesn't."""

import time
from contextlib import AbstractContextManager, nullcontext

import optuna
from filelock import FileLock
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

CONNECT_ATTEMPTS = 10  # tries to open the database before its error counts

# What a database that can't be opened or understood raises: SQLAlchemy's errors and Optuna's own; a driver that isn't installed
# (ImportError), tables of another version of Optuna (RuntimeError), a port that is no number (ValueError).
DATABASE_ERRORS = (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, RuntimeError, ValueError)


def open_database(url: str) -> optuna.storages.RDBStorage:
    """Open the database at this SQLAlchemy URL, and create it where there is none.

    Of machines that create it at the same moment all but one fail on tables that are suddenly there; they try again.
    """
    for _ in range(CONNECT_ATTEMPTS):
        try:
            return optuna.storages.RDBStorage(url)
        except DBAPIError:
            time.sleep(0.5)
    return optuna.storages.RDBStorage(url)


def ask_lock(url: str) -> AbstractContextManager[object]:
    """Return what keeps two from getting the same waiting trial: database servers lock its row, SQLite knows no such lock."""
    parts = make_url(url)
    return FileLock(f"{parts.database}.lock") if parts.drivername.startswith("sqlite") else nullcontext()
