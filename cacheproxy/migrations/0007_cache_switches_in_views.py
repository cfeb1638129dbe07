"""Plans and keys that have the cache off cross the seam between the planes."""

from django.db import migrations

# What is appended to a view keeps its other columns, and whoever reads them.
VIEWS = """
CREATE OR REPLACE VIEW gateway_access AS
SELECT k.id AS api_key_id, k.public_id, k.digest AS key_digest, t.id AS tenant_id, t.slug::text AS tenant_slug,
       t.status::text AS tenant_status, t.cache_secret, k.scopes::text[] AS scopes, k.expires_at, k.revoked_at,
       s.plan_id, s.starts_at AS plan_starts_at, s.ends_at AS plan_ends_at,
       k.requests_per_minute, k.tokens_per_minute, k.concurrent_requests, k.max_output_tokens,
       k.allowed_models::text[] AS allowed_models, k.allowed_networks::text[] AS allowed_networks,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
           'id', b.id, 'period', b.period, 'hard_amount', b.hard_amount::text) ORDER BY b.id)
        FROM billing_budget b
        WHERE b.tenant_id = t.id AND (b.api_key_id IS NULL OR b.api_key_id = k.id)
          AND b.hard_amount IS NOT NULL), '[]') AS budgets,
       k.enable_cache
FROM tenants_apikey k
JOIN tenants_tenant t ON t.id = k.tenant_id
LEFT JOIN billing_subscription s ON s.tenant_id = t.id AND (s.ends_at IS NULL OR s.ends_at > now())
WHERE (k.expires_at IS NULL OR k.expires_at > now() - interval '30 days')
  AND (k.revoked_at IS NULL OR k.revoked_at > now() - interval '30 days');

CREATE OR REPLACE VIEW gateway_price_book AS
SELECT p.id AS plan_id, p.name::text AS plan, p.currency::text AS currency,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
           'model', r.model, 'pool', r.pool, 'amount', r.amount::text, 'per', r.per,
           'effective_from', r.effective_from) ORDER BY r.id)
        FROM billing_price r WHERE r.plan_id = p.id), '[]') AS prices,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
           'outcome', d.outcome, 'model', d.model, 'pool', d.pool, 'percent', d.percent::text,
           'effective_from', d.effective_from) ORDER BY d.id)
        FROM billing_hitdiscount d WHERE d.plan_id = p.id), '[]') AS hit_discounts,
       jsonb_build_object(
           'requests_per_minute', p.requests_per_minute, 'tokens_per_minute', p.tokens_per_minute,
           'concurrent_requests', p.concurrent_requests, 'max_output_tokens', p.max_output_tokens,
           'max_body_bytes', p.max_body_bytes, 'count_hits', p.count_hits, 'enable_cache', p.enable_cache,
           'drain_seconds', p.drain_seconds, 'drain_tokens', p.drain_tokens) AS limits
FROM billing_plan p;
"""

OLD_VIEWS = """
DROP VIEW gateway_access;
CREATE VIEW gateway_access AS
SELECT k.id AS api_key_id, k.public_id, k.digest AS key_digest, t.id AS tenant_id, t.slug::text AS tenant_slug,
       t.status::text AS tenant_status, t.cache_secret, k.scopes::text[] AS scopes, k.expires_at, k.revoked_at,
       s.plan_id, s.starts_at AS plan_starts_at, s.ends_at AS plan_ends_at,
       k.requests_per_minute, k.tokens_per_minute, k.concurrent_requests, k.max_output_tokens,
       k.allowed_models::text[] AS allowed_models, k.allowed_networks::text[] AS allowed_networks,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
           'id', b.id, 'period', b.period, 'hard_amount', b.hard_amount::text) ORDER BY b.id)
        FROM billing_budget b
        WHERE b.tenant_id = t.id AND (b.api_key_id IS NULL OR b.api_key_id = k.id)
          AND b.hard_amount IS NOT NULL), '[]') AS budgets
FROM tenants_apikey k
JOIN tenants_tenant t ON t.id = k.tenant_id
LEFT JOIN billing_subscription s ON s.tenant_id = t.id AND (s.ends_at IS NULL OR s.ends_at > now())
WHERE (k.expires_at IS NULL OR k.expires_at > now() - interval '30 days')
  AND (k.revoked_at IS NULL OR k.revoked_at > now() - interval '30 days');

CREATE OR REPLACE VIEW gateway_price_book AS
SELECT p.id AS plan_id, p.name::text AS plan, p.currency::text AS currency,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
           'model', r.model, 'pool', r.pool, 'amount', r.amount::text, 'per', r.per,
           'effective_from', r.effective_from) ORDER BY r.id)
        FROM billing_price r WHERE r.plan_id = p.id), '[]') AS prices,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
           'outcome', d.outcome, 'model', d.model, 'pool', d.pool, 'percent', d.percent::text,
           'effective_from', d.effective_from) ORDER BY d.id)
        FROM billing_hitdiscount d WHERE d.plan_id = p.id), '[]') AS hit_discounts,
       jsonb_build_object(
           'requests_per_minute', p.requests_per_minute, 'tokens_per_minute', p.tokens_per_minute,
           'concurrent_requests', p.concurrent_requests, 'max_output_tokens', p.max_output_tokens,
           'max_body_bytes', p.max_body_bytes, 'count_hits', p.count_hits,
           'drain_seconds', p.drain_seconds, 'drain_tokens', p.drain_tokens) AS limits
FROM billing_plan p;
"""

NOTIFY = """
DROP TRIGGER notify_gateways_of_update ON tenants_apikey;
CREATE TRIGGER notify_gateways_of_update
    AFTER UPDATE OF digest, scopes, expires_at, revoked_at, requests_per_minute, tokens_per_minute,
        concurrent_requests, max_output_tokens, allowed_models, allowed_networks, enable_cache ON tenants_apikey
    FOR EACH ROW EXECUTE FUNCTION cacheproxy_notify_access('tenant_id');
"""

OLD_NOTIFY = """
DROP TRIGGER notify_gateways_of_update ON tenants_apikey;
CREATE TRIGGER notify_gateways_of_update
    AFTER UPDATE OF digest, scopes, expires_at, revoked_at, requests_per_minute, tokens_per_minute,
        concurrent_requests, max_output_tokens, allowed_models, allowed_networks ON tenants_apikey
    FOR EACH ROW EXECUTE FUNCTION cacheproxy_notify_access('tenant_id');
"""


class Migration(migrations.Migration):
    dependencies = [
        ("cacheproxy", "0006_semantic_entries"),
        ("billing", "0006_plan_enable_cache"),
        ("tenants", "0004_apikey_enable_cache"),
    ]
    operations = [
        migrations.RunSQL(VIEWS, OLD_VIEWS),
        migrations.RunSQL(NOTIFY, OLD_NOTIFY),
    ]
