"""Semantic hits that were proven wrong: append-only, each named once."""

import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.functions.datetime
from django.db import migrations, models

# As usage events (law L3): statement level, so that even a change of no rows is refused, to the owner too.
APPEND_ONLY = """
CREATE FUNCTION metering_refuse_wrong_hit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'wrong hits are append-only: % is refused', TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'What was proven stays proven.';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON metering_wronghit
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_wrong_hit_change();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('metering', '0003_usage_events'),
        ('tenants', '0005_keep_content'),
    ]

    operations = [
        migrations.CreateModel(
            name='WrongHit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('event_id', models.UUIDField(help_text="The hit's usage event.")),
                ('occurred_at', models.DateTimeField(help_text='When the hit was served.')),
                ('model', models.TextField()),
                ('source_event', models.UUIDField(help_text='The miss that had paid for the answer.')),
                ('similarity', models.FloatField()),
                ('score', models.FloatField(help_text='What the verifier thought of the pair, 0 to 1.')),
                ('reason', models.TextField(help_text='Why it is wrong, in words that may stand on an invoice.')),
                ('detected_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('xact_id', models.BigIntegerField(db_default=django.db.models.functions.comparison.Cast(django.db.models.functions.comparison.Cast(models.Func(function='pg_current_xact_id'), models.TextField()), models.BigIntegerField()), editable=False, help_text='The transaction that wrote it.')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='wrong_hits', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'wrong hit',
                'ordering': ['-detected_at', '-id'],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'event_id'), name='wrong_hit_once'), models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='wrong_hit_has_reason')],
            },
        ),
        migrations.RunSQL(APPEND_ONLY, "DROP FUNCTION metering_refuse_wrong_hit_change CASCADE"),
    ]
