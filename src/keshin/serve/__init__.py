"""Local web pages. They need ``[serve]``."""
