"""The outbox: messages become frozen batches, batches become requests, each mail leaves once.

    freeze    queued messages → one batch of exact bytes under one key, committed
    sending   eligibility once more → attempt committed → call, no transaction open → completion
    recovery  a batch whose worker died or whose outcome is unknown → same bytes, same key

Only a definite refusal, while no earlier outcome is unknown, takes a batch apart.
"""
