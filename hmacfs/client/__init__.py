"""`hmacfs put` and `hmacfs get`: files to and from a server, over links that break.

A room of its own beside `stats`: it knows a server by HTTP alone, any server, and imports nothing of ours but
the rule of waiting (`policy.backoff`). What signs a URL is handed in by `cli`.
"""
