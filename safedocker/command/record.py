"""NamedTuple for the hot path: what typing gives, without importing typing.

typing alone costs more than a bare start of Python (11 against 8 ms where it was measured), and
every command that sh does not let through pays it. The type checker sees the real one.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:

    class _Fields(type):
        """Makes a namedtuple of a class body: annotated names are fields, the rest its methods."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = list(body.pop("__annotations__", ()))
            defaults = [body.pop(field) for field in fields if field in body]
            record = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            for key, value in body.items():
                if key not in {"__module__", "__dict__", "__weakref__"}:
                    setattr(record, key, value)
            return record

    class NamedTuple(metaclass=_Fields):
        """Derive from it as from typing's; the module must import annotations from __future__."""
