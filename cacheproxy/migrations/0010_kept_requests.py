"""Requests that a warm-up may send again, of tenants who let them be kept; which those are crosses the seam."""

import django.db.models.deletion
from django.db import migrations, models

# What is appended to a view keeps its other columns, and whoever reads them.
VIEW = """
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
       k.enable_cache, t.keep_content
FROM tenants_apikey k
JOIN tenants_tenant t ON t.id = k.tenant_id
LEFT JOIN billing_subscription s ON s.tenant_id = t.id AND (s.ends_at IS NULL OR s.ends_at > now())
WHERE (k.expires_at IS NULL OR k.expires_at > now() - interval '30 days')
  AND (k.revoked_at IS NULL OR k.revoked_at > now() - interval '30 days');
"""

OLD_VIEW = """
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
          AND b.hard_amount IS NOT NULL), '[]') AS budgets,
       k.enable_cache
FROM tenants_apikey k
JOIN tenants_tenant t ON t.id = k.tenant_id
LEFT JOIN billing_subscription s ON s.tenant_id = t.id AND (s.ends_at IS NULL OR s.ends_at > now())
WHERE (k.expires_at IS NULL OR k.expires_at > now() - interval '30 days')
  AND (k.revoked_at IS NULL OR k.revoked_at > now() - interval '30 days');
"""


class Migration(migrations.Migration):

    dependencies = [
        ('cacheproxy', '0009_cache_statistics'),
        ('tenants', '0005_keep_content'),
    ]

    operations = [
        migrations.CreateModel(
            name='KeptRequest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('digest', models.BinaryField()),
                ('path', models.CharField(max_length=500)),
                ('model', models.CharField(max_length=200)),
                ('headers', models.JSONField(default=dict)),
                ('body', models.BinaryField()),
                ('times', models.BigIntegerField()),
                ('first_asked_at', models.DateTimeField()),
                ('last_asked_at', models.DateTimeField()),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='kept_requests', to='tenants.tenant')),
            ],
            options={
                'ordering': ['tenant', '-times', 'id'],
                'indexes': [models.Index(fields=['tenant', 'last_asked_at'], name='kept_request_by_time')],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'digest'), name='kept_request_once')],
            },
        ),
        migrations.RunSQL(VIEW, OLD_VIEW),
    ]
