"""What must always hold of the price book and of invoices, held by the database."""

from django.db import migrations

PRICE_BOOK = """
CREATE FUNCTION billing_freeze_price_book() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    succeeds boolean;
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') AND OLD.effective_from <= now() THEN
        RAISE EXCEPTION 'a price or discount in force is superseded, never edited'
            USING ERRCODE = 'restrict_violation', HINT = 'Add a row with a later effective_from.';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    IF NEW.effective_from < now() AND EXISTS (SELECT FROM billing_subscription WHERE plan_id = NEW.plan_id) THEN
        IF TG_TABLE_NAME = 'billing_price' THEN
            SELECT EXISTS (SELECT FROM billing_price p WHERE p.plan_id = NEW.plan_id
                AND p.model = NEW.model AND p.pool = NEW.pool AND p.id <> NEW.id) INTO succeeds;
        ELSE
            succeeds := true;
        END IF;
        IF succeeds THEN
            RAISE EXCEPTION 'effective_from is in the past, and usage was rated without this row'
                USING ERRCODE = 'restrict_violation', HINT = 'Let it take effect now or later.';
        END IF;
    END IF;
    NEW.created_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER freeze_in_force BEFORE INSERT OR UPDATE OR DELETE ON billing_price
    FOR EACH ROW EXECUTE FUNCTION billing_freeze_price_book();
CREATE TRIGGER freeze_in_force BEFORE INSERT OR UPDATE OR DELETE ON billing_hitdiscount
    FOR EACH ROW EXECUTE FUNCTION billing_freeze_price_book();
"""

INVOICE = """
CREATE FUNCTION billing_guard_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    lines record;
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.status <> 'draft' THEN
            RAISE EXCEPTION 'invoice % is final and cannot be deleted', OLD.number
                USING ERRCODE = 'restrict_violation', HINT = 'Void it, or issue a credit note.';
        END IF;
        RETURN OLD;
    END IF;
    IF OLD.status = 'draft' THEN
        IF NEW.status = 'draft' THEN
            RETURN NEW;
        END IF;
        IF NEW.status NOT IN ('open', 'paid') THEN
            RAISE EXCEPTION 'a draft becomes open, not %', NEW.status USING ERRCODE = 'restrict_violation';
        END IF;
        SELECT coalesce(sum(list_minor), 0) AS list, coalesce(sum(discount_minor), 0) AS discount,
               coalesce(sum(net_minor), 0) AS net
        INTO lines FROM billing_invoiceline WHERE invoice_id = NEW.id;
        IF (NEW.list_minor, NEW.discount_minor, NEW.net_minor) <> (lines.list, lines.discount, lines.net) THEN
            RAISE EXCEPTION 'totals of the invoice are not the sums of its lines' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF (to_jsonb(NEW) - '{status,paid_at,voided_at,uncollectible_at}'::text[])
        <> (to_jsonb(OLD) - '{status,paid_at,voided_at,uncollectible_at}'::text[]) THEN
        RAISE EXCEPTION 'invoice % is final', OLD.number
            USING ERRCODE = 'restrict_violation', HINT = 'Void it, or issue a credit note.';
    END IF;
    IF NEW.status <> OLD.status AND NOT (
        (OLD.status = 'open' AND NEW.status IN ('paid', 'void', 'uncollectible'))
        OR (OLD.status = 'uncollectible' AND NEW.status IN ('paid', 'void'))) THEN
        RAISE EXCEPTION 'invoice % is %, which cannot become %', OLD.number, OLD.status, NEW.status
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON billing_invoice
    FOR EACH ROW EXECUTE FUNCTION billing_guard_invoice();

CREATE FUNCTION billing_guard_new_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> 'draft' THEN
        RAISE EXCEPTION 'an invoice begins as a draft' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER begins_as_draft BEFORE INSERT ON billing_invoice
    FOR EACH ROW EXECUTE FUNCTION billing_guard_new_invoice();
"""

LINES = """
CREATE FUNCTION billing_guard_invoice_line() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    held bigint := CASE TG_OP WHEN 'INSERT' THEN NEW.invoice_id ELSE OLD.invoice_id END;
BEGIN
    IF EXISTS (SELECT FROM billing_invoice WHERE status <> 'draft'
               AND id IN (held, CASE TG_OP WHEN 'DELETE' THEN held ELSE NEW.invoice_id END)) THEN
        RAISE EXCEPTION 'the lines of a final invoice are frozen'
            USING ERRCODE = 'restrict_violation', HINT = 'Void it, or issue a credit note.';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON billing_invoiceline
    FOR EACH ROW EXECUTE FUNCTION billing_guard_invoice_line();
"""

CREDITS = """
CREATE FUNCTION billing_guard_credit_line() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    charged bigint;
    given_back bigint;
BEGIN
    SELECT net_minor INTO charged FROM billing_invoiceline WHERE id = NEW.invoice_line_id FOR UPDATE;
    SELECT coalesce(sum(net_minor), 0) INTO given_back FROM billing_creditnoteline
        WHERE invoice_line_id = NEW.invoice_line_id AND id <> NEW.id;
    IF given_back + NEW.net_minor > charged THEN
        RAISE EXCEPTION 'credit notes would give back more than the line charged' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON billing_creditnoteline
    FOR EACH ROW EXECUTE FUNCTION billing_guard_credit_line();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_initial")]
    operations = [
        migrations.RunSQL(PRICE_BOOK, "DROP FUNCTION billing_freeze_price_book CASCADE"),
        migrations.RunSQL(
            INVOICE, "DROP FUNCTION billing_guard_invoice CASCADE; DROP FUNCTION billing_guard_new_invoice CASCADE"
        ),
        migrations.RunSQL(LINES, "DROP FUNCTION billing_guard_invoice_line CASCADE"),
        migrations.RunSQL(CREDITS, "DROP FUNCTION billing_guard_credit_line CASCADE"),
    ]
