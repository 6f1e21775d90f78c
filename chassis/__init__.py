"""What every Backdrop server has: configuration, lifecycle, health, errors, validation, logs and metrics."""
