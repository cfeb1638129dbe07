"""A model is served by one or more targets; upstreams are waited for, and left alone, by rules of their own."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

DROP_VIEW = "DROP VIEW gateway_catalog"

# Foreign keys are checked at once, so that the tables can be altered afterwards.
MOVE = """
INSERT INTO cacheproxy_target (model_id, upstream_id, upstream_model, weight, priority)
SELECT id, upstream_id, upstream_model, 1, 0 FROM cacheproxy_servedmodel;
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
"""

VIEW = """
CREATE VIEW gateway_catalog AS
SELECT m.name::text AS model, m.version::text AS version, m.retry::text AS retry,
       m.cache, m.metering, jsonb_agg(jsonb_build_object(
           'upstream', u.name, 'protocol', u.protocol, 'url', u.url, 'upstream_model', coalesce(nullif(t.upstream_model, ''), m.name),
           'api_key_env', u.api_key_env, 'weight', t.weight, 'priority', t.priority,
           'timeout_seconds', u.timeout_seconds, 'connect_timeout_seconds', u.connect_timeout_seconds,
           'first_byte_timeout_seconds', coalesce(u.first_byte_timeout_seconds, u.timeout_seconds),
           'idle_timeout_seconds', u.idle_timeout_seconds,
           'breaker_failures', u.breaker_failures, 'breaker_open_seconds', u.breaker_open_seconds
       ) ORDER BY t.priority, t.id) AS targets
FROM cacheproxy_servedmodel m
JOIN cacheproxy_target t ON t.model_id = m.id
JOIN cacheproxy_upstream u ON u.id = t.upstream_id
WHERE m.enabled
GROUP BY m.id;
"""

# Deferred, so that one transaction can move a model's upstreams to another protocol one by one. The models' rows
# are locked, so that two transactions cannot each bring half of a mixture.
ONE_PROTOCOL = """
CREATE FUNCTION cacheproxy_one_protocol() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb := to_jsonb(NEW);
    touched bigint[] := ARRAY(
        SELECT DISTINCT model_id FROM cacheproxy_target
        WHERE CASE TG_TABLE_NAME WHEN 'cacheproxy_target' THEN model_id = (changed->>'model_id')::bigint
              ELSE upstream_id = (changed->>'id')::bigint END
        ORDER BY model_id);
    mixed text;
BEGIN
    PERFORM FROM cacheproxy_servedmodel WHERE id = ANY (touched) ORDER BY id FOR UPDATE;
    SELECT m.name INTO mixed
    FROM cacheproxy_target t
    JOIN cacheproxy_servedmodel m ON m.id = t.model_id
    JOIN cacheproxy_upstream u ON u.id = t.upstream_id
    WHERE m.id = ANY (touched)
    GROUP BY m.name HAVING count(DISTINCT u.protocol) > 1
    ORDER BY m.name LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the targets of model % speak different protocols', mixed
            USING ERRCODE = 'check_violation', HINT = 'Let all targets of a model speak one protocol.';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER one_protocol AFTER INSERT OR UPDATE ON cacheproxy_target
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION cacheproxy_one_protocol();
CREATE CONSTRAINT TRIGGER one_protocol AFTER UPDATE OF protocol ON cacheproxy_upstream
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION cacheproxy_one_protocol();
"""

NOTIFY = """
CREATE TRIGGER notify_gateways AFTER INSERT OR UPDATE OR DELETE ON cacheproxy_target
    FOR EACH STATEMENT EXECUTE FUNCTION cacheproxy_notify_catalog();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('cacheproxy', '0002_gateway_views'),
    ]

    operations = [
        migrations.RunSQL(DROP_VIEW),
        migrations.RemoveConstraint(
            model_name='upstream',
            name='upstream_protocol_known',
        ),
        migrations.RemoveConstraint(
            model_name='upstream',
            name='upstream_timeout_positive',
        ),
        migrations.AddField(
            model_name='servedmodel',
            name='retry',
            field=models.CharField(choices=[('safe', 'only what no upstream can have worked on'), ('any', 'timeouts and failures of the upstream, too')], default='safe', help_text='What is asked for a second time.', max_length=4),
        ),
        migrations.AddField(
            model_name='upstream',
            name='breaker_failures',
            field=models.IntegerField(default=5, help_text='Failures in a row after which it is left alone for a while.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)]),
        ),
        migrations.AddField(
            model_name='upstream',
            name='breaker_open_seconds',
            field=models.IntegerField(default=10, help_text='How long it is left alone before one call tries it again.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(86400)]),
        ),
        migrations.AddField(
            model_name='upstream',
            name='connect_timeout_seconds',
            field=models.IntegerField(default=5, help_text='For a connection, TLS included.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(86400)]),
        ),
        migrations.AddField(
            model_name='upstream',
            name='first_byte_timeout_seconds',
            field=models.IntegerField(blank=True, default=None, help_text='For the beginning of the answer; empty: as for the whole.', null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(86400)]),
        ),
        migrations.AddField(
            model_name='upstream',
            name='idle_timeout_seconds',
            field=models.IntegerField(default=60, help_text='Between two parts of an answer.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(86400)]),
        ),
        migrations.AlterField(
            model_name='upstream',
            name='protocol',
            field=models.CharField(choices=[('openai', 'OpenAI'), ('anthropic', 'Anthropic'), ('predict', 'predict (JSON in, JSON out)'), ('oip', 'Open Inference Protocol v2')], max_length=9),
        ),
        migrations.AlterField(
            model_name='upstream',
            name='timeout_seconds',
            field=models.IntegerField(default=120, help_text='For the whole answer, streams included.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(86400)]),
        ),
        migrations.AddConstraint(
            model_name='servedmodel',
            constraint=models.CheckConstraint(condition=models.Q(('retry__in', ['safe', 'any'])), name='model_retry_known'),
        ),
        migrations.AddConstraint(
            model_name='upstream',
            constraint=models.CheckConstraint(condition=models.Q(('protocol__in', ['openai', 'anthropic', 'predict', 'oip'])), name='upstream_protocol_known'),
        ),
        migrations.AddConstraint(
            model_name='upstream',
            constraint=models.CheckConstraint(condition=models.Q(('timeout_seconds__gte', 1), ('timeout_seconds__lte', 86400)), name='upstream_timeout_in_bounds'),
        ),
        migrations.AddConstraint(
            model_name='upstream',
            constraint=models.CheckConstraint(condition=models.Q(('connect_timeout_seconds__gte', 1), ('connect_timeout_seconds__lte', 86400)), name='upstream_connect_timeout_in_bounds'),
        ),
        migrations.AddConstraint(
            model_name='upstream',
            constraint=models.CheckConstraint(condition=models.Q(('first_byte_timeout_seconds__gte', 1), ('first_byte_timeout_seconds__lte', 86400)), name='upstream_first_byte_timeout_in_bounds'),
        ),
        migrations.AddConstraint(
            model_name='upstream',
            constraint=models.CheckConstraint(condition=models.Q(('idle_timeout_seconds__gte', 1), ('idle_timeout_seconds__lte', 86400)), name='upstream_idle_timeout_in_bounds'),
        ),
        migrations.AddConstraint(
            model_name='upstream',
            constraint=models.CheckConstraint(condition=models.Q(('breaker_open_seconds__gte', 1), ('breaker_open_seconds__lte', 86400)), name='upstream_breaker_open_in_bounds'),
        ),
        migrations.AddConstraint(
            model_name='upstream',
            constraint=models.CheckConstraint(condition=models.Q(('breaker_failures__gte', 1), ('breaker_failures__lte', 1000)), name='upstream_breaker_failures_in_bounds'),
        ),
        migrations.CreateModel(
            name='Target',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('upstream_model', models.CharField(blank=True, default='', help_text='Its name at the upstream; empty: the same.', max_length=200)),
                ('model', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='targets', to='cacheproxy.servedmodel')),
                ('upstream', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='targets', to='cacheproxy.upstream')),
                ('weight', models.IntegerField(default=1, help_text='Its share of the calls, beside targets of the same priority.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)])),
                ('priority', models.IntegerField(default=0, help_text='Lower comes first; the next takes over where these are not to be had.', validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1000)])),
            ],
            options={
                'ordering': ['priority', 'id'],
            },
        ),
        migrations.AddConstraint(
            model_name='target',
            constraint=models.UniqueConstraint(fields=('model', 'upstream', 'upstream_model'), name='target_once'),
        ),
        migrations.AddConstraint(
            model_name='target',
            constraint=models.CheckConstraint(condition=models.Q(('weight__gte', 1), ('weight__lte', 1000)), name='target_weight_in_bounds'),
        ),
        migrations.AddConstraint(
            model_name='target',
            constraint=models.CheckConstraint(condition=models.Q(('priority__gte', 0), ('priority__lte', 1000)), name='target_priority_in_bounds'),
        ),
        migrations.RunSQL(MOVE),
        migrations.RemoveField(
            model_name='servedmodel',
            name='upstream',
        ),
        migrations.RemoveField(
            model_name='servedmodel',
            name='upstream_model',
        ),
        migrations.RunSQL(VIEW + ONE_PROTOCOL + NOTIFY),
    ]
