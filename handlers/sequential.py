"""Lambda function: copies S3 objects, one file at a time, each as one stream.

Event and reply are described in asyncstream/events/schema.json.
"""

from asyncstream import lambda_handler

handler = lambda_handler(engine="sequential", multipart=False)
