"""Lambda function: gathers pages of the web into a table of Postgres, sixty pages at once on asyncio.

Event and reply are described in asyncstream/gathering/schema.json.
"""

from asyncstream.gathering import lambda_handler

handler = lambda_handler(engine="asyncio")
