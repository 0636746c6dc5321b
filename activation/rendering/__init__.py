"""Mails from templates: MJML compiled once, sandboxed Jinja per recipient, own text part."""
