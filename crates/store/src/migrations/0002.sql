-- What pages show costs the same however long an app has lived: its requests are a sum in its own
-- row, and the few leases that are looked for have indexes of their own.

ALTER TABLE apps ADD COLUMN requests BIGINT NOT NULL DEFAULT 0;
CREATE INDEX apps_by_change ON apps (changed_at_ms);
CREATE INDEX leases_open_by_app ON leases (app, replica, epoch) WHERE open = 1;
CREATE INDEX leases_activated ON leases (app, replica, epoch) WHERE activated_at_ms IS NOT NULL;
