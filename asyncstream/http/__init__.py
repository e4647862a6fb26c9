"""HTTP code shared by the S3 and web adapters: complete reply heads, and refused certificates."""
