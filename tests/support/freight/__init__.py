"""A second hierarchy, of another shape than Dialogporten's: see schema.sql."""

from __future__ import annotations

from pathlib import Path

SCHEMA = '"Fracht & ""Gut"""'
ROOT = f'{SCHEMA}."Sendung (neu)"'
RANGE_KEY = "erfaßt am"
HASH_KEY = "Mandant"
TABLES = (
    ROOT,
    f'{SCHEMA}."Packstück"',
    f'{SCHEMA}."Ereignis"',
    f'{SCHEMA}."Foto"',
    f'{SCHEMA}."Prüfprotokoll der Zollabfertigung mit Bemerkungen und Anlagen!"',
    '"%s; --"."Position"',
)
REFERENCES = (f'{SCHEMA}."Kunde"', f'{SCHEMA}."Art"')
VIEWS = tuple(f'{SCHEMA}."{name}"' for name in ("offene Sendungen", "offene je Mandant", "Summen", "Mengen"))

_folder = Path(__file__).parent


def schema() -> str:
    """The tables, and everything that hangs on them."""
    return (_folder / "schema.sql").read_text(encoding="utf-8")


def rows(consignments: int) -> str:
    """Their rows."""
    return (_folder / "rows.sql").read_text(encoding="utf-8").replace("{n}", str(consignments))
