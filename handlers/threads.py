"""Lambda function: copy S3 files concurrently on a thread pool, each as one stream.

asyncstream/events/schema.json describes the event and the reply.
"""

from asyncstream import lambda_handler

handler = lambda_handler(engine="threads", multipart=False)
