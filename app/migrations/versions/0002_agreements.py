"""Agreements and their steps, the archive of documents, the registry's revision and epoch, facts for replay."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_INDEX = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("log_head", sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("decision", sa.Column("facts", sa.LargeBinary))
    op.create_index("decision_kind", "decision", ["kind", "idx"])
    # Entries that hold `"kind":"revision"`.
    op.create_index(
        "log_entry_revision",
        "log_entry",
        ["idx"],
        sqlite_where=sa.text("instr(body, X'226b696e64223a227265766973696f6e22') > 0"),
        postgresql_where=sa.text("position('\\x226b696e64223a227265766973696f6e22'::bytea in body) > 0"),
    )
    for column in (
        sa.Column("attribute", sa.Text),
        sa.Column("ceiling", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("fingerprint", sa.Text),
        sa.Column("renewed", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("charge", column)
    _create_registry()
    _create_life_cycle()


def _create_registry() -> None:
    op.create_table(
        "archive",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "registry",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("directory", sa.Text, nullable=False),
        sa.Column("idx", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "step",
        sa.Column("idx", _INDEX, sa.ForeignKey("log_entry.idx"), primary_key=True, autoincrement=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("department", sa.Text),
        sa.Column("client", sa.Text),
        sa.Column("digest", sa.Text),
    )
    op.create_index("step_about", "step", ["about"])
    op.create_table(
        "notice",
        sa.Column("idx", _INDEX, sa.ForeignKey("log_entry.idx"), primary_key=True, autoincrement=False),
        sa.Column("provider", sa.Text, nullable=False),
    )
    op.create_index("notice_provider", "notice", ["provider", "idx"])


def _create_life_cycle() -> None:
    op.create_table(
        "agreement",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("signatures", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("consumer", sa.Text),
        sa.Column("valid_until", sa.BigInteger, nullable=False),
        sa.Column("due", sa.Text),
        sa.Column("application", sa.Text),
    )
    op.create_index("agreement_epoch", "agreement", ["epoch"])
    op.create_index("agreement_state", "agreement", ["state", "valid_until"])
    op.create_table(
        "agreement_active",
        sa.Column("party", sa.Text, primary_key=True),
        sa.Column("service", sa.Text, primary_key=True),
        sa.Column("purpose", sa.Text, primary_key=True),
        sa.Column("agreement", sa.Text, nullable=False),
    )
    op.create_index("agreement_active_agreement", "agreement_active", ["agreement"])
    op.create_table(
        "application",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("consumer", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("submitted_at", sa.BigInteger, nullable=False),
        sa.Column("due", sa.Text),
        sa.Column("decided_at", sa.BigInteger),
        sa.Column("agreement", sa.Text),
    )
    op.create_table(
        "dispute",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("application", sa.Text, sa.ForeignKey("application.id"), nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("consumer", sa.Text, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("due", sa.Text),
    )
