-- Sealed files on their way to the store outside (`store` is its URL), and when each was there. `due` is also a claim's end.
CREATE TABLE uploads (
    store TEXT NOT NULL,
    folder TEXT NOT NULL,
    name TEXT NOT NULL,
    node TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due BIGINT NOT NULL,
    state TEXT NOT NULL,
    settled BIGINT,
    digest TEXT,
    error TEXT,
    PRIMARY KEY (store, folder, name)
);
