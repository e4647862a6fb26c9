"""Lambda function: gather web pages into a Postgres table, sixty pages at once on a thread pool.

asyncstream/gathering/schema.json describes the event and the reply.
"""

from asyncstream.gathering import lambda_handler

handler = lambda_handler(engine="threads")
