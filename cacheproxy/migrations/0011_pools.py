"""Pools of tenants who share answers; who is in which crosses the seam."""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import tenants.models
from django.db import migrations, models

# A stay can end, once; nothing else about it changes.
ON_RECORD = """
CREATE FUNCTION cacheproxy_keep_membership() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    end_of_it text[] := '{left_at,left_by,left_via}';
BEGIN
    IF TG_OP = 'DELETE' OR OLD.left_at IS NOT NULL OR to_jsonb(NEW) - end_of_it <> to_jsonb(OLD) - end_of_it THEN
        RAISE EXCEPTION 'memberships of pools stay on record: % is refused', TG_OP
            USING ERRCODE = 'restrict_violation', HINT = 'A tenant leaves, or joins anew.';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER on_record BEFORE UPDATE OR DELETE ON cacheproxy_poolmembership
    FOR EACH ROW EXECUTE FUNCTION cacheproxy_keep_membership();
"""
NOT_ON_RECORD = "DROP FUNCTION cacheproxy_keep_membership CASCADE"

# An answer of a pool does not say whose it is: what a member ends of its own, it ends for all of them.
IN_POOLS = """
CREATE FUNCTION cacheproxy_invalidate_in_pools() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO cacheproxy_cacheinvalidation
    SELECT (jsonb_populate_record(NEW, jsonb_build_object('tenant_id', NULL, 'pool_id', pool_id))).*
    FROM cacheproxy_poolmembership WHERE tenant_id = NEW.tenant_id AND left_at IS NULL ORDER BY pool_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER invalidate_in_pools AFTER INSERT ON cacheproxy_cacheinvalidation
    FOR EACH ROW WHEN (NEW.tenant_id IS NOT NULL AND NEW.session = '')
    EXECUTE FUNCTION cacheproxy_invalidate_in_pools();
"""
NOT_IN_POOLS = "DROP FUNCTION cacheproxy_invalidate_in_pools CASCADE"

# Whose answers: a tenant's, with its sign turned a pool's, or (0) everybody's.
OWNER = "coalesce({0}tenant_id, -{0}pool_id, 0)"
TENANT = "coalesce({0}tenant_id, 0)"
INVALIDATIONS = """
CREATE OR REPLACE VIEW gateway_invalidations AS
SELECT epoch, {view} AS tenant_id, model::text AS model, version::text AS version,
       session::text AS session, tag::text AS tag, key::text AS key
FROM cacheproxy_cacheinvalidation
WHERE made_at > now() - interval '400 days';

CREATE OR REPLACE FUNCTION cacheproxy_notify_invalidation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('zerorate_invalidations', jsonb_build_object(
        'epoch', NEW.epoch, 'tenant_id', {row}, 'model', NEW.model, 'version', NEW.version,
        'session', NEW.session, 'tag', NEW.tag, 'key', NEW.key)::text);
    RETURN NULL;
END
$$;
"""

MEMBERSHIPS = """
CREATE VIEW gateway_memberships AS
SELECT m.tenant_id, jsonb_build_object(
    'id', p.id, 'name', p.name, 'secret', encode(p.secret, 'hex'), 'pad_hits', p.pad_hits) AS pool
FROM cacheproxy_poolmembership m
JOIN cacheproxy_cachepool p ON p.id = m.pool_id
WHERE m.left_at IS NULL;
"""

NOTIFY = """
CREATE TRIGGER notify_gateways AFTER INSERT OR UPDATE ON cacheproxy_poolmembership
    FOR EACH ROW EXECUTE FUNCTION cacheproxy_notify_access('tenant_id');

CREATE FUNCTION cacheproxy_notify_members() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('zerorate_access', tenant_id::text)
    FROM cacheproxy_poolmembership WHERE pool_id = NEW.id AND left_at IS NULL;
    RETURN NULL;
END
$$;
CREATE TRIGGER notify_gateways AFTER UPDATE ON cacheproxy_cachepool
    FOR EACH ROW EXECUTE FUNCTION cacheproxy_notify_members();
"""
DROP_NOTIFY = """
DROP TRIGGER notify_gateways ON cacheproxy_poolmembership;
DROP FUNCTION cacheproxy_notify_members CASCADE;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('cacheproxy', '0010_kept_requests'),
        ('tenants', '0005_keep_content'),
    ]

    operations = [
        migrations.CreateModel(
            name='CachePool',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='As policies name it, for good.', max_length=63, unique=True, validators=[django.core.validators.RegexValidator('^[a-z0-9][a-z0-9_-]*\\Z', 'Small letters, digits, - and _, beginning with one of the first two.')])),
                ('secret', models.BinaryField(default=tenants.models.new_cache_secret)),
                ('pad_hits', models.BooleanField(db_default=False, default=False, help_text="Another tenant's answer is given when it would have come from the upstream; streams stay private.", verbose_name='hold hits back')),
                ('made_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                'verbose_name': 'pool',
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='PoolMembership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('agreed_by', models.CharField(help_text='Who agreed for the tenant.', max_length=200)),
                ('joined_at', models.DateTimeField()),
                ('joined_by', models.CharField(max_length=200)),
                ('joined_via', models.CharField(choices=[('admin', 'Admin'), ('api', 'API'), ('command', 'Command')], max_length=7)),
                ('left_at', models.DateTimeField(blank=True, null=True)),
                ('left_by', models.CharField(blank=True, default='', max_length=200)),
                ('left_via', models.CharField(blank=True, choices=[('admin', 'Admin'), ('api', 'API'), ('command', 'Command')], default='', max_length=7)),
                ('pool', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='memberships', to='cacheproxy.cachepool')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='pool_memberships', to='tenants.tenant')),
            ],
            options={
                'ordering': ['pool', '-joined_at', '-id'],
                'constraints': [models.UniqueConstraint(condition=models.Q(('left_at', None)), fields=('pool', 'tenant'), name='pool_membership_once_at_a_time'), models.CheckConstraint(condition=models.Q(('agreed_by', ''), _negated=True), name='pool_membership_agreed'), models.CheckConstraint(condition=models.Q(models.Q(('left_at', None), ('left_by', ''), ('left_via', '')), models.Q(('left_at__gte', models.F('joined_at')), models.Q(('left_by', ''), _negated=True), models.Q(('left_via', ''), _negated=True)), _connector='OR'), name='pool_membership_left_whole')],
            },
        ),
        migrations.AddField(
            model_name='cacheinvalidation',
            name='pool',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='invalidations', to='cacheproxy.cachepool'),
        ),
        migrations.AddConstraint(
            model_name='cacheinvalidation',
            constraint=models.CheckConstraint(condition=models.Q(('tenant', None), ('pool', None), _connector='OR'), name='invalidation_of_tenant_or_pool'),
        ),
        migrations.RunSQL(ON_RECORD, NOT_ON_RECORD),
        migrations.RunSQL(IN_POOLS, NOT_IN_POOLS),
        migrations.RunSQL(
            INVALIDATIONS.format(view=OWNER.format(""), row=OWNER.format("NEW.")),
            INVALIDATIONS.format(view=TENANT.format(""), row=TENANT.format("NEW.")),
        ),
        migrations.RunSQL(MEMBERSHIPS, "DROP VIEW gateway_memberships"),
        migrations.RunSQL(NOTIFY, DROP_NOTIFY),
    ]
