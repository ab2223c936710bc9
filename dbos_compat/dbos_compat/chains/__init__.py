"""Runs that follow each other under one workflow id: continue-as-new, retries, cron, and what each inherits."""
