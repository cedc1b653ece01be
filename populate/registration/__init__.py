"""Registration: write the sessions that sources and release lists name as rows."""
