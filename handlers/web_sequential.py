"""Lambda function: gather web pages into a Postgres table, one page at a time.

asyncstream/gathering/schema.json describes the event and the reply.
"""

from asyncstream.gathering import lambda_handler

handler = lambda_handler(engine="sequential")
