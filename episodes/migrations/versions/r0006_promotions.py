"""Add the table promotions: the decisions about which version of a registered model is the champion."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the table, empty."""
    difference = "completion rate of the candidate minus that of the champion"
    op.create_table(
        "promotions",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False, comment="the database's own id"),
        sa.Column("model", sa.Text, nullable=False, comment="name of the registered model"),
        sa.Column("decision", sa.Text, nullable=False, comment="what was decided"),
        sa.Column("version", sa.Integer, nullable=False, comment="the candidate; after a rollback the champion again"),
        sa.Column("champion", sa.Integer, comment="the champion before; null: there was none"),
        sa.Column("protocols", JSONB, nullable=False, comment="protocols that both played"),
        sa.Column("seed", sa.BigInteger, comment="seed of the episodes; null: none were played"),
        sa.Column("difference", sa.Double, comment=difference),
        sa.Column("low", sa.Double, comment="lower end of the interval of the difference"),
        sa.Column("high", sa.Double, comment="upper end of the interval of the difference"),
        sa.Column("evidence", JSONB, nullable=False, comment="counts by protocol, experiments, runs and the commit"),
        sa.Column("decided", _MOMENT, nullable=False, comment="when it was decided"),
        sa.Column("applied", _MOMENT, comment="when the alias was moved; null: it was not"),
        sa.PrimaryKeyConstraint("id", name="pk_promotions"),
        sa.CheckConstraint(
            "\"decision\" IN ('first', 'promoted', 'not shown', 'rolled back')", name=op.f("ck_promotions_decision_allowed")
        ),
        sa.CheckConstraint('"version" >= 1', name=op.f("ck_promotions_version_minimum")),
        sa.CheckConstraint('"champion" >= 1', name=op.f("ck_promotions_champion_minimum")),
        sa.CheckConstraint('"seed" >= 0', name=op.f("ck_promotions_seed_minimum")),
        *(_finite(column) for column in ("difference", "low", "high")),
    )


def downgrade() -> None:
    """Refuse: going back would delete the evidence of the champions."""
    raise NotImplementedError("this migration is not undone: that would delete the evidence of the champions")


def _finite(column: str) -> sa.CheckConstraint:
    condition = f"\"{column}\" > '-Infinity'::float8 AND \"{column}\" < 'Infinity'::float8"
    return sa.CheckConstraint(condition, name=op.f(f"ck_promotions_{column}_finite"))
