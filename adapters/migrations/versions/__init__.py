"""One step a file, each behind the one it names; a step that was released is never changed."""
