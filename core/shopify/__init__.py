"""Shopify's Admin API as we use it: the client, our GraphQL documents, the shapes they answer.

Nothing here knows our tables; core/ingestion does.
"""
