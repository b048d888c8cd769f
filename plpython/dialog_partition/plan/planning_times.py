"""What planning was measured to cost, by major version and kind of query.

``make bench ARGS='planning --server 18'`` measures it: three tables with two indexes each, and
enable_partitionwise_join on.

A pair is the number of leaves of each table, or of slices where the hash key is bound to one value, and what planning
took: by the server's own count of processor time, the least of several runs. The memory is what EXPLAIN (MEMORY) says.
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
ARRAY_SLICES = 10  # a slice costs a large array as much as so many leaves: each value is hashed for it
ARRAY_BYTES = 236  # for each value and leaf, slices counted so

Points = tuple[tuple[int, float], ...]

MILLISECONDS: dict[int, dict[str, Points]] = {
    15: {
        BY_ID: ((24, 0.186), (192, 2.92), (384, 10.2), (768, 25.6), (1600, 67.3)),
        JOIN_WITHOUT_KEY: ((24, 8.95), (192, 166.0), (384, 839.0)),
        HASH_KEY: ((6, 0.083), (12, 0.144), (24, 0.278), (48, 0.898), (100, 2.59)),
        JOIN_BY_HASH_KEY: ((6, 1.38), (12, 2.97), (24, 7.42), (48, 21.5), (100, 70.2)),
        BOTH_KEYS: ((1, 0.034),),
        LARGE_ARRAY: ((84, 6.44), (312, 29.4), (624, 64.0), (1248, 137.0), (2600, 345.0)),
    },
    17: {
        BY_ID: ((24, 0.252), (192, 3.27), (384, 16.9), (768, 38.5), (1600, 86.2)),
        JOIN_WITHOUT_KEY: ((24, 6.84), (192, 122.0), (384, 394.0), (768, 2250.0)),
        HASH_KEY: ((6, 0.157), (12, 0.218), (24, 0.481), (48, 1.27), (100, 2.33)),
        JOIN_BY_HASH_KEY: ((6, 1.29), (12, 2.54), (24, 6.2), (48, 14.2), (100, 51.3)),
        BOTH_KEYS: ((1, 0.042),),
        LARGE_ARRAY: ((84, 6.42), (312, 29.4), (624, 68.7), (1248, 146.0), (2600, 304.0)),
    },
    18: {
        BY_ID: ((24, 0.202), (192, 2.99), (384, 13.5), (768, 35.2), (1600, 80.4)),
        JOIN_WITHOUT_KEY: ((24, 5.38), (192, 72.0), (384, 154.0), (768, 331.0), (1600, 773.0)),
        HASH_KEY: ((6, 0.092), (12, 0.195), (24, 0.308), (48, 0.751), (100, 2.93)),
        JOIN_BY_HASH_KEY: ((6, 1.07), (12, 2.5), (24, 5.09), (48, 12.4), (100, 31.4)),
        BOTH_KEYS: ((1, 0.042),),
        LARGE_ARRAY: ((84, 5.88), (312, 27.5), (624, 65.0), (1248, 135.0), (2600, 297.0)),
    },
}
PLANNER_BYTES: dict[str, Points] = {
    BY_ID: ((24, 362496), (192, 2357248), (384, 4718592), (768, 9537536), (1600, 20361216)),
    JOIN_WITHOUT_KEY: ((24, 6130688), (192, 47494144), (384, 103469056), (768, 238798848), (1600, 641134592)),
    HASH_KEY: ((6, 176128), (12, 329728), (24, 637952), (48, 1255424), (100, 2597888)),
    JOIN_BY_HASH_KEY: ((6, 1334272), (12, 2565120), (24, 5052416), (48, 10208256), (100, 21936128)),
    BOTH_KEYS: ((1, 52224),),
    LARGE_ARRAY: ((84, 17754112), (312, 69582848), (624, 139164672), (1248, 278397952), (2600, 580355072)),
}
