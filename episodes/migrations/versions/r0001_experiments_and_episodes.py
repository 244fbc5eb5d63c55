"""Create the tables: experiments, episodes, episode_actions.

All of it is written out here and never changes: databases of this revision exist. `episodes.schema` goes on, and later
migrations bring such a database to it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def _finite(table: str, column: str) -> sa.CheckConstraint:
    # Postgres sorts NaN above infinity: the second comparison refuses it too.
    return sa.CheckConstraint(
        f"\"{column}\" > '-Infinity'::float8 AND \"{column}\" < 'Infinity'::float8", name=f"ck_{table}_{column}_finite"
    )


def upgrade() -> None:
    """Create every table."""
    _experiments()
    _episodes()
    _episode_actions()


def downgrade() -> None:
    """Refuse: going back would delete every episode."""
    raise NotImplementedError("the first migration is not undone: that would delete every episode")


def _experiments() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False, comment="the database's own id"),
        sa.Column("name", sa.Text, nullable=False, comment="the experiment's name"),
        sa.Column("config", JSONB, nullable=False, comment="the whole configuration"),
        sa.Column("config_hash", sa.Text, nullable=False, comment="SHA-256 of the configuration"),
        sa.Column("seed", sa.BigInteger, nullable=False, comment="seed of everything random"),
        sa.Column("git_commit", sa.Text, comment="commit of the code; null outside a repository"),
        sa.Column("git_dirty", sa.Boolean, comment="whether the tree had changes that were not committed"),
        sa.Column("python_version", sa.Text, nullable=False, comment="version of Python"),
        sa.Column("torch_version", sa.Text, comment="version of torch; null where it is not used"),
        sa.Column("packages", JSONB, nullable=False, comment="installed packages and their versions"),
        sa.Column("device", sa.Text, nullable=False, comment="cpu, or the GPU's name"),
        sa.Column("host", sa.Text, nullable=False, comment="name of the machine"),
        sa.Column("mlflow_run_id", sa.Text, comment="the run in MLflow"),
        sa.Column("prefect_flow_run_id", sa.Text, comment="the flow run in Prefect"),
        sa.Column("status", sa.Text, nullable=False, comment="how it stands"),
        sa.Column("started", _MOMENT, nullable=False, comment="when it began"),
        sa.Column("ended", _MOMENT, comment="when it ended; null while it runs"),
        sa.PrimaryKeyConstraint("id", name="pk_experiments"),
        sa.CheckConstraint(
            "\"status\" IN ('running', 'completed', 'failed', 'interrupted')", name="ck_experiments_status_allowed"
        ),
    )
    op.create_index("ix_experiments_name", "experiments", ["name"])


def _episodes() -> None:
    step = "training: decisions of all environments up to the episode's end; evaluation: decisions the agent was trained for, "
    op.create_table(
        "episodes",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False, comment="the database's own id"),
        sa.Column("experiment_id", sa.BigInteger, nullable=False, comment="the experiment it belongs to"),
        sa.Column("phase", sa.Text, nullable=False, comment="part of the pipeline"),
        sa.Column("protocol", sa.Text, nullable=False, comment="how the agent was run"),
        sa.Column("env_index", sa.Integer, nullable=False, comment="which of the parallel environments"),
        sa.Column("episode_index", sa.Integer, nullable=False, comment="count of episodes in that environment"),
        sa.Column("timestamp", _MOMENT, nullable=False, comment="when the episode ended"),
        sa.Column("reward", sa.Double, nullable=False, comment="sum of the rewards"),
        sa.Column("steps", sa.Integer, nullable=False, comment="decisions of the agent"),
        sa.Column("frames", sa.Integer, nullable=False, comment="emulator frames of these decisions"),
        sa.Column("duration_seconds", sa.Double, nullable=False, comment="seconds on the wall clock"),
        sa.Column("global_step", sa.BigInteger, nullable=False, comment=step + "0 for the random policy, which is no agent"),
        sa.Column("exploration_rate", sa.Double, nullable=False, comment="probability of a random action at the end"),
        sa.Column("distance_traveled", sa.Integer, nullable=False, comment="pixels: sum of each level's progress"),
        sa.Column("x_pos", sa.Integer, nullable=False, comment="Mario's x in the level at the end, in pixels"),
        sa.Column("y_pos", sa.Integer, nullable=False, comment="Mario's height at the end, in pixels"),
        sa.Column("score", sa.Integer, nullable=False, comment="the game's score at the end"),
        sa.Column("coins", sa.Integer, nullable=False, comment="coins at the end"),
        sa.Column("time", sa.Integer, nullable=False, comment="the game's clock at the end"),
        sa.Column("life", sa.Integer, nullable=False, comment="lives left including the current one"),
        sa.Column("status", sa.Text, nullable=False, comment="Mario's size at the end"),
        sa.Column("world", sa.Integer, nullable=False, comment="world where it ended"),
        sa.Column("stage", sa.Integer, nullable=False, comment="stage where it ended"),
        sa.Column(
            "level_completed", sa.Boolean, nullable=False, comment="the level, or in the full game at least one, was completed"
        ),
        sa.Column("end_reason", sa.Text, nullable=False, comment="why it ended"),
        sa.PrimaryKeyConstraint("id", name="pk_episodes"),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name="fk_episodes_experiment_id"),
        sa.UniqueConstraint("experiment_id", "phase", "protocol", "env_index", "episode_index", name="uq_episodes_key"),
        sa.CheckConstraint("\"phase\" IN ('smoke', 'integration', 'train', 'evaluate')", name="ck_episodes_phase_allowed"),
        sa.CheckConstraint(
            "\"protocol\" IN ('training', 'greedy', 'stochastic', 'sticky', 'noop', 'random')",
            name="ck_episodes_protocol_allowed",
        ),
        sa.CheckConstraint('"env_index" >= 0', name="ck_episodes_env_index_minimum"),
        sa.CheckConstraint('"episode_index" >= 0', name="ck_episodes_episode_index_minimum"),
        *(_finite("episodes", column) for column in ("reward", "duration_seconds", "exploration_rate")),
    )


def _episode_actions() -> None:
    op.create_table(
        "episode_actions",
        sa.Column("episode_id", sa.BigInteger, nullable=False, comment="the episode"),
        sa.Column("start", JSONB, nullable=False, comment="where the episode started"),
        sa.Column("decisions", sa.Integer, nullable=False, comment="number of actions"),
        sa.Column("actions", sa.LargeBinary, nullable=False, comment="one byte a decision, compressed by zlib"),
        sa.PrimaryKeyConstraint("episode_id", name="pk_episode_actions"),
        sa.ForeignKeyConstraint(["episode_id"], ["episodes.id"], name="fk_episode_actions_episode_id", ondelete="CASCADE"),
        sa.CheckConstraint('"decisions" >= 0', name="ck_episode_actions_decisions_minimum"),
    )
