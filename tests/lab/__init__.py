"""The lab: S3, web, Postgres, sandbox and X-Ray of this machine."""
