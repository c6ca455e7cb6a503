-- The outbox: what channels are to be told of approvals, written with what it tells of. `due` is also a claim's end.
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    approval TEXT NOT NULL,
    event TEXT NOT NULL,
    target TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    made BIGINT NOT NULL,
    due BIGINT NOT NULL,
    state TEXT NOT NULL,
    settled BIGINT,
    error TEXT
);
CREATE UNIQUE INDEX deliveries_once ON deliveries (approval, event, channel);
CREATE INDEX deliveries_due ON deliveries (state, channel, due);
CREATE INDEX deliveries_made ON deliveries (made);
