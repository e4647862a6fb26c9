"""What the adapters of S3 and of the web share: heads of replies, and certificates that were refused."""
