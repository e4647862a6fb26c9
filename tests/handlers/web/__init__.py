"""The Lambda functions that gather pages."""
