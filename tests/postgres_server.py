"""A PostgreSQL server of a test's own: on the loopback, on a free port, in a temporary folder, with a password."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

PASSWORD = "s3cret{}%:@/?#"  # every letter that means something in an address


class PostgresServer:
    """Runs from the start. PostgreSQL refuses to be root, so there its package's own user runs it."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda file: int(file.parts[-3]))
        command = shutil.which("pg_ctl") or (str(found[-1]) if found else None)
        if command is None:
            reason = "PostgreSQL isn't installed: apt-get install postgresql"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        self._programs = Path(command).resolve().parent
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        if self._user:
            account = pwd.getpwnam("postgres")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (self.folder / "password").write_text(PASSWORD)
        (self.folder / "password").chmod(0o644)
        self._run(
            "initdb", "--username=someone", f"--pwfile={self.folder / 'password'}", "--auth=scram-sha-256", "--no-sync",
            "--encoding=UTF8", "--no-locale", str(self.folder / "data"),
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._control("start", "--options", options, "--log", str(self.folder / "log"))

    def stop(self) -> None:
        """Stop the server as a crash would: nobody is waited for."""
        self._control("stop", "--mode=immediate")

    def close(self) -> None:
        """Stop the server and delete what it has stored."""
        self.stop()
        shutil.rmtree(self.folder)

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "--wait", "--timeout=120", f"--pgdata={self.folder / 'data'}", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._user, str(self._programs / program), *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "output").open("ab"),  # no pipe, which the server would inherit and never close
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, (self.folder / "output").read_text()
