"""The node database: what one transaction writes for one decision, and the head of the one tree.

`log_entry` and `log_node` are evidence and are never changed. `decision` (the index for search), `salt` and
`idempotency` are kept apart from it, so that they can be erased while every proof stays valid.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

log_entry = Table(
    "log_entry",
    metadata,
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("leaf_hash", LargeBinary(32), nullable=False),
    Column("body", LargeBinary, nullable=False),
)

# Hashes of complete subtrees of 256^level leaves: with the leaf hashes, all that tiles and proofs read.
log_node = Table(
    "log_node",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
)

# One row. `generation` rises when the limiter is rebuilt: a reservation of an older one is not recorded.
log_head = Table(
    "log_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("checkpoint", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
)

decision = Table(
    "decision",
    metadata,
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), ForeignKey("log_entry.idx"), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),  # milliseconds since 1970, UTC
    Column("kind", Text, nullable=False),
    Column("consumer", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("provider", Text),
    Column("service", Text),
    Column("purpose", Text),
    Column("agreement", Text),
    Column("decision", Text),
    Column("limit_reached", Text),
    Column("state", Text, nullable=False),
    Column("result", Text),  # the disclosed one
    Column("subject_tag", LargeBinary),  # HMAC under the node's index key
    Column("case_number", Text),
    Column("operator", Text),
)

salt = Table(
    "salt",
    metadata,
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), ForeignKey("log_entry.idx"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

# The truth of quota (amount 1, no question) and disclosure budget (thousandths of a bit, keyed question).
charge = Table(
    "charge",
    metadata,
    Column("idx", BigInteger, ForeignKey("log_entry.idx"), primary_key=True, autoincrement=False),
    Column("account", Text, primary_key=True),
    Column("amount", Integer, nullable=False),
    Column("question", Text),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("client", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_digest", LargeBinary, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("claimed_at", BigInteger, nullable=False),  # milliseconds since 1970, UTC
    Column("sealed_reply", LargeBinary),  # None while the first request runs
)
Index("idempotency_claimed_at", idempotency.c.claimed_at)
