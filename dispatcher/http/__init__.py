"""The HTTP interface: the API, the providers' webhooks, and the pages that recipients see.

It decides nothing of its own: a handler checks what came, asks an actor or a query module, and shows the answer.
"""
