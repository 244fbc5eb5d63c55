"""Let only the newest attempt at an experiment write; move phase records and data-quality results into the database."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_PHASES = "'smoke', 'integration', 'train', 'evaluate'"
_FINITE = "\"seconds\" > '-Infinity'::float8 AND \"seconds\" < 'Infinity'::float8"


def upgrade() -> None:
    """The newest attempt of each experiment is the one that may write. Records in files are imported by the next start."""
    token = "the only attempt that may write: the fencing token; 0: there was none yet"
    op.add_column("experiments", sa.Column("attempt", sa.Integer, nullable=True, comment=token))
    op.execute(
        "UPDATE experiments SET attempt = COALESCE((SELECT max(attempt) FROM attempts WHERE experiment_id = experiments.id), 0)"
    )
    op.alter_column("experiments", "attempt", nullable=False)
    op.create_check_constraint(op.f("ck_experiments_attempt_minimum"), "experiments", '"attempt" >= 0')
    _columns_of_attempts()
    _phase_records()
    _quality_results()


def downgrade() -> None:
    """Refuse: going back would delete the records of finished phases."""
    raise NotImplementedError("this migration is not undone: that would delete the records of finished phases")


def _columns_of_attempts() -> None:
    holder = "boot of the machine, namespace, number and start of the process"
    expires = "from when on another attempt may take over, unless it is put off before; null: at once"
    op.add_column("attempts", sa.Column("folder", sa.Text, comment="the experiment's folder on that machine"))
    op.add_column("attempts", sa.Column("holder", sa.Text, comment=holder))
    op.add_column("attempts", sa.Column("expires", _MOMENT, comment=expires))


def _phase_records() -> None:
    kept_as = "name of a record of before an extension, such as 512-steps; empty: it counts"
    op.create_table(
        "phase_records",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False, comment="the database's own id"),
        sa.Column("experiment_id", sa.BigInteger, nullable=False, comment="the experiment"),
        sa.Column("kept_as", sa.Text, nullable=False, comment=kept_as),
        sa.Column("phase", sa.Text, nullable=False, comment="part of the pipeline"),
        sa.Column("attempt", sa.Integer, nullable=False, comment="the attempt that recorded it"),
        sa.Column("seconds", sa.Double, nullable=False, comment="seconds on the wall clock"),
        sa.Column("details", JSONB, nullable=False, comment="results for later phases and the report"),
        sa.Column("finished", _MOMENT, nullable=False, comment="when it was recorded"),
        sa.PrimaryKeyConstraint("id", name="pk_phase_records"),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name="fk_phase_records_experiment_id"),
        sa.UniqueConstraint("experiment_id", "kept_as", "phase", name="uq_phase_records_key"),
        sa.CheckConstraint(f"\"phase\" IN ({_PHASES}, 'alias', 'report')", name=op.f("ck_phase_records_phase_allowed")),
        sa.CheckConstraint('"attempt" >= 0', name=op.f("ck_phase_records_attempt_minimum")),
        sa.CheckConstraint(_FINITE, name=op.f("ck_phase_records_seconds_finite")),
    )


def _quality_results() -> None:
    op.create_table(
        "quality_results",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False, comment="the database's own id"),
        sa.Column("experiment_id", sa.BigInteger, nullable=False, comment="the experiment"),
        sa.Column("phase", sa.Text, nullable=False, comment="part of the pipeline"),
        sa.Column("attempt", sa.Integer, nullable=False, comment="the attempt that checked it"),
        sa.Column("passed", sa.Boolean, nullable=False, comment="whether the pipeline could go on"),
        sa.Column("rows_checked", sa.BigInteger, nullable=False, comment="rows of the phase"),
        sa.Column("rules", JSONB, nullable=False, comment="each rule and its result"),
        sa.Column("checked", _MOMENT, nullable=False, comment="when it was checked"),
        sa.PrimaryKeyConstraint("id", name="pk_quality_results"),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name="fk_quality_results_experiment_id"),
        sa.UniqueConstraint("experiment_id", "phase", name="uq_quality_results_key"),
        sa.CheckConstraint(f'"phase" IN ({_PHASES})', name=op.f("ck_quality_results_phase_allowed")),
        sa.CheckConstraint('"attempt" >= 0', name=op.f("ck_quality_results_attempt_minimum")),
        sa.CheckConstraint('"rows_checked" >= 0', name=op.f("ck_quality_results_rows_checked_minimum")),
    )
