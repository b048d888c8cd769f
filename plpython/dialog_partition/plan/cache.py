"""What a cache of a given size is filled with: values in, a choice out."""

from __future__ import annotations

from typing import NamedTuple

GLOBAL_INDEX, INDEX, HEAP, REFERENCE = "global index", "index", "heap", "reference"
WARMED, LEFT_OUT, LOCKED, GONE = "warmed", "left out", "locked", "gone"
SHARE_OF_BUFFERS = 0.5  # of shared_buffers, where the caller names no budget
SHARE_OF_INDEXES = 0.5  # of the budget: the rest is for rows, or old indexes would keep them all out


class Candidate(NamedTuple):
    """A relation with pages that may be read into the cache."""

    oid: int
    tbl: str
    relation: str
    kind: str
    size: int  # bytes of its main fork
    age: int  # how many slices are newer than its own


def chosen(candidates: list[Candidate], budget: int) -> list[tuple[Candidate, bool]]:
    """Every candidate in the order in which it is read, and whether it is: as a whole or not at all.

    Global indexes come first, then indexes, then rows, the latter two from the newest slice on, then references. What
    does not fit leaves its place to smaller ones behind it.
    """
    kinds = (GLOBAL_INDEX, INDEX, HEAP, REFERENCE)
    ordered = sorted(candidates, key=lambda each: (kinds.index(each.kind), each.age, each.relation))
    of_indexes = int(budget * SHARE_OF_INDEXES)
    left = {GLOBAL_INDEX: of_indexes, INDEX: of_indexes, HEAP: budget, REFERENCE: budget}
    found = []
    for each in ordered:
        fits = each.size <= left[each.kind]
        if fits:
            left = {kind: rest - each.size for kind, rest in left.items()}
        found.append((each, fits))
    return found
