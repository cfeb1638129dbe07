"""Invalidations of the answers whose questions match an expression."""

import django.contrib.postgres.fields
from django.db import migrations, models

# What was found to match is ended by its keys. Where nothing was, the row ends nothing, least of all all that the
# tenant has, which is what its other columns say.
VIEW = """
CREATE OR REPLACE VIEW gateway_invalidations AS
SELECT epoch, coalesce(tenant_id, -pool_id, 0) AS tenant_id, model::text AS model, version::text AS version,
       session::text AS session, tag::text AS tag, key::text AS key, keys::text[] AS keys
FROM cacheproxy_cacheinvalidation
WHERE made_at > now() - interval '400 days' AND (matching = '' OR cardinality(keys) > 0);
"""
FORMER_VIEW = """
DROP VIEW gateway_invalidations;
CREATE VIEW gateway_invalidations AS
SELECT epoch, coalesce(tenant_id, -pool_id, 0) AS tenant_id, model::text AS model, version::text AS version,
       session::text AS session, tag::text AS tag, key::text AS key
FROM cacheproxy_cacheinvalidation
WHERE made_at > now() - interval '400 days';
"""

# Ten thousand keys fit in no notification: whoever hears of them reads them.
NOTIFY = """
CREATE OR REPLACE FUNCTION cacheproxy_notify_invalidation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.matching <> '' THEN
        PERFORM pg_notify('zerorate_invalidations', jsonb_build_object('read', NEW.epoch)::text);
        RETURN NULL;
    END IF;
    PERFORM pg_notify('zerorate_invalidations', jsonb_build_object(
        'epoch', NEW.epoch, 'tenant_id', coalesce(NEW.tenant_id, -NEW.pool_id, 0), 'model', NEW.model, 'version', NEW.version,
        'session', NEW.session, 'tag', NEW.tag, 'key', NEW.key, 'keys', '[]'::jsonb)::text);
    RETURN NULL;
END
$$;
"""
FORMER_NOTIFY = """
CREATE OR REPLACE FUNCTION cacheproxy_notify_invalidation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('zerorate_invalidations', jsonb_build_object(
        'epoch', NEW.epoch, 'tenant_id', coalesce(NEW.tenant_id, -NEW.pool_id, 0), 'model', NEW.model, 'version', NEW.version,
        'session', NEW.session, 'tag', NEW.tag, 'key', NEW.key)::text);
    RETURN NULL;
END
$$;
"""

# Questions are matched in the semantic tier, and no pool has one.
IN_POOLS = """
CREATE OR REPLACE TRIGGER invalidate_in_pools AFTER INSERT ON cacheproxy_cacheinvalidation
    FOR EACH ROW WHEN (NEW.tenant_id IS NOT NULL AND NEW.session = ''{condition})
    EXECUTE FUNCTION cacheproxy_invalidate_in_pools();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('cacheproxy', '0011_pools'),
        ('tenants', '0005_keep_content'),
    ]

    operations = [
        migrations.AddField(
            model_name='cacheinvalidation',
            name='keys',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=67), db_default=[], default=list, editable=False, size=None),
        ),
        migrations.AddField(
            model_name='cacheinvalidation',
            name='matching',
            field=models.CharField(blank=True, db_default='', default='', max_length=1000),
        ),
        migrations.AddConstraint(
            model_name='cacheinvalidation',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('keys', []), ('matching', '')), models.Q(('key', ''), ('session', ''), ('tag', ''), ('tenant__isnull', False), ('version', ''), models.Q(('matching', ''), _negated=True)), _connector='OR'), name='invalidation_matching_of_tenant'),
        ),
        migrations.RunSQL(VIEW, FORMER_VIEW),
        migrations.RunSQL(NOTIFY, FORMER_NOTIFY),
        migrations.RunSQL(IN_POOLS.format(condition=" AND NEW.matching = ''"), IN_POOLS.format(condition="")),
    ]
