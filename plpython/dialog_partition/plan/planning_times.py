"""What planning was measured to cost, by major version and kind of query.

``make bench ARGS='planning --server 18'`` measures it: three tables with two indexes each, and
enable_partitionwise_join on.

A pair is the number of leaves of each table, or of slices where the hash key is bound, and what planning took: by the
server's own count of processor time, the least of several runs. The memory is what EXPLAIN (MEMORY) says.
"""

from __future__ import annotations

BY_ID = "by Id"
JOIN_WITHOUT_KEY = "no key, three tables joined"
HASH_KEY = "hash key"
JOIN_BY_HASH_KEY = "hash key, three tables joined"
BOTH_KEYS = "both keys"
LARGE_ARRAY = "hash key in a large array"

MEASURED_INDEXES = 2  # of each leaf
MEASURED_ARRAY = 1000  # values
OPENING_MS = 0.04  # for each relation, the first time in a session
CACHE_BYTES = 8192  # that a session keeps of each relation
ARRAY_BYTES = 340  # for each value and leaf

Points = tuple[tuple[int, float], ...]

MILLISECONDS: dict[int, dict[str, Points]] = {
    15: {
        BY_ID: ((24, 0.347), (192, 2.97)),
        JOIN_WITHOUT_KEY: ((24, 26.2), (192, 460.0)),
        HASH_KEY: ((6, 0.092), (12, 0.242)),
        JOIN_BY_HASH_KEY: ((6, 1.46), (12, 3.15)),
        BOTH_KEYS: ((1, 0.034),),
        LARGE_ARRAY: ((24, 10.7), (192, 88.0)),
    },
    17: {
        BY_ID: ((24, 0.477), (192, 3.44)),
        JOIN_WITHOUT_KEY: ((24, 17.6),),
        HASH_KEY: ((6, 0.13),),
        JOIN_BY_HASH_KEY: ((6, 1.35),),
        BOTH_KEYS: ((1, 0.079),),
        LARGE_ARRAY: ((24, 10.6),),
    },
    18: {
        BY_ID: ((24, 0.202), (192, 2.99), (384, 13.5), (768, 35.2)),
        JOIN_WITHOUT_KEY: ((24, 5.38), (192, 72.0), (384, 154.0), (768, 331.0)),
        HASH_KEY: ((6, 0.092), (12, 0.195), (24, 0.308), (48, 0.751)),
        JOIN_BY_HASH_KEY: ((6, 1.07), (12, 2.5), (24, 5.09), (48, 12.4)),
        BOTH_KEYS: ((1, 0.042),),
        LARGE_ARRAY: ((24, 5.88), (192, 27.5), (384, 65.0), (768, 135.0)),
    },
}
PLANNER_BYTES: dict[str, Points] = {
    BY_ID: ((24, 362496), (192, 2357248), (384, 4718592), (768, 9537536)),
    JOIN_WITHOUT_KEY: ((24, 6130688), (192, 47494144), (384, 103469056), (768, 238798848)),
    HASH_KEY: ((6, 176128), (12, 329728), (24, 637952), (48, 1255424)),
    JOIN_BY_HASH_KEY: ((6, 1334272), (12, 2565120), (24, 5052416), (48, 10208256)),
    BOTH_KEYS: ((1, 52224),),
    LARGE_ARRAY: ((24, 17754112), (192, 69582848), (384, 139164672), (768, 278397952)),
}
