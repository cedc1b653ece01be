"""Registration: what sources and release lists name becomes rows."""
