"""What git calls (driver, textconv) and what registers it (install, doctor)."""
