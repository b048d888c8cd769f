"""A private PostgreSQL server in a temporary folder, with the extension of this tree; nothing is installed.

PostgreSQL finds its share directory relative to its own executable. So a prefix of our own, with copies of the
executables and links to everything else, has room for our control file and scripts beside the server's, needs no
privilege, and lets several trees be tested side by side.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent.parent
DEBIAN = Path("/usr/lib/postgresql")
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "100",
    "max_locks_per_transaction": "64",
    "shared_buffers": "256MB",
    "autovacuum": "off",
    "enable_partitionwise_join": "on",
    "log_min_messages": "warning",
    "log_statement": "none",
}
MEMORY = Path("/dev/shm")
ROOM = 4 * 2**30  # bytes that the tests of several processes stay below


def has_room_in_memory() -> bool:
    """Whether clusters can lie in memory: to make and remove files is a fifth of what tests take otherwise."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM:
        return False
    available = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return available is not None and int(available[1]) * 1024 > 2 * ROOM


def installed_versions() -> list[int]:
    """The supported server versions that are installed here with PL/Python."""
    found = []
    for path in sorted(DEBIAN.glob("*/bin/postgres")):
        version = path.parent.parent.name
        if version.isdigit() and int(version) >= 15 and (path.parent.parent / "lib" / "plpython3.so").exists():
            found.append(int(version))
    return sorted(found)


def has_squeeze(version: int) -> bool:
    """Whether pg_squeeze is there: installed here, or in the image, for which Debian has it from 17 on."""
    if version in installed_versions():
        return (DEBIAN / str(version) / "lib" / "pg_squeeze.so").exists()
    return version >= 17


# What pg_squeeze needs; see allow_squeeze for the rest.
SQUEEZE_SETTINGS = {"shared_preload_libraries": "pg_squeeze", "wal_level": "logical", "max_worker_processes": "20"}


def allow_squeeze(server: Server, *, is_allowed: bool = True) -> None:
    """Let logical decoding use pg_squeeze, where the server asks for that; or forbid it."""
    libraries = "pgoutput, pg_squeeze" if is_allowed else "pgoutput, test_decoding"
    with server.connect() as admin:
        if not admin.execute("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'").fetchone():
            return
        admin.execute(f"ALTER SYSTEM SET output_plugin_libraries = {libraries}")
        admin.execute("SELECT pg_reload_conf()")
    shown = ""
    while shown != libraries:  # new sessions have it when the server has read it
        with server.connect() as admin:
            shown = str(admin.execute("SHOW output_plugin_libraries").fetchone()[0])  # type: ignore[index]


class ProgramError(RuntimeError):
    """A program of PostgreSQL's failed; the message holds what it and the server said."""


class Server:
    """One cluster: started by ``with``, gone afterwards.

    ``extension=False`` leaves dialog_partition out; ``on_disk`` is for what has many rows, or measures.
    """

    def __init__(
        self, version: int, settings: dict[str, str] | None = None, *, extension: bool = True, on_disk: bool = False
    ) -> None:
        self.version = version
        self.settings = {**SETTINGS, **(settings or {})}
        self.extension = extension
        self.prepared: dict[tuple[object, ...], str] = {}  # databases to be copied, by what made them
        self.is_in_memory = not on_disk and has_room_in_memory()
        self.directory = Path(tempfile.mkdtemp(prefix="dp-"))
        self.cluster = Path(tempfile.mkdtemp(prefix="dp-", dir=MEMORY)) if self.is_in_memory else self.directory
        self.data = self.cluster / "data"
        self.log_file = self.directory / "log"
        self.bin = self.directory / "prefix" / "lib" / "postgresql" / str(version) / "bin"
        self.socket_directory = self.directory
        self.port = 5432

    def __enter__(self) -> Server:
        try:
            self._prepare()
            self._create_cluster()
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self._remove()

    def start(self, options: str = "") -> None:
        """Start the server, with options of its command line, and wait until it takes connections."""
        self.run("pg_ctl", "-D", str(self.data), "-l", str(self.log_file), "-o", options, "-w", "-t", "60", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server: at once, or as mode says."""
        with contextlib.suppress(ProgramError):
            self.run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    @property
    def log(self) -> str:
        """What the server wrote."""
        return self._execute(["cat", str(self.log_file)])

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """How to connect from here."""
        return self.inner_dsn(database, user)

    def inner_dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """How the programs that run() starts connect."""
        return f"host={self.socket_directory} port={self.port} dbname={database} user={user}"

    def connect(self, database: str = "postgres", user: str = "postgres") -> psycopg.Connection:
        """A connection that commits each statement."""
        return psycopg.connect(self.dsn(database, user), autocommit=True)

    def run(self, program: str, *arguments: str, script: str = "") -> str:
        """Run one of PostgreSQL's programs where the server is; its output. Its failure is a ProgramError."""
        return self._execute([str(self.bin / program), *arguments], script)

    def psql(self, database: str, script: str, user: str = "postgres") -> str:
        """Run a script with psql; its output. An error in the script is an error here."""
        options = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-")
        return self.run("psql", *options, "-d", self.inner_dsn(database, user), script=script)

    def shell(self, script: str, user: str = "postgres") -> str:
        """Run a shell's script where the server is; PostgreSQL's programs in it connect to the server."""
        environment = (f"PATH={self.bin}:/usr/bin:/bin", f"PGHOST={self.socket_directory}", f"PGPORT={self.port}")
        return self._execute(["env", *environment, f"PGUSER={user}", "sh", "-e"], script)

    def pg_dump(self, database: str, *options: str) -> str:
        """The database as a script."""
        return self.run("pg_dump", *options, "-d", self.inner_dsn(database))

    def _create_cluster(self) -> None:
        options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        self.run("initdb", "-D", str(self.data), *options)
        settings = {**self.settings, "unix_socket_directories": str(self.socket_directory)}
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        self._execute(["tee", "-a", str(self.data / "postgresql.conf")], "".join(lines))

    def _prepare(self) -> None:
        """Make the prefix."""
        original = DEBIAN / str(self.version)
        shutil.copytree(original / "bin", self.bin, symlinks=False)
        (self.bin.parent / "lib").symlink_to(original / "lib")
        share = self.directory / "prefix" / "share" / "postgresql" / str(self.version)
        source = Path("/usr/share/postgresql") / str(self.version)
        (share / "extension").mkdir(parents=True)
        for path in source.iterdir():
            if path.name != "extension":
                (share / path.name).symlink_to(path)
        for path in (source / "extension").iterdir():
            if not path.name.startswith("dialog_partition"):
                (share / "extension" / path.name).symlink_to(path)
        if self.extension:
            shutil.copy(ROOT / "dialog_partition.control", share / "extension")
            for path in (ROOT / "extension").glob("dialog_partition--*.sql"):
                shutil.copy(path, share / "extension")
        if os.geteuid() == 0:
            for folder in {self.directory, self.cluster}:
                self._give(folder)

    def _remove(self) -> None:
        for folder in {self.directory, self.cluster}:
            shutil.rmtree(folder, ignore_errors=True)

    def _execute(self, command: list[str], script: str = "") -> str:
        """Run a command where the server is, as its account; what it wrote."""
        options: dict[str, object] = {}
        if os.geteuid() == 0:
            account = _unprivileged_account()
            options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return self._finish(command, script, **options)

    def _finish(self, command: list[str], script: str, **options: object) -> str:
        done = subprocess.run(  # type: ignore[call-overload]
            command, cwd="/", input=script, capture_output=True, text=True, check=False, **options
        )
        if done.returncode != 0:
            said = done.stdout + done.stderr
            if "pg_ctl" in " ".join(command) and "start" in command:
                said += self.log
            raise ProgramError(f"{' '.join(command)} failed: {said}")
        return done.stdout

    @staticmethod
    def _give(directory: Path) -> None:
        account = _unprivileged_account()
        for path in (directory, *directory.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
        directory.chmod(0o755)


def _unprivileged_account() -> pwd.struct_passwd:
    """Who runs the server when we are root: initdb refuses root."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("no unprivileged account to run PostgreSQL as")


def make_server(version: int, settings: dict[str, str] | None = None, *, on_disk: bool = False) -> Server:
    """A server of this version: of the programs that are installed here, else in a container."""
    if version in installed_versions():
        return Server(version, settings, on_disk=on_disk)
    from tests.support.container import ContainerServer

    return ContainerServer(version, settings, on_disk=on_disk)
