"""Late yeses that nobody has used yet."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

COUNTING = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add their table."""
    op.create_table(
        "credit",
        sa.Column("admission", COUNTING, autoincrement=False, nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["admission"], ["admission.id"]),
        sa.PrimaryKeyConstraint("admission"),
    )
    op.create_index("ix_credit_due_ms", "credit", ["due_ms"])
