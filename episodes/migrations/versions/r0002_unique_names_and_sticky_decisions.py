"""Make names of experiments unique, tell both rules of sticky actions apart, and keep what persons accepted.

Rows recorded as `sticky` so far were measured with a coin thrown at each decision. That protocol is called `sticky_decisions`
now; `sticky` is the rule of the Arcade Learning Environment (Machado et al. 2018), a coin at each frame.
"""

import logging

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LOG = logging.getLogger("episodes.migrations")
_NAME_LENGTH = 100  # of an experiment's name at most


def upgrade() -> None:
    """Rename experiments that share a name and rows of the protocol `sticky`; add the constraints and `accepted_rules`."""
    _part_experiments_of_one_name()
    op.drop_index("ix_experiments_name", "experiments")
    op.create_unique_constraint("uq_experiments_name", "experiments", ["name"])

    op.drop_constraint("ck_episodes_protocol_allowed", "episodes", type_="check")
    op.execute("UPDATE episodes SET protocol = 'sticky_decisions' WHERE protocol = 'sticky'")
    op.create_check_constraint(
        "ck_episodes_protocol_allowed",
        "episodes",
        "\"protocol\" IN ('training', 'greedy', 'stochastic', 'sticky', 'noop', 'random', 'sticky_decisions')",
    )
    _create_accepted_rules()


def downgrade() -> None:
    """Refuse: both rules of sticky actions would be mixed up again."""
    raise NotImplementedError("this migration is not undone: it would mix up both rules of sticky actions again")


def _part_experiments_of_one_name() -> None:
    """The newest keeps its name, since that is the one the name has meant; the others are called NAME-older-ID."""
    connection = op.get_bind()
    experiments = sa.table("experiments", sa.column("id", sa.BigInteger), sa.column("name", sa.Text))
    rows = connection.execute(sa.select(experiments.c.id, experiments.c.name).order_by(experiments.c.id.desc())).all()
    taken = {name for _, name in rows}
    seen: set[str] = set()
    for number, name in rows:
        if name not in seen:
            seen.add(name)
            continue
        suffix = f"-older-{number}"
        new = name[: _NAME_LENGTH - len(suffix)] + suffix
        while new in taken:
            suffix += "-"
            new = name[: _NAME_LENGTH - len(suffix)] + suffix
        taken.add(new)
        connection.execute(experiments.update().where(experiments.c.id == number).values(name=new))
        _LOG.warning("two experiments were called %r: the older one (row %d) is called %r now", name, number, new)


def _create_accepted_rules() -> None:
    op.create_table(
        "accepted_rules",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False, comment="the database's own id"),
        sa.Column("experiment_id", sa.BigInteger, nullable=False, comment="the experiment it belongs to"),
        sa.Column("phase", sa.Text, nullable=False, comment="part of the pipeline"),
        sa.Column("rule", sa.Text, nullable=False, comment="name of the data-quality rule that is broken"),
        sa.Column("observed", sa.Text, nullable=False, comment="what was seen when it was accepted"),
        sa.Column("reason", sa.Text, nullable=False, comment="why it may be broken, in the person's words"),
        sa.Column("accepted_by", sa.Text, nullable=False, comment="the person's name on the machine, and the machine's"),
        sa.Column("accepted", sa.DateTime(timezone=True), nullable=False, comment="when it was accepted"),
        sa.PrimaryKeyConstraint("id", name="pk_accepted_rules"),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name="fk_accepted_rules_experiment_id"),
        sa.UniqueConstraint("experiment_id", "phase", "rule", name="uq_accepted_rules_key"),
        sa.CheckConstraint(
            "\"phase\" IN ('smoke', 'integration', 'train', 'evaluate')", name="ck_accepted_rules_phase_allowed"
        ),
    )
