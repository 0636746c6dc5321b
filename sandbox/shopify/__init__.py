"""Stand-in for one Shopify app in one or more shops: token, Admin GraphQL, bulk, webhooks."""
