"""Names of templates, slices, leaves and their indexes: predictable, without collisions, within 63 bytes."""

from __future__ import annotations

import zlib

MAX_BYTES = 63  # NAMEDATALEN - 1
SUFFIX_BYTES = 24  # room for the longest suffix, "_20250615_20250715_h0015"
CHECKSUM_BYTES = 9  # "_" and eight hexadecimal digits


def cut(name: str, size: int) -> str:
    """The longest prefix of a name that fits into ``size`` bytes of UTF-8 without splitting a character."""
    return name.encode()[:size].decode(errors="ignore")


def shorten(name: str, size: int) -> str:
    """The name itself where it fits; else a prefix and a checksum of the whole, so that two long names differ."""
    if len(name.encode()) <= size:
        return name
    checksum = f"_{zlib.crc32(name.encode()):08x}"
    return cut(name, size - CHECKSUM_BYTES) + checksum


def base(table: str) -> str:
    """What the names of a table's slices, leaves and template begin with."""
    return shorten(table, MAX_BYTES - SUFFIX_BYTES)


def slice_name(table: str, suffix: str) -> str:
    """``Dialog_2025_06``."""
    return shorten(f"{base(table)}_{suffix}", MAX_BYTES)


def slice_suffix(table: str, slice_relation: str) -> str | None:
    """What the name of a table's slice ends with, for its siblings; None where it does not follow from the table's."""
    prefix = base(table) + "_"
    rest = slice_relation[len(prefix) :]
    fits = slice_relation.startswith(prefix) and 0 < len(rest.encode()) < SUFFIX_BYTES
    return rest if fits else None


def leaf_names(slice_relation: str, modulus: int) -> list[str]:
    """The names of all leaves of a slice."""
    return [leaf_name(slice_relation, modulus, remainder) for remainder in range(modulus)]


def leaf_name(slice_relation: str, modulus: int, remainder: int) -> str:
    """``Dialog_2025_06_h03``; as many digits as the modulus needs, two at least."""
    digits = max(2, len(str(modulus - 1)))
    suffix = f"_h{remainder:0{digits}d}"
    return shorten(slice_relation, MAX_BYTES - len(suffix)) + suffix


def template_name(table: str) -> str:
    """``Dialog_template``."""
    return f"{base(table)}_template"


def derived_name(table: str, purpose: str) -> str:
    """A name for something that belongs to a table: ``Dialog_slice_key_check``."""
    suffix = f"_{purpose}"
    return shorten(table, MAX_BYTES - len(suffix.encode())) + suffix


def unique_derived_name(first: str, second: str) -> str:
    """A name made of two others, shortened as one."""
    return shorten(f"{first}_{second}", MAX_BYTES)
