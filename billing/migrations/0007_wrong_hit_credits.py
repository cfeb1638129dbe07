"""What wrong hits were charged comes back, each once."""

import django.db.models.deletion
from django.db import migrations, models

# Frozen with its invoice; only whether it stands follows what becomes of that.
CREDITS = """
CREATE FUNCTION billing_guard_wrong_hit_credit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    held record;
BEGIN
    SELECT status, tenant_id INTO held FROM billing_invoice
        WHERE id = CASE TG_OP WHEN 'DELETE' THEN OLD.invoice_id ELSE NEW.invoice_id END;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.stands <> (held.status NOT IN ('draft', 'void'))
            OR (to_jsonb(NEW) - 'stands') <> (to_jsonb(OLD) - 'stands') THEN
            RAISE EXCEPTION 'a credit for a wrong hit is never edited' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF held.status <> 'draft' THEN
        RAISE EXCEPTION 'the credits of a final invoice are frozen'
            USING ERRCODE = 'restrict_violation', HINT = 'Void it, or issue a credit note.';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    IF NEW.stands OR NOT EXISTS (
        SELECT FROM metering_wronghit WHERE id = NEW.wrong_hit_id AND tenant_id = held.tenant_id) THEN
        RAISE EXCEPTION 'a credit begins on a draft of the tenant whose hit was wrong'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON billing_wronghitcredit
    FOR EACH ROW EXECUTE FUNCTION billing_guard_wrong_hit_credit();

CREATE FUNCTION billing_settle_wrong_hit_credits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing_wronghitcredit SET stands = NEW.status NOT IN ('draft', 'void')
        WHERE invoice_id = NEW.id AND stands <> (NEW.status NOT IN ('draft', 'void'));
    RETURN NULL;
END
$$;
CREATE TRIGGER settle_wrong_hit_credits AFTER UPDATE OF status ON billing_invoice
    FOR EACH ROW WHEN (NEW.status <> OLD.status) EXECUTE FUNCTION billing_settle_wrong_hit_credits();
"""
DROP_CREDITS = (
    "DROP FUNCTION billing_guard_wrong_hit_credit CASCADE; DROP FUNCTION billing_settle_wrong_hit_credits CASCADE"
)


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0006_plan_enable_cache'),
        ('metering', '0004_wrong_hits'),
    ]

    operations = [
        migrations.CreateModel(
            name='WrongHitCredit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('charged_accrued', models.DecimalField(decimal_places=30, help_text='What the hit was charged, not rounded.', max_digits=60)),
                ('stands', models.BooleanField(default=False, editable=False)),
            ],
            options={
                'ordering': ['invoice', 'wrong_hit__occurred_at', 'wrong_hit__event_id'],
            },
        ),
        migrations.RemoveConstraint(
            model_name='invoiceline',
            name='invoice_line_kind_known',
        ),
        migrations.AlterField(
            model_name='invoiceline',
            name='kind',
            field=models.CharField(choices=[('usage', 'Usage'), ('late_usage', 'late usage'), ('quarantined', 'Quarantined'), ('wrong_hit', 'credit for wrong hits')], default='usage', max_length=11),
        ),
        migrations.AlterField(
            model_name='invoiceline',
            name='original_period_start',
            field=models.DateTimeField(help_text='On late usage and credits: the month it belongs to.', null=True),
        ),
        migrations.AddConstraint(
            model_name='invoiceline',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['usage', 'late_usage', 'quarantined', 'wrong_hit'])), name='invoice_line_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='invoiceline',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind', 'wrong_hit'), _negated=True), models.Q(('list_minor', 0), ('net_minor__lte', 0), ('original_period_start__isnull', False)), _connector='OR'), name='invoice_line_credit_gives_back'),
        ),
        migrations.AddField(
            model_name='wronghitcredit',
            name='invoice',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='wrong_hit_credits', to='billing.invoice'),
        ),
        migrations.AddField(
            model_name='wronghitcredit',
            name='wrong_hit',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='credits', to='metering.wronghit'),
        ),
        migrations.AddConstraint(
            model_name='wronghitcredit',
            constraint=models.UniqueConstraint(fields=('invoice', 'wrong_hit'), name='wrong_hit_credit_once_on_invoice'),
        ),
        migrations.AddConstraint(
            model_name='wronghitcredit',
            constraint=models.UniqueConstraint(condition=models.Q(('stands', True)), fields=('wrong_hit',), name='wrong_hit_credited_once'),
        ),
        migrations.AddConstraint(
            model_name='wronghitcredit',
            constraint=models.CheckConstraint(condition=models.Q(('charged_accrued__gte', 0)), name='wrong_hit_credit_not_negative'),
        ),
        migrations.RunSQL(CREDITS, DROP_CREDITS),
    ]
