-- What one JOULE cost when a transaction was posted; NULL where it converts nothing, or was posted
-- before this was kept.
ALTER TABLE ledger_transactions ADD COLUMN price_nanousd BIGINT;

-- The price that a series settles by, as it was read from the market last.
CREATE TABLE joule_prices (
    series BIGINT PRIMARY KEY,
    price_nanousd BIGINT NOT NULL,
    read_at_ms BIGINT NOT NULL,
    -- What was believed since `since_ms`: how far the next price may be from it does not begin anew
    -- with a process.
    low_nanousd BIGINT NOT NULL,
    high_nanousd BIGINT NOT NULL,
    since_ms BIGINT NOT NULL
);

-- Trades of the desk, each planned here before anything is sent. Amounts in tokens' smallest units
-- are decimal text: they have more digits than a BIGINT.
CREATE TABLE desk_trades (
    number BIGINT PRIMARY KEY,
    -- Who trades, and where: nobody else can say what became of it.
    chain_id BIGINT NOT NULL,
    sender TEXT NOT NULL,
    market TEXT NOT NULL,
    -- `buy`: USD is given for JOULE; `sell`: JOULE for USD.
    side TEXT NOT NULL,
    amount_in TEXT NOT NULL,
    min_out TEXT NOT NULL,
    deadline_s BIGINT NOT NULL,
    -- What is given, in USD at the price it was planned at: it counts against a day's bound.
    worth_nanousd BIGINT NOT NULL,
    price_nanousd BIGINT NOT NULL,
    planned_at_ms BIGINT NOT NULL,
    -- 1 until what became of it is known for good.
    open BIGINT NOT NULL,
    ended_at_ms BIGINT,
    -- What moved, as the receipt says; NULL where nothing did.
    amount_out TEXT,
    -- How the purse changed, as posted.
    purse_nanousd BIGINT,
    purse_nanojoule BIGINT,
    -- What the purse holds beyond its billionths after this trade, in 1e-18: below one billionth.
    dust_attousd BIGINT,
    dust_wei BIGINT,
    txn TEXT,
    -- Why nothing came of it.
    reason TEXT
);
-- One at a time, whoever plans it.
CREATE UNIQUE INDEX desk_trades_open ON desk_trades (open) WHERE open = 1;
CREATE INDEX desk_trades_by_time ON desk_trades (planned_at_ms);
