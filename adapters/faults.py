"""What a driver's exception says about the source. Its text may hold values: only its type is kept."""

from __future__ import annotations

from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from adapters.base import SourceError, SourceMisbehaved, SourceUnavailable

# SQLITE_ERROR (no such table or column), SQLITE_CORRUPT, SQLITE_NOTADB; a text that is no UTF-8 has no code.
_SQLITE_MISBEHAVES = {1, 11, 26}


def fault_of(error: Exception) -> SourceError:
    """Return the error to raise in place of a driver's: outside its `except`, to hold no reference."""
    # SQLAlchemy wraps what opening a connection raises; what a cursor raises comes from the driver itself.
    error = getattr(error, "orig", None) or error
    kind = type(error).__name__
    if isinstance(error, PoolTimeoutError) or _is_outage(error):
        return SourceUnavailable(f"the source could not be reached, or not in time ({kind})")
    return SourceMisbehaved(f"the source is not as its binding says ({kind})")


def _is_outage(error: Exception) -> bool:
    # PEP 249 fixes the names of a driver's exceptions, not a common base.
    names = {base.__name__ for base in type(error).__mro__}
    if not names & {"OperationalError", "InterfaceError"}:
        return False
    if type(error).__module__ != "sqlite3":
        return True
    return getattr(error, "sqlite_errorcode", 1) & 0xFF not in _SQLITE_MISBEHAVES
