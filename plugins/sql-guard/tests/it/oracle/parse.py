"""Parses SQL texts with PostgreSQL's own grammar: a JSON list of texts in, one line of JSON a text out.

`null`: PostgreSQL would call it a syntax error.
"""

import json
import sys

from pglast.parser import ParseError, parse_sql_json

for text in json.load(sys.stdin):
    try:
        print(parse_sql_json(text))
    except ParseError:
        print("null")
