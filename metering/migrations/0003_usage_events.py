"""The table of usage events: partitioned, append-only, checked."""

from django.db import migrations

TABLE = """
CREATE TABLE metering_usageevent (
    event_id uuid NOT NULL,
    tenant_id bigint NOT NULL,
    api_key_id bigint,
    request_id uuid NOT NULL,
    model text NOT NULL,
    model_version text NOT NULL,
    outcome text NOT NULL,
    occurred_at timestamptz NOT NULL,
    input bigint NOT NULL DEFAULT 0,
    cache_read bigint NOT NULL DEFAULT 0,
    cache_write bigint NOT NULL DEFAULT 0,
    cache_write_1h bigint NOT NULL DEFAULT 0,
    output bigint NOT NULL DEFAULT 0,
    output_reasoning bigint NOT NULL DEFAULT 0,
    units bigint NOT NULL DEFAULT 0,
    quality text NOT NULL DEFAULT 'reported',
    source_event uuid,
    similarity real,
    latency_us bigint NOT NULL,
    upstream_latency_us bigint,
    status smallint NOT NULL,
    payload_digest bytea NOT NULL,
    raw_usage jsonb,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    xact_id bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    PRIMARY KEY (tenant_id, event_id),
    CONSTRAINT usage_event_counts CHECK (
        input >= 0 AND cache_read >= 0 AND cache_write >= 0 AND cache_write_1h >= 0
        AND output >= 0 AND units >= 0 AND output_reasoning BETWEEN 0 AND output),
    CONSTRAINT usage_event_outcome CHECK (outcome IN ('miss', 'exact', 'semantic', 'coalesced', 'bypass')),
    CONSTRAINT usage_event_quality CHECK (quality IN ('reported', 'estimated', 'suspect')),
    CONSTRAINT usage_event_source CHECK (outcome IN ('miss', 'bypass') OR source_event IS NOT NULL),
    CONSTRAINT usage_event_latency CHECK (latency_us >= 0 AND upstream_latency_us >= 0),
    CONSTRAINT usage_event_digest CHECK (octet_length(payload_digest) = 32)
) PARTITION BY RANGE (event_id);

CREATE INDEX usage_event_xact ON metering_usageevent (xact_id);
CREATE INDEX usage_event_tenant_occurred ON metering_usageevent (tenant_id, occurred_at);
CREATE TABLE metering_usageevent_default PARTITION OF metering_usageevent DEFAULT;
"""

# The lowest UUIDv7 of an instant: 48 bits of milliseconds since 1970, the rest zero.
FLOOR_OF_INSTANT = """
CREATE FUNCTION metering_event_id_floor(instant timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (lpad(to_hex(floor(extract(epoch FROM instant) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;
"""

# SECURITY DEFINER: the application's role may call it but owns no table. The rows of the default
# partition that belong to the new one are moved in the same transaction.
MAKE_PARTITION = """
CREATE FUNCTION metering_make_partition(month date) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    starts timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
    ends timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    low uuid := metering_event_id_floor(starts);
    high uuid := metering_event_id_floor(ends);
    partition text := 'metering_usageevent_' || to_char(month, 'YYYY_MM');
BEGIN
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('metering_make_partition'));
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE metering_usageevent INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
    EXECUTE format(
        'WITH moved AS (DELETE FROM metering_usageevent_default WHERE event_id >= %L AND event_id < %L RETURNING *) '
        'INSERT INTO %I SELECT * FROM moved', low, high, partition);
    EXECUTE format(
        'ALTER TABLE metering_usageevent ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', partition, low, high);
    RETURN partition;
END
$$;
"""

# Law L3. Statement level, so that even a change of no rows is refused, to the owner too. Moving rows out
# of the default partition touches that partition only, which carries no trigger of its own.
APPEND_ONLY = """
CREATE FUNCTION metering_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'usage events are append-only: % is refused', TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Record a correction as a new event.';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON metering_usageevent
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_change();
"""

PROGRESS = """
INSERT INTO metering_rollupprogress (id, watermark, system_identifier)
SELECT 1, 0, system_identifier FROM pg_control_system();
"""

FIRST_PARTITIONS = """
SELECT metering_make_partition((date_trunc('month', now()) + n * interval '1 month')::date)
FROM generate_series(-1, 3) AS n;
"""


class Migration(migrations.Migration):
    dependencies = [("metering", "0002_initial")]
    operations = [
        migrations.RunSQL(statement, reverse)
        for statement, reverse in (
            (TABLE, "DROP TABLE metering_usageevent"),
            (FLOOR_OF_INSTANT, "DROP FUNCTION metering_event_id_floor"),
            (MAKE_PARTITION, "DROP FUNCTION metering_make_partition"),
            (APPEND_ONLY, "DROP FUNCTION metering_refuse_change CASCADE"),
            (PROGRESS, migrations.RunSQL.noop),
            (FIRST_PARTITIONS, migrations.RunSQL.noop),
        )
    ]
