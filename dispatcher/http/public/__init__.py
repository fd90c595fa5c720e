"""Pages without a login, for people who got a message."""
