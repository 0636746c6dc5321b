"""Stand-in for Resend: sending, batches, looking mails up, and signed events."""
