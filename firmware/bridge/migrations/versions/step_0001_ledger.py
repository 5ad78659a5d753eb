"""The ledger of the first release: rows, what was derived from them, tickets, and what vendors are told."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

COUNTING = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "gate",
        sa.Column("id", COUNTING, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "report",
        sa.Column("id", COUNTING, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "key"),
    )
    op.create_table(
        "report_count",
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gate", "kind"),
    )
    op.create_table(
        "state",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "ticket",
        sa.Column("ticket_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("sector", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column("valid_from_ms", sa.BigInteger(), nullable=True),
        sa.Column("valid_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("inside", sa.Boolean(), nullable=True),
        sa.Column("moved_utc_ms", sa.BigInteger(), nullable=True),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("ticket_id"),
    )
    op.create_index("ix_ticket_account", "ticket", ["account"])
    op.create_index("ix_ticket_code", "ticket", ["code"])
    op.create_index("ix_ticket_number", "ticket", ["number"])
    op.create_table(
        "epoch",
        sa.Column("id", COUNTING, nullable=False),
        sa.Column("gate", COUNTING, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("random", sa.Text(), nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("offset_ms", sa.BigInteger(), nullable=True),
        sa.Column("over", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["gate"], ["gate.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("gate", "epoch", "random"),
    )
    op.create_table(
        "journal_row",
        sa.Column("gate", COUNTING, nullable=False),
        sa.Column("row", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["gate"], ["gate.id"]),
        sa.PrimaryKeyConstraint("gate", "row", "digest"),
    )
    op.create_table(
        "loose",
        sa.Column("gate", COUNTING, nullable=False),
        sa.Column("after", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("upto", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["gate"], ["gate.id"]),
        sa.PrimaryKeyConstraint("gate", "after", "previous", "upto", "digest"),
    )
    op.create_table(
        "movement",
        sa.Column("number", COUNTING, autoincrement=False, nullable=False),
        sa.Column("gate", COUNTING, nullable=True),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("admission", sa.BigInteger(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("perimeters", sa.Text(), nullable=False),
        sa.Column("utc_ms", sa.BigInteger(), nullable=False),
        sa.Column("spend", sa.Text(), nullable=False),
        sa.Column("until_utc_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["gate"], ["gate.id"]),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_movement_subject", "movement", ["subject"])
    op.create_table(
        "tip",
        sa.Column("id", COUNTING, nullable=False),
        sa.Column("gate", COUNTING, nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("parent", sa.BigInteger(), nullable=True),
        sa.Column("began_row", sa.BigInteger(), nullable=False),
        sa.Column("began_digest", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["gate"], ["gate.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_tip_gate", "tip", ["gate"])
    op.create_table(
        "admission",
        sa.Column("id", COUNTING, autoincrement=False, nullable=False),
        sa.Column("gate", COUNTING, nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("epoch", COUNTING, nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("perimeters", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reentry", sa.Text(), nullable=False),
        sa.Column("monotonic_ms", sa.BigInteger(), nullable=False),
        sa.Column("utc_ms", sa.BigInteger(), nullable=False),
        sa.Column("trusted", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["epoch"], ["epoch.id"]),
        sa.ForeignKeyConstraint(["gate"], ["gate.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("gate", "row", "digest"),
    )
    op.create_index("ix_admission_subject", "admission", ["subject"])
    op.create_table(
        "work",
        sa.Column("id", COUNTING, autoincrement=False, nullable=False),
        sa.Column("admission", COUNTING, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("at_utc_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("doubt", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_ms", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("lease_ms", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("finished_ms", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["admission"], ["admission.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("admission"),
    )
    op.create_index("work_due", "work", ["account", "state", "id"])
    op.create_index("work_of_ticket", "work", ["account", "subject", "id"])
    op.create_index("work_untold", "work", ["state", "told", "id"])
