"""The Lambda functions that deploy/template.yaml names, one file each."""
