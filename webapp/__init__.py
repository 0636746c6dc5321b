"""The web application: webhooks, the merchant's pages, public pages. FastAPI lives only here."""
