"""The promises about process death, with real processes on a real Postgres."""
