"""`dmic report`: a sweep as one HTML page, Markdown, CSV and PNG."""
