"""Whole journeys of a task, sent by HTTP and judged by what arrives in S3 and on SNS; for any running stack."""
