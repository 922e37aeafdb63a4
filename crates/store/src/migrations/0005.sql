-- A deleted app's rows stay, its bill among them; its name is free again, and remembered here.
ALTER TABLE apps ADD COLUMN deleted_name TEXT;
CREATE INDEX apps_deleted ON apps (account, deleted_name, changed_at_ms)
    WHERE deleted_name IS NOT NULL;

-- A host of a customer's own belongs to one app, until that is deployed without it, or deleted.
CREATE TABLE hosts (
    host TEXT PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (id)
);
CREATE INDEX hosts_by_app ON hosts (app);
ALTER TABLE versions ADD COLUMN hosts TEXT NOT NULL DEFAULT '[]';

-- What a bill comes to is in the app's own row; the fee is the rest of `spent_nanousd`.
ALTER TABLE apps ADD COLUMN suppliers_nanousd BIGINT NOT NULL DEFAULT 0;
ALTER TABLE apps ADD COLUMN margin_nanousd BIGINT NOT NULL DEFAULT 0;
UPDATE apps SET
    suppliers_nanousd = (SELECT COALESCE(CAST(SUM(supplier_nanousd) AS BIGINT), 0)
        FROM leases WHERE leases.app = apps.id),
    margin_nanousd = (SELECT COALESCE(CAST(SUM(margin_nanousd) AS BIGINT), 0)
        FROM leases WHERE leases.app = apps.id);
CREATE INDEX leases_by_app ON leases (app, id);
-- Of indexes that promise alike SQLite takes the newest: the few leases that are looked for must not
-- be looked for among all.
DROP INDEX leases_open_by_app;
DROP INDEX leases_activated;
CREATE INDEX leases_open_by_app ON leases (app, replica, epoch) WHERE open = 1;
CREATE INDEX leases_activated ON leases (app, replica, epoch) WHERE activated_at_ms IS NOT NULL;

-- A second attempt at a part, while the first is slow to start.
ALTER TABLE job_parts ADD COLUMN beside TEXT;

-- The newest events are read from the end of an index, whatever is asked for: none is sorted, and none
-- is read that is not told, but by whoever asks about one party's events of one name or contract.
CREATE INDEX chain_events_named ON chain_events (chain, source, name, block, log_index);
CREATE INDEX chain_events_of ON chain_events (chain, source, address, block, log_index);
CREATE INDEX chain_events_of_named ON chain_events (chain, source, address, name, block, log_index);
CREATE INDEX chain_events_topic1 ON chain_events (chain, source, topic1, block, log_index)
    WHERE topic1 IS NOT NULL;
CREATE INDEX chain_events_topic2 ON chain_events (chain, source, topic2, block, log_index)
    WHERE topic2 IS NOT NULL;
CREATE INDEX chain_events_topic3 ON chain_events (chain, source, topic3, block, log_index)
    WHERE topic3 IS NOT NULL;
