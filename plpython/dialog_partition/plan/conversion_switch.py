"""The statements that put new tables in the place of plain ones, in one transaction."""

from __future__ import annotations

from .. import naming
from ..sql import SQL, Composable, Identifier, Literal, compose
from .conversion import Conversion, Member, kept_schema
from .remake import comment_statements, publication_statements, rule_statements, sequence_type_statement
from .row_policy import policy_statement
from .structure import ENABLED_WORDS, Sequence


def lock_statement(conversion: Conversion) -> SQL:
    """Nobody reads or writes the plain tables while they are exchanged."""
    only = "ONLY " if conversion.is_back else ""  # partitions are reached by their tables alone
    listed = ", ".join(f"{only}{member.identifier}" for member in conversion.members)
    return compose("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", SQL(listed))


def switch_statements(conversion: Conversion) -> list[SQL]:
    """Everything that happens between the plain tables being the tables and the new ones being them."""
    found = [SQL(statement) for each in conversion.dependents for statement in each.release]
    found += [SQL(each.drop) for each in reversed(conversion.dependents) if each.drop is not None]
    found += [
        compose("ALTER TABLE {} DROP CONSTRAINT {}", SQL(key.child_text), Identifier(key.name))
        for key in conversion.outside
    ]
    schemas = dict.fromkeys(member.structure.schema for member in conversion.members)
    found += [compose("CREATE SCHEMA {}", Identifier(kept_schema(schema))) for schema in schemas]
    for member in conversion.members:
        found += _put_away(member)
    for member in conversion.members:
        found += _put_in_place(conversion, member)
    for member in conversion.members:
        found += _given_back(conversion, member)
    found += [SQL(statement) for each in conversion.dependents for statement in each.create]
    return found


def _put_away(member: Member) -> list[SQL]:
    structure = member.structure
    kept = Identifier(kept_schema(structure.schema))
    found = [
        compose("ALTER PUBLICATION {} DROP TABLE {}", Identifier(each.name), member.identifier)
        for each in structure.publications
    ]
    found += [
        compose("ALTER SEQUENCE {} OWNED BY NONE", Identifier(sequence.schema, sequence.name))
        for sequence in structure.sequences
        if not sequence.is_identity
    ]
    found += [
        compose("ALTER STATISTICS {} SET SCHEMA {}", Identifier(each.schema, each.name), kept)
        for each in structure.statistics
    ]
    found.append(compose("ALTER TABLE {} SET SCHEMA {}", member.identifier, kept))
    return found


def _put_in_place(conversion: Conversion, member: Member) -> list[SQL]:
    structure, working, settings = member.structure, member.working, conversion.settings
    schema = Identifier(structure.schema)
    found = [compose("ALTER TABLE {} SET SCHEMA {}", working.identifier, schema)]
    if not conversion.is_back:
        template = Identifier(working.schema, naming.template_name(structure.name))
        found.append(compose("ALTER TABLE {} SET SCHEMA {}", template, schema))
    if member.is_root and settings.slice_key is not None and not conversion.is_back:
        function = Identifier(working.schema, naming.derived_name(structure.name, "set_slice_key"))
        found.append(compose("ALTER FUNCTION {}() SET SCHEMA {}", function, schema))
    for each in structure.statistics:
        found.append(
            compose("ALTER STATISTICS {} SET SCHEMA {}", Identifier(working.schema, each.name), Identifier(each.schema))
        )
    for sequence in structure.sequences:
        found += _sequence(member, sequence)
    return found


def _sequence(member: Member, sequence: Sequence) -> list[SQL]:
    column = compose("{}.{}", member.identifier, Identifier(sequence.column))
    if not sequence.is_identity:
        owned = compose("ALTER SEQUENCE {} OWNED BY {}", Identifier(sequence.schema, sequence.name), column)
        return [owned]
    holder = compose("pg_get_serial_sequence({}, {})", Literal(member.identifier.text), Literal(sequence.column))
    kept = Identifier(kept_schema(sequence.schema), sequence.name)
    name = Identifier(sequence.schema, sequence.name)
    found = [
        compose("SELECT dp._rename_sequence({}, {})", holder, Literal(sequence.name)),
        compose("SELECT setval({}, k.last_value, k.is_called) FROM {} AS k", holder, kept),
        *sequence_type_statement(sequence, name),
    ]
    for grant in sequence.grants:
        grantee: Composable = SQL("PUBLIC") if grant.grantee is None else Identifier(grant.grantee)
        option = SQL(" WITH GRANT OPTION" if grant.is_grantable else "")
        found.append(compose("GRANT {} ON SEQUENCE {} TO {}{}", SQL(grant.privilege), name, grantee, option))
    if sequence.comment is not None:
        found.append(compose("COMMENT ON SEQUENCE {} IS {}", name, Literal(sequence.comment)))
    return found


def _given_back(conversion: Conversion, member: Member) -> list[SQL]:
    """What may refer to other tables by name, and would have meant the plain ones before."""
    found = rule_statements(member.structure)
    if member.properties.row_security:
        found.append(compose("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", member.identifier))
    found += [policy_statement(policy, member.identifier) for policy in member.properties.policies]
    found += publication_statements(member.structure, conversion.keys)
    later = {key.name for key in member.apart}  # foreign keys that are made when the global indexes are there
    there = [each for each in member.structure.comments if each.kind != "CONSTRAINT" or each.name not in later]
    return found + comment_statements(member.structure._replace(comments=tuple(there)))


def trigger_statements(member: Member) -> list[SQL]:
    """The triggers of a table for the new one, while that is in its schema of its own."""
    found = []
    for trigger in member.structure.triggers:
        found.append(SQL(retargeted(trigger.definition, member.facts.text, member.working.identifier.text)))
        if trigger.enabled != "O":
            found.append(
                compose(
                    "ALTER TABLE {} {} TRIGGER {}",
                    member.working.identifier,
                    SQL(ENABLED_WORDS[trigger.enabled]),
                    Identifier(trigger.name),
                )
            )
    return found


def retargeted(definition: str, old: str, new: str) -> str:
    """A statement ``CREATE ... ON old ...`` about another table; names in quotes may say the same."""
    wanted = f" ON {old} "
    is_quoted = False
    for position, character in enumerate(definition):
        if not is_quoted and definition.startswith(wanted, position):
            return f"{definition[:position]} ON {new} {definition[position + len(wanted) :]}"
        if character == '"':
            is_quoted = not is_quoted
    raise ValueError(f"{definition!r} is not about {old}")
