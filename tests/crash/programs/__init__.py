"""What gets killed."""
