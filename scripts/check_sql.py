"""Check the rendered scripts: sqlfluff for style, pgspot for what lets a stranger take over who installs or calls them.

Neither reads all of PostgreSQL's SQL, and what they cannot read hides what follows it. So each gets the script with
those statements put differently, line for line.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def for_sqlfluff(script: str) -> str:
    """The script without CREATE EVENT TRIGGER, which sqlfluff knows only in part, and without psql's commands."""
    hidden = re.sub(r"^CREATE EVENT TRIGGER .*?;$", _commented, script, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^\\", "-- ", hidden, flags=re.MULTILINE)


def for_pgspot(script: str) -> str:
    """The script with SQL-standard bodies (RETURN ...;), which pgspot cannot read, as quoted ones."""
    return re.sub(r"^RETURN (.*?);$", r"AS $body$SELECT \1$body$;", script, flags=re.MULTILINE | re.DOTALL)


def _commented(match: re.Match[str]) -> str:
    return re.sub("^", "-- ", match.group(), flags=re.MULTILINE)


def check(path: Path) -> bool:
    """Whether both find nothing in a script."""
    script = path.read_text(encoding="utf-8")
    sqlfluff = ["sqlfluff", "lint", "--disable-progress-bar", "--stdin-filename", str(path), "-"]
    # PL/Python is not pgspot's; mypy and the server's tests look after that.
    pgspot = ["pgspot", "--ignore-lang", "plpython3u"]
    clean = True
    for command, text in ((sqlfluff, for_sqlfluff(script)), (pgspot, for_pgspot(script))):
        done = subprocess.run([sys.executable, "-m", *command], input=text, cwd=ROOT, text=True, check=False)
        clean = clean and done.returncode == 0
    return clean


if __name__ == "__main__":
    results = [check(path) for path in sorted((ROOT / "extension").glob("dialog_partition--*.sql"))]
    sys.exit(0 if all(results) else 1)
