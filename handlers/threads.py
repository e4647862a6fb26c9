"""Lambda function: copies S3 objects, files on a thread pool, each as one stream.

Event and reply are described in asyncstream/events/schema.json.
"""

from asyncstream import lambda_handler

handler = lambda_handler(engine="threads", multipart=False)
