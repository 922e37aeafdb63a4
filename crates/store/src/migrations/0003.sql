-- Transactions that happen once: what was meant, signed and became of it. The body is the chain's
-- business; what makes two of them collide is here.
CREATE TABLE intents (
    chain BIGINT NOT NULL,
    sender TEXT NOT NULL,
    intent TEXT NOT NULL,
    nonce BIGINT NOT NULL,
    -- 1 until what became of it is final.
    open BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (chain, sender, intent)
);
-- A nonce belongs to one open intent.
CREATE UNIQUE INDEX intents_nonce ON intents (chain, sender, nonce) WHERE open = 1;

-- How far a chain's events were read, by block number and hash, and the newest hashes before that,
-- by which a reorganisation is measured.
CREATE TABLE chain_blocks (
    chain BIGINT NOT NULL,
    source TEXT NOT NULL,
    block BIGINT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (chain, source, block)
);

CREATE TABLE chain_events (
    chain BIGINT NOT NULL,
    source TEXT NOT NULL,
    block BIGINT NOT NULL,
    log_index BIGINT NOT NULL,
    block_hash TEXT NOT NULL,
    txn TEXT NOT NULL,
    address TEXT NOT NULL,
    name TEXT,
    topic0 TEXT,
    topic1 TEXT,
    topic2 TEXT,
    topic3 TEXT,
    body TEXT NOT NULL,
    PRIMARY KEY (chain, source, block, log_index)
);
CREATE INDEX chain_events_by_name ON chain_events (chain, source, name, topic1, topic2, topic3);
