"""The same private server in a container, for the versions that are not installed here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# Ryuk, which removes containers of test runs that were killed, is an image of a registry; ours end by themselves.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

from testcontainers.core.container import DockerContainer

from tests.support.server import ROOT, Server, has_room_in_memory

IN_MEMORY = Path("/memory")
# The container's first process: the server is started and stopped beside it, as on a machine. A shell that waits
# also reaps what a stopped server leaves. Nothing of a killed test run outlives two hours.
IDLE = "trap 'exit 0' TERM; sleep 7200 & wait $!"


def build_image(version: int) -> str:
    """The image with the extension of this tree, by its digest: other trees may build theirs meanwhile."""
    command = [str(ROOT / "docker" / "build-image"), str(version)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()[-1]


class ContainerServer(Server):
    """A Server inside a container; run(), psql() and pg_dump() run there, connect() comes from here."""

    def __init__(self, version: int, settings: dict[str, str] | None = None, *, on_disk: bool = False) -> None:
        super().__init__(version, {**(settings or {}), "listen_addresses": "*"}, on_disk=True)
        self.is_in_memory = not on_disk and has_room_in_memory()
        self.directory.rmdir()
        self.directory = Path("/tmp")
        self.data = (IN_MEMORY if self.is_in_memory else Path("/var/lib/postgresql")) / "test"
        self.log_file = Path("/var/lib/postgresql/test.log")
        self.bin = Path("/usr/lib/postgresql") / str(version) / "bin"
        self.socket_directory = self.directory
        self.container: DockerContainer | None = None
        self.address: tuple[str, int] | None = None

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """How to connect from here."""
        if self.address is None:  # asked once: Docker takes longer to tell than the server to connect
            self.address = self._container.get_container_host_ip(), int(self._container.get_exposed_port(self.port))
        host, port = self.address
        return f"host={host} port={port} dbname={database} user={user}"

    @property
    def _container(self) -> DockerContainer:
        if self.container is None:
            raise RuntimeError("the container has not been started")
        return self.container

    def _prepare(self) -> None:
        self.container = DockerContainer(
            build_image(self.version),
            user="postgres",
            entrypoint=["sh", "-c", IDLE],
            auto_remove=True,
            # Parallel queries share memory there, and Docker's own limit is 64 MB.
            shm_size="1g",
        ).with_exposed_ports(self.port)
        if self.is_in_memory:
            self.container.with_tmpfs_mount(str(IN_MEMORY))
        self.container.start()

    def _create_cluster(self) -> None:
        super()._create_cluster()
        self._execute(["tee", "-a", str(self.data / "pg_hba.conf")], "host all all all trust\n")

    def _remove(self) -> None:
        if self.container is not None:
            self.container.stop()

    def _execute(self, command: list[str], script: str = "") -> str:
        identifier = self._container.get_wrapped_container().id
        return self._finish(["docker", "exec", "-i", str(identifier), *command], script)
