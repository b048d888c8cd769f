"""Whether a server answers that a connection leads to.

Extension dblink waits for ever where nobody does: from PostgreSQL 16 on it heeds no connect_timeout, and before it that
of keywords alone.
"""

from __future__ import annotations

SECONDS = 5.0
PORT = "5432"
# The question whether the server can do TLS: every one answers it with a letter, before anybody has logged in.
QUESTION = bytes.fromhex("0000000804d2162f")


def silence(options: dict[str, str]) -> str | None:
    """Why it is of no use to connect; None where the server answers, or where that cannot be asked.

    A local socket's server is this one, or gives an error at once; several hosts are tried one after the other.
    """
    host, port = options.get("hostaddr") or options.get("host") or "", options.get("port") or PORT
    if not host or host[0] in "/@" or "," in host or not port.isdigit():
        return None
    import socket  # noqa: PLC0415 - it takes milliseconds, and few need it

    try:
        with socket.create_connection((host, int(port)), SECONDS) as client:
            client.sendall(QUESTION)
            return None if client.recv(1) else f"{host}:{port} is no PostgreSQL server"
    except OSError as error:
        return f"{host}:{port} does not answer: {error}"


def keywords(text: str) -> dict[str, str]:
    """Keywords and values as libpq reads them; of one that comes twice the last counts."""
    found: dict[str, str] = {}
    position = 0
    while "=" in text[position:]:
        equals = text.index("=", position)
        name, position = text[position:equals].strip(), equals + 1
        while text[position : position + 1].isspace():
            position += 1
        is_quoted = text[position : position + 1] == "'"
        position += is_quoted
        value = ""
        while position < len(text):
            letter = text[position]
            position += 1
            if letter == "'" if is_quoted else letter.isspace():
                break
            if letter == "\\" and position < len(text):
                letter = text[position]
                position += 1
            value += letter
        found[name] = value
    return found
