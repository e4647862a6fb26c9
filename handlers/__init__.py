"""The Lambda functions: one short file each, named in deploy/template.yaml."""
