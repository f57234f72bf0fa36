"""What makes the controller a service: watchdog, metrics, status, its unit file, and a doctor."""
