"""Audit: what differs between groups of images, by accuracy, search and association."""
