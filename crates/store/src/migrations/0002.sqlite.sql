UPDATE apps SET requests = COALESCE(
    (SELECT CAST(MIN(TOTAL(json_extract(counters, '$.requests')), 9e18) AS INTEGER)
     FROM leases WHERE leases.app = apps.id), 0);
