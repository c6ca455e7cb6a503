-- Whose window it is, whatever the provider is called, for grants that count windows; what was opened before is not counted.
ALTER TABLE windows ADD COLUMN person TEXT;
CREATE INDEX windows_lately ON windows (person, target, opens);
-- The sessions of windows that have few places.
CREATE TABLE places (
    id TEXT PRIMARY KEY,
    window_id TEXT NOT NULL REFERENCES windows (id),
    node TEXT NOT NULL,
    taken BIGINT NOT NULL
);
CREATE INDEX places_of ON places (window_id);
CREATE INDEX places_at ON places (node);
