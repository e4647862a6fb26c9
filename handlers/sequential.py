"""Lambda function: copy S3 files one at a time, each as one stream.

asyncstream/events/schema.json describes the event and the reply.
"""

from asyncstream import lambda_handler

handler = lambda_handler(engine="sequential", multipart=False)
