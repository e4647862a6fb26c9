"""The local comparison: an S3 with a network model, a Lambda sandbox, an X-Ray receiver."""
