CREATE VIRTUAL TABLE operation_words USING fts5(
    words, facets, content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 0'
);
