"""The interface for programs: `/api/v1`. Everything the pages do, as JSON, through the same use-cases; described by a document in OpenAPI 3.1.

An operation is declared once (`operations.py`): its address, the right it needs, what it takes and answers, its sentence. Those of records
come from the rows of `appliance.config.kinds` (`records.py`); what is no record stands in `actions/`. The document (`document.py`), the routes
and the checks (`app.py`) read these declarations and nothing else.
"""
