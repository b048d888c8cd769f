"""The documentation says what is there: names, parameters, findings, errors, links; and its SQL runs.

Conventions of the pages: a block ```sql run``` (in README.md every ```sql``` block) is run, all of a page in order in
one psql session of the unprivileged owner; a ```text``` block behind one is what psql prints for it, at its end. Tables
that a page's examples need, but no reader, are made by blocks inside an HTML comment.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.database import Database

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "plpython" / "dialog_partition"
REFERENCE = ROOT / "doc" / "reference.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("doc/*.md")])
END = "-- end of block --"


class Block(NamedTuple):
    """A fenced block."""

    line: int
    info: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if opened is None and line.startswith("```"):
            opened, lines = (number, line[3:].strip()), []
        elif opened is not None and line.startswith("```"):
            found.append(Block(*opened, "\n".join(lines)))
            opened = None
        elif opened is not None:
            lines.append(line)
    assert opened is None, f"{page.name}: the block at line {opened} does not end"
    return found


def is_run(page: Path, block: Block) -> bool:
    return block.info == "sql run" or (page.name == "README.md" and block.info == "sql")


def entries() -> dict[str, str]:
    """The entries of the reference by the name in their heading: ``### dp.check``."""
    found: dict[str, str] = {}
    name = None
    for line in REFERENCE.read_text(encoding="utf-8").splitlines():
        if line.startswith(("## ", "### ")):
            name = line[4:].strip() if line.startswith("### dp.") else None
            assert name not in found, f"two headings {name}"
        if name is not None:
            found[name] = found.get(name, "") + line + "\n"
    return found


def table_rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of the reference, its head left out."""
    text = REFERENCE.read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def routines(db: Database) -> dict[str, dict[str, str]]:
    rows = db.rows(
        "SELECT 'dp.' || proname AS name, pg_get_function_arguments(oid) AS arguments, prokind::text AS kind,"
        " obj_description(oid, 'pg_proc') AS comment, coalesce(proargnames[:pronargs], '{}') AS names"
        " FROM pg_proc WHERE pronamespace = 'dp'::regnamespace AND proname !~ '^_'"
    )
    return {row["name"]: row for row in rows}


def views(db: Database) -> dict[str, list[str]]:
    rows = db.rows(
        "SELECT 'dp.' || c.relname AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " WHERE c.relnamespace = 'dp'::regnamespace AND c.relkind = 'v' AND c.relname !~ '^_' GROUP BY c.relname"
    )
    return {row["name"]: row["columns"] for row in rows}


def test_the_reference_has_an_entry_for_everything_and_nothing_else(db: Database) -> None:
    assert set(entries()) == set(routines(db)) | set(views(db))


def test_an_entry_explains_every_parameter_and_every_column(db: Database) -> None:
    written = entries()
    wanted = {name: routine["names"] for name, routine in routines(db).items()} | views(db)
    lacking = {
        f"{name}: {each}"
        for name, names in wanted.items()
        for each in names
        if not re.search(rf"^\| `{each}`", written[name], re.MULTILINE)
    }
    assert not lacking


def parameters(text: str) -> list[tuple[str, str, str | None]]:
    """Name, type and default of each parameter of a signature."""
    found = []
    for part in filter(None, (" ".join(part.split()) for part in text.split(","))):
        declared, _, default = part.partition(" DEFAULT ")
        name, _, type_name = declared.removeprefix("IN ").partition(" ")
        found.append((name, type_name, default or None))
    return found


def test_a_signature_is_the_server_s_own_with_its_types_and_defaults(db: Database) -> None:
    written = entries()
    for name, routine in routines(db).items():
        found = re.search(rf"^```sql\n(?:CALL )?{re.escape(name)}\((.*?)\)( → .*)?\n```$", written[name], re.M | re.S)
        assert found, f"{name} has no signature"
        told, actual = parameters(found[1]), parameters(routine["arguments"])
        assert [each[:2] for each in told] == [each[:2] for each in actual], name
        for (parameter, type_name, default), (_, _, truth) in zip(told, actual, strict=True):
            assert (default is None) == (truth is None), f"{name}: {parameter}"
            same = f"SELECT ({default or 'NULL'})::{type_name} IS NOT DISTINCT FROM ({truth or 'NULL'})::{type_name}"
            assert db.value(same), f"{name}: {parameter} has the default {truth}"


def test_the_sqlstates_of_a_comment_are_in_the_entry(db: Database) -> None:
    written = entries()
    for name, routine in routines(db).items():
        _, _, told = routine["comment"].partition("Errors:")
        states = set(re.findall(r"\b(?=[A-Z]*[0-9])[0-9A-Z]{5}\b", told))
        assert states <= set(re.findall(r"`([0-9A-Z]{5})`", written[name])), name


def test_every_error_class_is_documented() -> None:
    spec = importlib.util.spec_from_file_location("documented_errors", PACKAGE / "errors.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    classes = {each.sqlstate for each in vars(module).values() if isinstance(each, type)}
    assert {row[0].strip("`") for row in table_rows("Errors")} == classes


def findings() -> set[tuple[str, str]]:
    """The names and severities of the modules plan/finding*.py, read from their calls of Finding."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.glob("plan/finding*.py"))]
    found = set()
    for function in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        assigned = {
            target.id: node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id == "Finding":
                severity, name = call.args[0], call.args[1]
                assert isinstance(severity, ast.Name)
                value = assigned[name.id] if isinstance(name, ast.Name) else name
                found |= {(text, severity.id.lower()) for text in strings(value)}
    return found


def strings(node: ast.expr) -> set[str]:
    """The strings that an expression may be: a constant, or one of two."""
    if isinstance(node, ast.IfExp):
        return strings(node.body) | strings(node.orelse)
    assert isinstance(node, ast.Constant) and isinstance(node.value, str)
    return {node.value}


def test_every_finding_is_documented_with_its_severity() -> None:
    assert {(row[0].strip("`"), row[1]) for row in table_rows("Findings")} == findings()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made by the usual renderers."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(is_run(page, block) for block in blocks(page))], ids=lambda page: page.name
)
def test_the_sql_of_a_page_runs_and_prints_what_the_page_shows(page: Path, db: Database) -> None:
    found = blocks(page)
    run = [block for block in found if is_run(page, block)]
    script = "".join(f"{block.text}\n\\echo {END}\n" for block in run)
    printed = dict(zip(run, db.server.psql(db.name, script, user="owner").split(f"{END}\n")))
    for block, following in zip(found, found[1:]):
        if following.info == "text" and block in printed:
            shown = lines(following.text)
            assert lines(printed[block])[-len(shown) :] == shown, f"{page.name}, line {following.line}"


def lines(text: str) -> list[str]:
    """Without the spaces at the ends of lines that editors take away."""
    return [line.rstrip() for line in text.strip("\n").splitlines()]
