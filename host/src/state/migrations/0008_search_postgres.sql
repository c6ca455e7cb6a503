ALTER TABLE operations ADD COLUMN words TSVECTOR;
CREATE INDEX operations_words ON operations USING gin (words);
