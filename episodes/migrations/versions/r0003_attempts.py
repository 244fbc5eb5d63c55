"""Add the table attempts: where each start of an experiment came from, not only the first."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, with what is known of the starts so far: the first of each experiment, without its code's digests."""
    op.create_table(
        "attempts",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False, comment="the database's own id"),
        sa.Column("experiment_id", sa.BigInteger, nullable=False, comment="the experiment"),
        sa.Column("attempt", sa.Integer, nullable=False, comment="number of the start, from 1"),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False, comment="when it began"),
        sa.Column("total_steps", sa.BigInteger, nullable=False, comment="decisions that this attempt trains to"),
        sa.Column("git_commit", sa.Text, comment="commit of the code; null outside a repository"),
        sa.Column("git_dirty", sa.Boolean, comment="whether the tree had changes that were not committed"),
        sa.Column("code", JSONB, nullable=False, comment="package of this project -> SHA-256 of its source files"),
        sa.Column("python_version", sa.Text, nullable=False, comment="version of Python"),
        sa.Column("torch_version", sa.Text, comment="version of torch; null where it is not used"),
        sa.Column("packages", JSONB, nullable=False, comment="installed packages and their versions"),
        sa.Column("device", sa.Text, nullable=False, comment="cpu, or the GPU's name"),
        sa.Column("host", sa.Text, nullable=False, comment="name of the machine"),
        sa.Column("mlflow_run_id", sa.Text, comment="the run in MLflow"),
        sa.Column("prefect_flow_run_id", sa.Text, comment="the flow run in Prefect"),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name="fk_attempts_experiment_id"),
        sa.UniqueConstraint("experiment_id", "attempt", name="uq_attempts_key"),
        sa.CheckConstraint('"attempt" >= 1', name=op.f("ck_attempts_attempt_minimum")),
        sa.CheckConstraint('"total_steps" >= 1', name=op.f("ck_attempts_total_steps_minimum")),
    )
    # A configuration that does not say meant the default of its time.
    op.execute(
        """
        INSERT INTO attempts (experiment_id, attempt, started, total_steps, git_commit, git_dirty, code, python_version,
            torch_version, packages, device, host, mlflow_run_id)
        SELECT id, 1, started, COALESCE((config #>> '{train,total_steps}')::bigint, 2000000), git_commit, git_dirty, '{}',
            python_version, torch_version, packages, device, host, mlflow_run_id
        FROM experiments
        """
    )


def downgrade() -> None:
    """Refuse: going back would delete where results came from."""
    raise NotImplementedError("this migration is not undone: that would delete where results came from")
