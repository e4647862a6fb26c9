"""Local stand-ins for S3, the web, Postgres, Lambda and X-Ray, and the comparison that uses them."""
