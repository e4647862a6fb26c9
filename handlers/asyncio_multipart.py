"""Lambda function: copies S3 objects. The parts of all files are copied concurrently on asyncio.

asyncstream/events/schema.json describes the event and the reply.
"""

from asyncstream import lambda_handler

handler = lambda_handler(engine="asyncio", multipart=True)
