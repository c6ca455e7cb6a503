-- Recordings: which were deleted by the rules, and what must not be. Whoever deletes and whoever preserves first moves the one row of
-- `keeping`, so that the one sees what the other did.
CREATE TABLE keeping (
    id BIGINT PRIMARY KEY,
    moves BIGINT NOT NULL
);
INSERT INTO keeping (id, moves) VALUES (1, 0);
CREATE TABLE deletions (
    session TEXT PRIMARY KEY,
    target TEXT NOT NULL,
    rule TEXT NOT NULL,
    moment BIGINT NOT NULL
);
-- An entry is written once; the only later change is that it is released.
CREATE TABLE preservations (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    preserved TEXT NOT NULL,
    reason TEXT NOT NULL,
    made BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    released BIGINT,
    released_by TEXT
);
CREATE INDEX preservations_live ON preservations (released, kind, preserved);
