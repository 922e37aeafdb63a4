-- Both engines read this file: only BIGINT and TEXT, times in milliseconds, keys and ids as text,
-- structured values as JSON text. Amounts are billionths.

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL
);

-- `lookup` is the first half of a key's BLAKE3 hash, `hash` all of it.
CREATE TABLE api_keys (
    lookup TEXT PRIMARY KEY,
    hash TEXT NOT NULL,
    account TEXT NOT NULL REFERENCES accounts (id),
    created_at_ms BIGINT NOT NULL
);

CREATE TABLE idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    result TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);

CREATE TABLE apps (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    version TEXT NOT NULL,
    version_number BIGINT NOT NULL,
    spent_nanousd BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL
);
CREATE INDEX apps_by_account ON apps (account, id);
CREATE INDEX apps_by_state ON apps (state, id);

CREATE TABLE versions (
    id TEXT PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (id),
    number BIGINT NOT NULL,
    manifest TEXT NOT NULL,
    artifacts TEXT NOT NULL,
    parts BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    UNIQUE (app, number)
);

CREATE TABLE epochs (
    app TEXT NOT NULL,
    replica BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    PRIMARY KEY (app, replica)
);

CREATE TABLE leases (
    id TEXT PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (id),
    replica BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    account TEXT NOT NULL REFERENCES accounts (id),
    kind TEXT NOT NULL,
    version TEXT NOT NULL REFERENCES versions (id),
    series BIGINT NOT NULL,
    node TEXT NOT NULL,
    node_name TEXT NOT NULL,
    supplier TEXT NOT NULL,
    tier TEXT NOT NULL,
    spec TEXT NOT NULL,
    prices TEXT NOT NULL,
    margin_bp BIGINT NOT NULL,
    fee_bp BIGINT NOT NULL,
    role TEXT NOT NULL,
    counters TEXT NOT NULL,
    -- 1 while it lives, or what it used may be ahead of what was posted.
    open BIGINT NOT NULL,
    supplier_nanousd BIGINT NOT NULL,
    margin_nanousd BIGINT NOT NULL,
    fee_nanousd BIGINT NOT NULL,
    supplier_nanojoule BIGINT NOT NULL,
    fee_nanojoule BIGINT NOT NULL,
    -- What converting to JOULE left over, in atto-USD; below the price of a nano-JOULE.
    carry_attousd BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    activated_at_ms BIGINT,
    ended_at_ms BIGINT,
    ending TEXT,
    UNIQUE (app, replica, epoch)
);
CREATE INDEX leases_by_version ON leases (version);
CREATE INDEX leases_open ON leases (series, id) WHERE open = 1;

CREATE TABLE job_parts (
    version TEXT NOT NULL REFERENCES versions (id),
    part BIGINT NOT NULL,
    app TEXT NOT NULL REFERENCES apps (id),
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    lease TEXT,
    reason TEXT,
    not_before_ms BIGINT NOT NULL,
    PRIMARY KEY (version, part)
);
CREATE INDEX job_parts_open ON job_parts (state, version, part);

CREATE TABLE ledger_transactions (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    at_ms BIGINT NOT NULL
);

CREATE TABLE ledger_postings (
    txn TEXT NOT NULL REFERENCES ledger_transactions (id),
    account TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount BIGINT NOT NULL,
    PRIMARY KEY (txn, account, currency)
);

CREATE TABLE ledger_balances (
    account TEXT NOT NULL,
    currency TEXT NOT NULL,
    balance BIGINT NOT NULL,
    PRIMARY KEY (account, currency)
);

CREATE TABLE ticks (
    series BIGINT PRIMARY KEY,
    reserved BIGINT NOT NULL,
    posted BIGINT NOT NULL
);

CREATE TABLE roots (
    series BIGINT NOT NULL,
    tick BIGINT NOT NULL,
    signed TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (series, tick)
);

CREATE TABLE earnings (
    series BIGINT NOT NULL,
    supplier TEXT NOT NULL,
    cumulative_nanojoule BIGINT NOT NULL,
    PRIMARY KEY (series, supplier)
);

CREATE TABLE withdrawals (
    series BIGINT NOT NULL,
    supplier TEXT NOT NULL,
    cumulative_nanojoule BIGINT NOT NULL,
    redeemed_nanojoule BIGINT,
    paid_nanousd BIGINT,
    txn TEXT,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (series, supplier, cumulative_nanojoule)
);

CREATE TABLE nodes (
    node TEXT PRIMARY KEY,
    info TEXT NOT NULL,
    benchmark TEXT,
    first_at_ms BIGINT NOT NULL,
    joined_at_ms BIGINT NOT NULL
);

CREATE TABLE artifacts (
    account TEXT NOT NULL REFERENCES accounts (id),
    hash TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (account, hash)
);

CREATE TABLE events (
    id TEXT PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    account TEXT,
    kind TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX events_by_time ON events (at_ms, id);
