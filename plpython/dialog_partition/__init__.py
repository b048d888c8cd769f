"""dialog_partition: the Python that runs inside the server.

Data flows one way: SQL function -> entry -> api -> catalog (read) -> plan (pure) -> execute (run or print) -> rows.
Only ``database`` knows the server. The package uses relative imports alone, because the loader installs it under a
name that carries the version and the digest of its source.
"""
