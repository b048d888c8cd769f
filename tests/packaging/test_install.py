"""make, make install and make installcheck work where there is PostgreSQL and make and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.server import ROOT, Server

# What a user's machine need not have.
ABSENT = ("git", "python", "python3", "jinja2", "pip")


def source_tree(directory: Path) -> Path:
    """The files of this tree that git knows or would take, as they are now, without .git and .venv."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (ROOT / name).exists():
            (directory / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / "tree" / name)
    return directory / "tree"


def unpacked(distribution: Path, directory: Path) -> Path:
    """What the zip holds."""
    with zipfile.ZipFile(distribution) as archive:
        archive.extractall(directory)
    return directory / distribution.stem


@pytest.fixture(params=["source tree", "distribution"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "source tree":
        return source_tree(tmp_path)
    return unpacked(request.getfixturevalue("distribution"), tmp_path)


@pytest.fixture
def plain_path(tmp_path: Path) -> str:
    """A PATH on which the programs that must not be needed fail, and leave a trace."""
    directory = tmp_path / "absent"
    directory.mkdir()
    for name in ABSENT:
        program = directory / name
        program.write_text(f"#!/bin/sh\necho {name} >> {directory}/used\nexit 127\n")
        program.chmod(0o755)
    return f"{directory}:/usr/bin:/bin"


def make(tree: Path, server: Server, path: str, *goals: str) -> str:
    """Run make with the server's pg_config; its output."""
    environment = {"PATH": path, "PGHOST": str(server.socket_directory), "PGUSER": "postgres", "HOME": str(tree)}
    command = ["make", f"PG_CONFIG={server.bin / 'pg_config'}", *goals]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    differences = tree / "tests" / "regress" / "regression.diffs"
    assert done.returncode == 0, done.stdout + done.stderr + (differences.read_text() if differences.exists() else "")
    return done.stdout


def test_make_install_and_installcheck_need_only_make_and_postgresql(
    tree: Path, clean_server: Server, plain_path: str, tmp_path: Path
) -> None:
    make(tree, clean_server, plain_path)
    make(tree, clean_server, plain_path, "install")
    output = make(tree, clean_server, plain_path, "installcheck")
    assert "1 test" in output.lower()
    assert "passed" in output.lower()
    assert not (tmp_path / "absent" / "used").exists()


def test_make_uninstall_leaves_no_file_of_the_extension(clean_server: Server, plain_path: str, tmp_path: Path) -> None:
    tree = source_tree(tmp_path)
    prefix = clean_server.directory / "prefix"
    make(tree, clean_server, plain_path, "install")
    assert list(prefix.rglob("dialog_partition*"))
    make(tree, clean_server, plain_path, "uninstall")
    assert not list(prefix.rglob("dialog_partition*"))


def test_pgxn_installs_and_loads_the_distribution(distribution: Path, clean_server: Server) -> None:
    pgxn = str(Path(sys.executable).parent / "pgxn")
    environment = {**os.environ, "PGHOST": str(clean_server.socket_directory), "PGUSER": "postgres"}
    pg_config = str(clean_server.bin / "pg_config")
    with clean_server.connect() as admin:
        admin.execute("CREATE EXTENSION plpython3u")
        for arguments in (["install", "--nosudo"], ["load", "--yes", "-d", "postgres"]):
            command = [pgxn, arguments[0], "--pg_config", pg_config, *arguments[1:], str(distribution)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        version = admin.execute("SELECT extversion FROM pg_extension WHERE extname = 'dialog_partition'").fetchone()
    assert version is not None
    assert distribution.name == f"dialog_partition-{version[0]}.zip"


def test_an_older_server_is_refused_by_name(clean_server: Server, tmp_path: Path, plain_path: str) -> None:
    """The script's own check, with the limit raised beyond every server."""
    tree = source_tree(tmp_path)
    for script in (tree / "extension").glob("*.sql"):
        text = script.read_text()
        assert text.count("< 150000") == 1
        script.write_text(text.replace("< 150000", "< 990000"))
    make(tree, clean_server, plain_path, "install")
    with clean_server.connect() as admin:
        admin.execute("CREATE EXTENSION plpython3u")
        with pytest.raises(Exception, match="dialog_partition needs PostgreSQL 15 or later") as raised:
            admin.execute("CREATE EXTENSION dialog_partition")
        assert getattr(raised.value, "sqlstate", None) == "0A000"
        assert admin.execute("SELECT FROM pg_namespace WHERE nspname = 'dp'").fetchone() is None
