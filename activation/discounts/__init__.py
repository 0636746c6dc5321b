"""Discount codes of one customer each, made at Shopify ahead of the mails they are in.

terms      what a code takes off, how it is made up, and the days of one discount
wanted     which steps need codes, and how many
pools      the discounts and requests for codes, as they are kept
shopify    what is asked of Shopify, and what its answers mean
stage      the stock is kept, in the activation run
assigning  one code to one mail, when it is frozen
problems   why a flow gets no codes, in words

docs/discounts.md says how it looks from outside, docs/decisions/0033 why it is so.
"""
