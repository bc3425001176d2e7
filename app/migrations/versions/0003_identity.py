"""Registered clients, locked-out certificates and tokens, nonces, and what clients signed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_INDEX = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "client",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("department", sa.Text, nullable=False),
        sa.Column("digest", sa.Text),
        sa.Column("suspended", sa.Boolean, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "client_change",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("department", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("proposed_by", sa.Text, nullable=False),
        sa.Column("proposed_at", sa.BigInteger, nullable=False),
        sa.Column("decided_by", sa.Text),
    )
    op.create_index("client_change_state", "client_change", ["state", "id"])
    op.create_table(
        "suspended_certificate",
        sa.Column("thumbprint", sa.Text, primary_key=True),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "revoked_token",
        sa.Column("jti", sa.Text, primary_key=True),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("revoked_token_expires_at", "revoked_token", ["expires_at"])
    op.create_table(
        "nonce",
        sa.Column("client", sa.Text, primary_key=True),
        sa.Column("nonce", sa.LargeBinary, primary_key=True),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("nonce_expires_at", "nonce", ["expires_at"])
    op.create_table(
        "signed_request",
        sa.Column("idx", _INDEX, sa.ForeignKey("log_entry.idx"), primary_key=True, autoincrement=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
