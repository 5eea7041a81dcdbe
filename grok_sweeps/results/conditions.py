"""A condition on the rows of a view, as SQL in which every value is bound and every column is one of the view."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import duckdb

from grok_sweeps.errors import QueryError, did_you_mean


def condition(
    view: str,
    columns: Collection[str],
    where: str | None,
    given: Sequence[Any] | Mapping[str, Any],
    equal: Mapping[str, Any],
) -> tuple[str, list[Any] | dict[str, Any]]:
    """SQL and parameters of `where` (one SQL expression) and of `column = value`, where a list is any of its values.

    Raises:
        QueryError: an unknown column, or `where` is not one expression.
    """
    parts: list[str] = []
    named: dict[str, Any] | None = dict(given) if isinstance(given, Mapping) else None
    listed: list[Any] = [] if isinstance(given, Mapping) else list(given)

    def bind(value: Any) -> str:
        if named is None:
            listed.append(value)
            return "?"
        name = f"equal_{len(named)}"
        named[name] = value
        return f"${name}"

    if where is not None:
        parts.append(f"(\n{_one_expression(where)}\n)")
    for name, value in equal.items():
        check_columns(view, columns, [name])
        if value is None:
            parts.append(f"{name} IS NULL")
        elif isinstance(value, list | tuple | set | frozenset | range):
            parts.append(f"{name} IN (SELECT unnest({bind(list(value))}))" if value else "false")
        else:
            parts.append(f"{name} = {bind(value)}")
    return f"WHERE {' AND '.join(parts)}" if parts else "", listed if named is None else named


def check_columns(view: str, columns: Collection[str], names: Sequence[str]) -> None:
    """Refuse a name that is no column of the view.

    Raises:
        QueryError: names the nearest column.
    """
    for name in names:
        if name not in columns:
            raise QueryError(
                f"{view}: no column '{name}'.{did_you_mean(name, columns)} `DESCRIBE {view}` as a query lists all."
            )


def _one_expression(where: str) -> str:
    """The text, if it is one SQL expression; nothing after it then reaches beyond the parentheses it is put in."""
    try:
        duckdb.SQLExpression(where)
    except duckdb.Error as error:
        raise QueryError(f"where: not a condition: {' '.join(str(error).split())}") from None
    return where
