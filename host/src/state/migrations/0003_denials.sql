-- The deny list. An entry is written once; the only later change is that it is lifted.
CREATE TABLE denials (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    denied TEXT NOT NULL,
    reason TEXT NOT NULL,
    made BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    until BIGINT,
    lifted BIGINT,
    lifted_by TEXT
);
CREATE INDEX denials_live ON denials (lifted, until);
