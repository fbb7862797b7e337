"""How the store's schema became what it is: Alembic revisions, applied when one is opened."""
