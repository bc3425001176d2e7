"""The decision log: entries, tree, head, index, salts, charges, idempotency."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_INDEX = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "log_entry",
        sa.Column("idx", _INDEX, primary_key=True, autoincrement=False),
        sa.Column("leaf_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "log_node",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("idx", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "log_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("frontier", sa.LargeBinary, nullable=False),
        sa.Column("checkpoint", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "decision",
        sa.Column("idx", _INDEX, sa.ForeignKey("log_entry.idx"), primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("consumer", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("provider", sa.Text),
        sa.Column("service", sa.Text),
        sa.Column("purpose", sa.Text),
        sa.Column("agreement", sa.Text),
        sa.Column("decision", sa.Text),
        sa.Column("limit_reached", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("result", sa.Text),
        sa.Column("subject_tag", sa.LargeBinary),
        sa.Column("case_number", sa.Text),
        sa.Column("operator", sa.Text),
    )
    op.create_table(
        "salt",
        sa.Column("idx", _INDEX, sa.ForeignKey("log_entry.idx"), primary_key=True, autoincrement=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "charge",
        sa.Column("idx", sa.BigInteger, sa.ForeignKey("log_entry.idx"), primary_key=True, autoincrement=False),
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("amount", sa.Integer, nullable=False),
        sa.Column("question", sa.Text),
    )
    op.create_table(
        "idempotency",
        sa.Column("client", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request_digest", sa.LargeBinary, nullable=False),
        sa.Column("decision_id", sa.Text, nullable=False),
        sa.Column("claimed_at", sa.BigInteger, nullable=False),
        sa.Column("sealed_reply", sa.LargeBinary),
    )
    op.create_index("idempotency_claimed_at", "idempotency", ["claimed_at"])
