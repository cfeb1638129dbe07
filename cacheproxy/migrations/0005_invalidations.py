"""Invalidations of the cache, each a row whose number the gateways hear of."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

# The lock makes numbers visible in their order: who has read up to one has read all before it.
NUMBER = """
CREATE FUNCTION cacheproxy_number_invalidation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock('cacheproxy_cacheinvalidation'::regclass::oid::bigint);
    NEW.epoch := nextval(pg_get_serial_sequence('cacheproxy_cacheinvalidation', 'epoch'));
    RETURN NEW;
END
$$;
CREATE TRIGGER number_in_order BEFORE INSERT ON cacheproxy_cacheinvalidation
    FOR EACH ROW EXECUTE FUNCTION cacheproxy_number_invalidation();

CREATE FUNCTION cacheproxy_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'invalidations are append-only: % is refused', TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'What was invalidated stays so.';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON cacheproxy_cacheinvalidation
    FOR EACH STATEMENT EXECUTE FUNCTION cacheproxy_refuse_change();
"""

# No answer outlives 396 days (`cacheproxy/policy.py`), so what ended those before need not be known.
VIEW = """
CREATE VIEW gateway_invalidations AS
SELECT epoch, coalesce(tenant_id, 0) AS tenant_id, model::text AS model, version::text AS version,
       session::text AS session, tag::text AS tag, key::text AS key
FROM cacheproxy_cacheinvalidation
WHERE made_at > now() - interval '400 days';
"""

NOTIFY = """
CREATE FUNCTION cacheproxy_notify_invalidation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('zerorate_invalidations', jsonb_build_object(
        'epoch', NEW.epoch, 'tenant_id', coalesce(NEW.tenant_id, 0), 'model', NEW.model, 'version', NEW.version,
        'session', NEW.session, 'tag', NEW.tag, 'key', NEW.key)::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER notify_gateways AFTER INSERT ON cacheproxy_cacheinvalidation
    FOR EACH ROW EXECUTE FUNCTION cacheproxy_notify_invalidation();
"""

DROP_NOTIFY = "DROP FUNCTION cacheproxy_notify_invalidation CASCADE"
DROP_NUMBER = "DROP FUNCTION cacheproxy_number_invalidation CASCADE; DROP FUNCTION cacheproxy_refuse_change CASCADE"


class Migration(migrations.Migration):

    dependencies = [
        ('cacheproxy', '0004_limits_in_views'),
        ('tenants', '0002_key_limits'),
    ]

    operations = [
        migrations.CreateModel(
            name='CacheInvalidation',
            fields=[
                ('epoch', models.BigAutoField(primary_key=True, serialize=False)),
                ('model', models.CharField(blank=True, default='', max_length=200)),
                ('version', models.CharField(blank=True, default='', max_length=100)),
                ('session', models.CharField(blank=True, default='', max_length=256)),
                ('tag', models.CharField(blank=True, default='', max_length=128)),
                ('key', models.CharField(blank=True, default='', max_length=67)),
                ('reason', models.CharField(blank=True, default='', max_length=500)),
                ('made_by', models.CharField(max_length=200)),
                ('via', models.CharField(choices=[('admin', 'Admin'), ('api', 'API'), ('command', 'Command')], max_length=7)),
                ('made_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('tenant', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='cache_invalidations', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'invalidation',
                'ordering': ['-epoch'],
                'indexes': [models.Index(fields=['tenant', 'made_at'], name='invalidation_by_tenant')],
                'constraints': [models.CheckConstraint(condition=models.Q(('version', ''), models.Q(('model', ''), _negated=True), _connector='OR'), name='invalidation_version_of_model'), models.CheckConstraint(condition=models.Q(('session', ''), models.Q(('tag', ''), ('tenant__isnull', False)), _connector='OR'), name='invalidation_session_of_tenant'), models.CheckConstraint(condition=models.Q(('key', ''), models.Q(('model', ''), ('session', ''), ('tag', ''), ('version', '')), _connector='OR'), name='invalidation_key_alone'), models.CheckConstraint(condition=models.Q(('via__in', ['admin', 'api', 'command'])), name='invalidation_via_known')],
            },
        ),
        migrations.RunSQL(NUMBER, DROP_NUMBER),
        migrations.RunSQL(VIEW, "DROP VIEW gateway_invalidations"),
        migrations.RunSQL(NOTIFY, DROP_NOTIFY),
    ]
