"""The database that keeps a study: opened, waited for while it is locked or gone, and locked where it doesn't lock itself.

Whatever Optuna asks of it is one transaction, so what failed can be asked again.
"""

import functools
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, RDBStorage, fail_stale_trials
from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError, SQLAlchemyError

CONNECT_ATTEMPTS = 10  # tries to open the database before its error counts
WAIT_SECONDS = 300.0
"""For a database that is locked or gone in mid-run, before the sweep ends."""
NEWS_SECONDS = 60.0
"""Between two lines that say so."""
RETRY_SECONDS = 1.0
HEARTBEAT_SECONDS = 60
"""Between two signs of life of a machine, for each trial that it runs."""
GRACE_SECONDS = 900
"""Without one, by the database's clock, after which a trial is taken over: longer than a machine waits for its database."""

# What a database that can't be opened or understood raises: SQLAlchemy's errors and Optuna's own; a driver that isn't installed
# (ImportError), tables of another version of Optuna (RuntimeError), an address that is none (ValueError), a folder that isn't
# there (OSError).
DATABASE_ERRORS = (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, RuntimeError, ValueError, OSError)

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class DatabaseGoneError(Exception):
    """A database can't be used any more. The message is one line, without a password."""


@dataclass(frozen=True)
class Database:
    """An open database.

    Attributes:
        storage: Optuna's way to it, which waits while it is locked or gone.
        ask_lock: keeps two from getting the same waiting trial: database servers lock its row, SQLite knows no such lock.
        record_heartbeat: gives a sign of life for the trial of this id.
        fail_abandoned: ends a study's running trials that had one and have had none for ``GRACE_SECONDS``.
    """

    storage: BaseStorage
    ask_lock: AbstractContextManager[object]
    record_heartbeat: Callable[[int], None]
    fail_abandoned: Callable[[optuna.Study], None]


def open_database(where: str | Path) -> Database:
    """Open a database, and create its tables where there are none.

    Of machines that create them at the same moment all but one fail on tables that are suddenly there; they try again.

    Args:
        where: a file of SQLite's, which is created where it isn't there, or an SQLAlchemy URL.
    """
    url = where if isinstance(where, Path) else make_url(where)
    if isinstance(url, URL) and url.get_backend_name() == "sqlite" and url.database and not url.query:
        url = Path(url.database)
    lock = FileLock(f"{url}.lock") if isinstance(url, Path) else nullcontext()
    if isinstance(url, Path):
        url.touch()
        # A plain address would have SQLite create a new file wherever the study's has been moved away.
        url = URL.create("sqlite", database=url.absolute().as_uri(), query={"mode": "rw", "uri": "true"})
    address = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")  # Optuna takes it as a template
    database = _connect(address)
    storage = optuna.storages.get_storage(database)
    place = describe_place(where)
    for name, method in vars(BaseStorage).items():
        if not name.startswith("_") and callable(method):
            setattr(storage, name, _patient(getattr(storage, name), database, place))
    return Database(
        storage, lock, _patient(database.record_heartbeat, database, place), _patient(_fail_abandoned, database, place)
    )


def _connect(address: str) -> RDBStorage:
    for attempt in range(CONNECT_ATTEMPTS + 1):
        try:
            with unwarned():
                return RDBStorage(address, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=GRACE_SECONDS)
        except DBAPIError:
            if attempt == CONNECT_ATTEMPTS:
                raise
            time.sleep(0.5)
    raise AssertionError("the last attempt returns or raises")


def _fail_abandoned(study: optuna.Study) -> None:
    with unwarned():
        fail_stale_trials(study)


@contextmanager
def unwarned() -> Iterator[None]:
    """Have Optuna not warn that its heartbeats are experimental, and meant for loops of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Heartbeat of storage")
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _patient(ask: Callable[Arguments, Answer], database: RDBStorage, place: str) -> Callable[Arguments, Answer]:
    """Return a method of a storage that waits while the database is locked or gone.

    Raises:
        DatabaseGoneError: for longer than ``WAIT_SECONDS``, or it answers something that waiting doesn't mend.
    """

    @functools.wraps(ask)
    def wait_and_ask(*arguments: Arguments.args, **options: Arguments.kwargs) -> Answer:
        began: float | None = None
        told = 0
        while True:
            try:
                answer = ask(*arguments, **options)
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
                cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
                if isinstance(cause, PendingRollbackError):
                    # Optuna takes a lost connection for a query that is too long and asks another in the same transaction.
                    cause = cause.__context__
                problem = f"study's database, {place}: {_reason(cause or error)}"
                if not isinstance(cause, OperationalError | InterfaceError):
                    raise DatabaseGoneError(f"the {problem}") from error
                now = time.monotonic()
                began = began or now
                if now - began >= WAIT_SECONDS:
                    raise DatabaseGoneError(f"the {problem}; waited {WAIT_SECONDS:.0f} s for it") from error
                if now - began >= told * NEWS_SECONDS:
                    left = WAIT_SECONDS - (now - began)
                    print(f"The {problem}; waiting for it, at most {left:.0f} s more. Trainings go on", flush=True)
                    told += 1
                database.engine.dispose()  # connections to what is gone, such as a file that was copied back
                time.sleep(RETRY_SECONDS)
            else:
                if began:
                    print(f"The study's database is back after {time.monotonic() - began:.0f} s", flush=True)
                return answer

    return wait_and_ask


def _reason(error: BaseException) -> str:
    """Return the first line of what a database or its driver says."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return (str(said).splitlines() or [type(said).__name__])[0]


def describe_place(where: str | Path) -> str:
    """Return where a database is, without user and password."""
    if isinstance(where, Path):
        return str(where)
    url = make_url(where)
    return str(url.database) if url.get_backend_name() == "sqlite" else f"{url.drivername}://{url.host}/{url.database}"


def explain_failure(error: Exception, where: str | Path) -> str:
    """Return in one line, without a password, why a database can't be opened."""
    try:
        url = URL.create("sqlite") if isinstance(where, Path) else make_url(where)
    except (SQLAlchemyError, ValueError):  # their words may quote a part of the password
        return "the address is none that SQLAlchemy reads, such as postgresql+psycopg://user@host/name"
    if isinstance(error, ImportError):
        return f"{error.__cause__ or error}; install the driver, PostgreSQL's by pip install -e '.[postgresql]'"
    reason = _reason(error)
    for secret in (url.password, *(value for key, value in url.query.items() if "password" in key)):
        if secret:
            reason = reason.replace(str(secret), "***")
    return reason
