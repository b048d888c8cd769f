"""What a conversion began with: the definitions of the tables, and of what depends on them."""

from __future__ import annotations

import zlib

from ..catalog import conversion as catalog
from ..catalog import dependents as catalog_dependents
from ..catalog import structure as catalog_structure
from ..catalog import writable_view as catalog_views
from ..plan.conversion import Member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def fingerprint(tables: Sequence[int], root: int | None) -> str:
    """A number that changes with the definitions of tables; ``root`` is that of a hierarchy that they are.

    The steps of a conversion are made once: what is changed of the tables later they would leave behind.
    """
    members = [_lasting(catalog.member(catalog_structure.read(oid), None)) for oid in tables]
    views = [view.oid for view in catalog_views.of_root(root)] if root is not None else []
    text = _told((members, catalog_dependents.read(list(tables), views)))
    return f"{zlib.crc32(text.encode()):08x} {len(text)}"


def _lasting(member: Member) -> Member:
    """Without what changes with the rows."""
    structure = member.structure
    sequences = tuple(each._replace(position=0, is_called=False) for each in structure.sequences)
    return member._replace(structure=structure._replace(sequences=sequences, has_rows=False))


def _told(value: object) -> str:
    """A value as text, the same in every session."""
    if isinstance(value, frozenset):
        return _told(sorted(value))
    if isinstance(value, dict):
        return _told(sorted(value.items()))
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(_told(each) for each in value) + ")"
    return repr(value)
