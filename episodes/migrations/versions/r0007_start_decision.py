"""Add where on a demonstration an episode began."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Episodes stored so far began at the start of the level or of the full game: null is right for them."""
    meaning = "decisions of a demonstration that were played before the first one; null: it began at the start"
    op.add_column("episodes", sa.Column("start_decision", sa.Integer, nullable=True, comment=meaning))


def downgrade() -> None:
    """Refuse: without the column, episodes that began near the end would pass for whole ones."""
    raise NotImplementedError("this migration is not undone: episodes that began near the end would pass for whole ones")
