"""The tables that Bourse itself keeps in Postgres, as steps that Alembic takes at every start."""
