"""Lambda function: copies S3 objects. Copies one file at a time, each as one stream.

asyncstream/events/schema.json describes the event and the reply.
"""

from asyncstream import lambda_handler

handler = lambda_handler(engine="sequential", multipart=False)
