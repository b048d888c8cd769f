#!/usr/bin/env python3
"""Render sql/ and plpython/ into extension/dialog_partition--VERSION.sql.

extension/build.py            write the script of the version that dialog_partition.control names
extension/build.py --check    fail when the committed script is stale, or a released one has changed
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path

import jinja2

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "plpython" / "dialog_partition"
SQL = ROOT / "sql"
RELEASED = ROOT / "extension" / "released.sha256"
TRIPLE_QUOTE = "'" * 3
ORDER = (
    "support/load_python.sql.j2",
    "support/cut.sql.j2",  # the other functions in support/ may use what stands above them here
    "support/clock.sql.j2",
    "support/locks.sql.j2",
    "support/columns.sql.j2",
    "support/slices.sql.j2",
    "support/index_definition.sql.j2",
    "support/index_names.sql.j2",
    "support/check_empty.sql.j2",
    "support/check_unchanged.sql.j2",
    "support/use_index.sql.j2",
    "support/changes.sql.j2",
    "support/share_identity.sql.j2",
    "support/rename_sequence.sql.j2",
    "support/equality_schema.sql.j2",
    "tables/*.sql.j2",
    "triggers/*.sql.j2",
    "views/*.sql.j2",
    "functions/*.sql.j2",
    "procedures/*.sql.j2",
)


def version() -> str:
    """The version that the control file names."""
    found = re.search(r"^default_version = '([^']+)'", (ROOT / "dialog_partition.control").read_text(), re.MULTILINE)
    if not found:
        raise SystemExit("dialog_partition.control names no default_version")
    return found.group(1)


def python_sources() -> dict[str, str]:
    """The package's modules by dotted name; a package's own is NAME.__init__."""
    sources = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if TRIPLE_QUOTE in text or "$python$" in text or text.rstrip("\n").endswith("\\"):
            raise SystemExit(f"{path}: cannot be embedded in a raw string")
        sources[name] = text
    return sources


def package_name(sources: dict[str, str]) -> str:
    """A name that carries version and digest, so that an updated extension never meets old code in a session."""
    digest = hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()[:12]
    return f"dialog_partition_{version().replace('.', '_')}_{digest}"


def parameter_names(parameters: str) -> list[str]:
    """The names in a parameter list that has one parameter a line."""
    return [line.split()[0] for line in parameters.splitlines() if line.strip()]


def relation_names(parameters: str) -> str:
    """The names of the regclass parameters, as a Python tuple."""
    names = [
        line.split()[0]
        for line in parameters.splitlines()
        if line.strip() and line.split()[1].rstrip(",[]") == "regclass"  # or an array of them
    ]
    return repr(tuple(names))


def required_names(parameters: str) -> str:
    """The names of the parameters that must have a value, as a Python tuple; tables are judged by what reads them."""
    names = [
        line.split()[0]
        for line in parameters.splitlines()
        if line.strip() and line.split()[1].rstrip(",[]") != "regclass" and "DEFAULT NULL" not in line
    ]
    return repr(tuple(names))


def source_files() -> list[str]:
    """The templates in the order of installation."""
    return [path.relative_to(SQL).as_posix() for pattern in ORDER for path in sorted(SQL.glob(pattern))]


def render() -> str:
    """The install script."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SQL),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - it is SQL
    )
    sources = python_sources()
    environment.globals.update(
        create="CREATE",
        version=version(),
        package=package_name(sources),
        python_sources=sources,
        parameter_names=parameter_names,
        relation_names=relation_names,
        required_names=required_names,
    )
    macros = environment.get_template("macros.sql.j2").module
    environment.globals.update({name: getattr(macros, name) for name in ("body", "operations", "procedure")})
    text = environment.get_template("install.sql.j2").render(sources=source_files())
    return re.sub(r"\n{3,}", "\n\n\n", text).rstrip("\n") + "\n"


def stale_released() -> list[str]:
    """Released scripts that are not what they were."""
    found = []
    for line in RELEASED.read_text().splitlines() if RELEASED.exists() else []:
        digest, name = line.split()
        path = ROOT / "extension" / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            found.append(name)
    return found


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is stale")
    arguments = parser.parse_args()
    target = ROOT / "extension" / f"dialog_partition--{version()}.sql"
    text = render()
    if arguments.check:
        stale = [target.name] if not target.exists() or target.read_text(encoding="utf-8") != text else []
        changed = stale_released()
        for name in stale:
            print(f"{name} is stale: run make render", file=sys.stderr)
        for name in changed:
            print(f"{name} is released and must never change", file=sys.stderr)
        return 1 if stale or changed else 0
    target.write_text(text, encoding="utf-8")
    print(target.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
