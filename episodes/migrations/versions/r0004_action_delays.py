"""Add to episode_actions the frames by which sticky actions delayed each decision."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_MEANING = (
    "one byte a decision, compressed by zlib: frames that passed before the action took hold; null: no decision was delayed"
)


def upgrade() -> None:
    """Episodes stored so far had no decision delayed: null is right for them."""
    op.add_column("episode_actions", sa.Column("delays", sa.LargeBinary(), nullable=True, comment=_MEANING))


def downgrade() -> None:
    """Refuse: episodes with delays could not be played again."""
    raise NotImplementedError("this migration is not undone: episodes with delayed actions could not be played again")
