"""The seam between the planes: what the gateway reads, and how it hears of changes."""

from django.db import migrations

VIEWS = """
CREATE VIEW gateway_access AS
SELECT k.id AS api_key_id, k.public_id, k.digest AS key_digest, t.id AS tenant_id, t.slug::text AS tenant_slug,
       t.status::text AS tenant_status, t.cache_secret, k.scopes::text[] AS scopes, k.expires_at, k.revoked_at,
       s.plan_id, s.starts_at AS plan_starts_at, s.ends_at AS plan_ends_at
FROM tenants_apikey k
JOIN tenants_tenant t ON t.id = k.tenant_id
LEFT JOIN billing_subscription s ON s.tenant_id = t.id AND (s.ends_at IS NULL OR s.ends_at > now())
WHERE (k.expires_at IS NULL OR k.expires_at > now() - interval '30 days')
  AND (k.revoked_at IS NULL OR k.revoked_at > now() - interval '30 days');

CREATE VIEW gateway_catalog AS
SELECT m.name::text AS model, m.version::text AS version, u.name::text AS upstream, u.protocol::text AS protocol,
       u.url::text AS url, coalesce(nullif(m.upstream_model, ''), m.name)::text AS upstream_model,
       u.api_key_env::text AS api_key_env, u.timeout_seconds::double precision AS timeout_seconds,
       m.cache, m.metering
FROM cacheproxy_servedmodel m
JOIN cacheproxy_upstream u ON u.id = m.upstream_id
WHERE m.enabled;

CREATE VIEW gateway_price_book AS
SELECT p.id AS plan_id, p.name::text AS plan, p.currency::text AS currency,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
           'model', r.model, 'pool', r.pool, 'amount', r.amount::text, 'per', r.per,
           'effective_from', r.effective_from) ORDER BY r.id)
        FROM billing_price r WHERE r.plan_id = p.id), '[]') AS prices,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
           'outcome', d.outcome, 'model', d.model, 'pool', d.pool, 'percent', d.percent::text,
           'effective_from', d.effective_from) ORDER BY d.id)
        FROM billing_hitdiscount d WHERE d.plan_id = p.id), '[]') AS hit_discounts
FROM billing_plan p;
"""

DROP_VIEWS = "DROP VIEW gateway_access; DROP VIEW gateway_catalog; DROP VIEW gateway_price_book"

# PostgreSQL folds equal notifications of one transaction into one.
NOTIFY = """
CREATE FUNCTION cacheproxy_notify_access() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb := CASE TG_OP WHEN 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
BEGIN
    PERFORM pg_notify('zerorate_access', changed->>TG_ARGV[0]);
    RETURN NULL;
END
$$;
CREATE TRIGGER notify_gateways AFTER INSERT OR UPDATE OR DELETE ON tenants_tenant
    FOR EACH ROW EXECUTE FUNCTION cacheproxy_notify_access('id');
CREATE TRIGGER notify_gateways AFTER INSERT OR DELETE ON tenants_apikey
    FOR EACH ROW EXECUTE FUNCTION cacheproxy_notify_access('tenant_id');
-- Not on last_used_at, which every roll-up moves.
CREATE TRIGGER notify_gateways_of_update AFTER UPDATE OF digest, scopes, expires_at, revoked_at ON tenants_apikey
    FOR EACH ROW EXECUTE FUNCTION cacheproxy_notify_access('tenant_id');
CREATE TRIGGER notify_gateways AFTER INSERT OR UPDATE OR DELETE ON billing_subscription
    FOR EACH ROW EXECUTE FUNCTION cacheproxy_notify_access('tenant_id');

CREATE FUNCTION cacheproxy_notify_catalog() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('zerorate_catalog', '');
    RETURN NULL;
END
$$;
"""

CATALOG_TABLES = (
    "billing_plan",
    "billing_price",
    "billing_hitdiscount",
    "cacheproxy_upstream",
    "cacheproxy_servedmodel",
)

NOTIFY_CATALOG = "".join(
    f"CREATE TRIGGER notify_gateways AFTER INSERT OR UPDATE OR DELETE ON {table} "
    "FOR EACH STATEMENT EXECUTE FUNCTION cacheproxy_notify_catalog();"
    for table in CATALOG_TABLES
)

DROP_NOTIFY = "DROP FUNCTION cacheproxy_notify_access CASCADE; DROP FUNCTION cacheproxy_notify_catalog CASCADE"


class Migration(migrations.Migration):
    dependencies = [
        ("cacheproxy", "0001_initial"),
        ("billing", "0003_triggers"),
        ("tenants", "0001_initial"),
    ]
    operations = [
        migrations.RunSQL(VIEWS, DROP_VIEWS),
        migrations.RunSQL(NOTIFY + NOTIFY_CATALOG, DROP_NOTIFY),
    ]
