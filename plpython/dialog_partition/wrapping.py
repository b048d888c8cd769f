"""Statements wrapped into others: with the rights of the tables' owner, or with names as the caller means them."""

from __future__ import annotations

import os

from . import database
from .sql import SQL, Identifier, Literal, compose

PINNED_PATH = "pg_catalog, pg_temp"


def as_owner(statements: str, owner: str, is_committed: bool) -> SQL:
    """Statements with the rights of the owner of the tables, and no way back to the caller's.

    They may run functions of the owner: in a CHECK, a generated column, the expression of an index. After SET ROLE
    alone such a function could RESET ROLE and go on as whoever called. Inside a SECURITY DEFINER function PostgreSQL
    refuses to change the role; and as the function belongs to the owner, it can do no more than the owner can. Its
    name cannot be foreseen, so that nobody has made another of that name. Nor may a trigger wait for the commit, which
    comes when the role is the caller's again.
    """
    deferred = "SET CONSTRAINTS ALL IMMEDIATE; " if is_committed else ""
    return compose(
        "SELECT pg_catalog.set_config('role', {owner}, true);"
        " CREATE FUNCTION {function}() RETURNS void LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp SET row_security = on AS {body};"
        " SELECT {function}();"
        " SELECT pg_catalog.set_config('search_path', {path}, true);"
        " DROP FUNCTION {function}();"
        " SELECT pg_catalog.set_config('role', {role}, true)",
        owner=Literal(owner),
        path=Literal(PINNED_PATH),
        function=Identifier("pg_temp", f"dp_as_owner_{os.urandom(8).hex()}"),
        body=Literal(compose("BEGIN EXECUTE {}; {}END", Literal(statements), SQL(deferred)).text),
        role=Literal(database.setting("role") or "none"),
    )


def with_search_path(statements: str, path: str) -> str:
    """Statements in which names mean what they mean to the caller; what runs after them is pinned again."""
    return compose(
        "SELECT pg_catalog.set_config('search_path', {}, true); {};"
        " SELECT pg_catalog.set_config('search_path', {}, true)",
        Literal(path),
        SQL(statements),
        Literal(PINNED_PATH),
    ).text
