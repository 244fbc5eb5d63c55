"""Create the tables: experiments, episodes, episode_actions."""

from alembic import op

from episodes import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table as it was at revision 1."""
    schema.build(revision=1).create_all(op.get_bind(), checkfirst=False)


def downgrade() -> None:
    """Refuse: going back would delete every episode."""
    raise NotImplementedError("the first migration is not undone: that would delete every episode")
