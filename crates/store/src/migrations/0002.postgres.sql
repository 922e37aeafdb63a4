UPDATE apps SET requests =
    (SELECT CAST(LEAST(COALESCE(SUM(CAST(counters::json ->> 'requests' AS NUMERIC)), 0), 9e18) AS BIGINT)
     FROM leases WHERE leases.app = apps.id);
