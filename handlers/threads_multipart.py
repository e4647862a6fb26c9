"""Lambda function: copies S3 objects, the parts of all files at once, on a thread pool.

Event and reply are described in asyncstream/events/schema.json.
"""

from asyncstream import lambda_handler

handler = lambda_handler(engine="threads", multipart=True)
