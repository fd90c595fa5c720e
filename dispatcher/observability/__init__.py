"""What the daemon tells of itself: metrics, readiness, systemd's notifications. It measures nothing and decides nothing."""
