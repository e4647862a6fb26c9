"""Lambda function: copy the parts of all S3 files concurrently, on a thread pool.

asyncstream/events/schema.json describes the event and the reply.
"""

from asyncstream import lambda_handler

handler = lambda_handler(engine="threads", multipart=True)
